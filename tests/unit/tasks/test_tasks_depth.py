"""Order of depth: rank agreement with what is known, whatever its unit, and which way inverse depth runs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from task_cases import pictures
from torch import nn

from alit.tasks.depth import DepthNetwork, DepthTask, known_order, rank_agreement
from alit.tasks.protocol import SweepBatch

DEPTH = 1 + pictures(2, 8)[:, 0]  # meters


def batch(**known) -> SweepBatch:
    return SweepBatch(pictures(2, 8), torch.full((2,), -1), (), **known)


class Brightness(nn.Module):
    """Answers in the first channel: as log meters, or as a published network gives inverse depth."""

    def __init__(self, metric: bool) -> None:
        super().__init__()
        self.metric = metric

    def forward(self, images):
        return images[:, 0] if self.metric else SimpleNamespace(predicted_depth=images[:, 0])


def agreement(known: SweepBatch, metric: bool = True) -> np.ndarray:
    network = DepthNetwork(Brightness(metric), input_size=8, metric=metric)
    task = DepthTask("bright", network, {})
    scores = task.score(known.images, task.reference(known), known)
    assert tuple(scores) == task.columns
    return scores["depth_rank_agreement_bright"]


def test_agreement_is_spearmans_correlation_with_ties_at_their_mean_rank():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(9, (3, 6, 5), generator=generator).float() for _ in range(2))
    expected = [spearmanr(one.ravel(), other.ravel()).statistic for one, other in zip(first, second, strict=True)]
    assert rank_agreement(first, second) == pytest.approx(expected, abs=1e-6)


def test_any_rising_transform_agrees_wholly_and_a_falling_one_not_at_all():
    assert rank_agreement(DEPTH.log() * 7 - 3, DEPTH).tolist() == [1, 1]
    assert rank_agreement(1 / DEPTH, DEPTH).tolist() == [-1, -1]


def test_unknown_pixels_do_not_count():
    order = DEPTH.clone()
    answer = DEPTH.clone()
    order[0, :4], answer[0, :4] = torch.nan, 99.0
    assert rank_agreement(answer, order).tolist() == [1, 1]


def test_a_constant_answer_orders_nothing_and_an_unknown_order_is_no_score():
    assert rank_agreement(torch.ones_like(DEPTH), DEPTH).tolist() == [0, 0]
    orders = torch.stack([torch.full((8, 8), torch.nan), torch.full((8, 8), 2.0)])
    assert np.isnan(rank_agreement(DEPTH, orders)).all()


def test_a_broken_answer_is_no_score():
    answer = DEPTH.clone()
    answer[0, 0, 0] = torch.nan
    assert np.isnan(rank_agreement(answer, DEPTH)).tolist() == [True, False]


def test_what_is_known_of_depth_grows_away_from_the_camera():
    meters = torch.tensor([[[1.0, 0.0, 2.0, torch.inf]]])
    assert torch.equal(torch.nan_to_num(known_order(batch(depth=meters)), -1), torch.tensor([[[1.0, -1.0, 2.0, -1.0]]]))
    inverse = torch.tensor([[[3.0, 0.0, -0.5, torch.nan]]])
    assert torch.equal(
        torch.nan_to_num(known_order(batch(inverse_depth=inverse)), 9), torch.tensor([[[-3.0, 0.0, 0.5, 9.0]]])
    )
    assert known_order(batch()) is None


@pytest.mark.parametrize("metric", [True, False])
def test_networks_and_sets_of_either_kind_are_compared_the_right_way_round(metric):
    bright = pictures(2, 8)[:, 0]
    far = bright if metric else -bright
    assert agreement(batch(inverse_depth=-far), metric) == pytest.approx(1, abs=1e-6)
    assert agreement(batch(inverse_depth=far), metric) == pytest.approx(-1, abs=1e-6)
    assert agreement(batch(depth=2 + far), metric) == pytest.approx(1, abs=1e-6)


def test_an_answer_is_brought_to_the_size_of_the_known_depth():
    ramp = (torch.arange(64.0) / 64).reshape(8, 8).expand(2, -1, -1)  # no two pixels tie
    known = SweepBatch(ramp[:, None].expand(-1, 3, -1, -1), torch.full((2,), -1), (), depth=1 + ramp[:, ::2, ::2])
    assert agreement(known) == pytest.approx(1, abs=1e-6)


def test_relative_depth_gives_agreement_but_no_error_in_metres():
    known = batch(inverse_depth=DEPTH)
    task = DepthTask("bright", DepthNetwork(Brightness(True), input_size=8, metric=True), {})
    scores = task.score(known.images, task.reference(known), known)
    assert np.isnan(scores["depth_true_error_bright"]).all()
    assert np.isfinite(scores["depth_rank_agreement_bright"]).all()
    assert np.isnan(agreement(batch())).all()
