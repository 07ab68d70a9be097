"""Rollouts with and without halting: what is masked, what it changes, and what it would save."""

import pytest
import tiny
import torch

from alit.errors import NotMeasurable
from alit.models.distillation import Halting
from alit.tokenizer.halting import HaltingStep, compare_halting, operations

EVERYTHING, NOTHING = Halting(probability=0.0, distance=1e9), Halting(probability=1.1, distance=0.0)


def compare(halting: Halting, seed: int = 0, **config) -> list[HaltingStep]:
    model = tiny.tokenizer(tiny.tokenizer_config(**config))
    return list(compare_halting(model, tiny.images(3), halting, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_where_nothing_is_masked_both_rollouts_are_the_same(kind):
    for step in compare(NOTHING, base={"kind": kind}):
        assert not step.halted.any()
        assert torch.equal(step.without.l1, step.halting.l1)
        assert torch.equal(step.without.open_error, step.halting.open_error)
        assert step.saved.tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_masks_begin_before_the_second_iteration_and_change_what_follows(kind):
    first, second, _ = compare(EVERYTHING, base={"kind": kind})
    assert not first.halted.any()
    assert torch.equal(first.without.l1, first.halting.l1)
    assert second.halted.any()
    assert not torch.equal(second.without.l1, second.halting.l1)


def test_a_base_without_ids_is_masked_by_its_error_alone():
    _, second, third = compare(EVERYTHING, base={"kind": "vae"})
    assert second.halted.all()
    assert third.without.open_error.tolist() == [0, 0, 0]  # no token is open


def test_the_error_of_open_tokens_is_one_minus_the_probability_of_their_base_ids():
    model = tiny.tokenizer()
    step = compare(NOTHING)[1]
    plain = list(model.rollout(tiny.images(3)))[1]
    chosen = plain.prediction.softmax(-1).gather(-1, plain.base.ids[..., None])[..., 0]
    assert torch.allclose(step.without.open_error, 1 - chosen.mean(-1), atol=1e-6)
    assert torch.allclose(step.without.l1, (plain.reconstruction.clamp(0, 1) - tiny.images(3)).abs().mean((1, 2, 3)))


def test_the_same_seed_masks_the_same_tokens():
    one, same, other = (compare(EVERYTHING, seed)[1].halted for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_leaving_masked_tokens_out_saves_their_share_and_decoding_costs_as_much_as_encoding():
    config = tiny.tokenizer_config()  # 16 image tokens, width 16, 2 layers, lengths 2, 4, 6
    counted = operations(config, 2, torch.tensor([0, 16])).tolist()
    assert counted == [2 * (24 * 19 * 256 + 4 * 19 * 19 * 16), 2 * (24 * 3 * 256 + 4 * 9 * 16)]
    first, second, third = compare(EVERYTHING, base={"kind": "vae"})
    each = [operations(config, length, torch.tensor([0, 16])).tolist() for length in (2, 4, 6)]
    whole, bare = ([one[place] for one in each] for place in (0, 1))
    assert first.saved.tolist() == [0, 0, 0]
    assert second.saved[0].item() == pytest.approx((whole[1] - bare[1]) / (whole[0] + whole[1]))
    assert third.saved[0].item() == pytest.approx((sum(whole[1:]) - sum(bare[1:])) / sum(whole))
    assert [step.decoding for step in (first, second, third)] == pytest.approx(
        [0, whole[0] / sum(whole[:2]), sum(whole[:2]) / sum(whole)]
    )


@pytest.mark.parametrize("changes", [{"iterations": 1}, {"growth": "nested"}])
def test_a_tokenizer_of_one_pass_has_nothing_to_halt(changes):
    with pytest.raises(NotMeasurable, match="makes one pass"):
        compare(EVERYTHING, **changes)
