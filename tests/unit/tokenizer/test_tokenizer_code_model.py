"""Models of token ids: code lengths, smoothing, and their file."""

import json

import numpy as np
import pytest
import tiny
import torch

from alit.errors import CheckpointError, ConfigError
from alit.tokenizer.code_model import CARD_FILE, COUNTS_FILE, STRENGTHS, CodeModel, count_ids, strength
from alit.tokenizer.protocol import ids_of


def entropy(probabilities: np.ndarray) -> float:
    return float(-(probabilities * np.log2(probabilities)).sum())


def draws(probabilities: np.ndarray, count: int, places: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.choice(len(probabilities), size=(count, places), p=probabilities)


def test_ids_are_counted_by_place():
    ids = np.array([[0, 2], [0, 1], [2, 1]])
    assert count_ids(ids, 4).tolist() == [[2, 0, 1, 0], [0, 2, 1, 0]]


def test_the_order_0_model_adds_half_an_id_of_every_code():
    model = CodeModel({2: count_ids(np.array([[0, 2], [0, 1], [2, 1]]), 4)})
    np.testing.assert_allclose(model.probabilities(2)[0], np.array([2.5, 2.5, 2.5, 0.5]) / 8)


def test_the_model_by_position_draws_each_place_toward_the_order_0_model():
    counts = count_ids(draws(np.array([0.7, 0.2, 0.1]), 40, 3), 3)
    order_0, by_position = CodeModel({3: counts}).probabilities(3)
    c = strength(counts)
    np.testing.assert_allclose(by_position, (counts + c * order_0) / (40 + c))
    np.testing.assert_allclose(by_position.sum(axis=1), 1)
    np.testing.assert_allclose(order_0.sum(), 1)


def test_new_ids_cost_the_entropy_of_their_source():
    source = np.array([0.5, 0.25, 0.125, 0.125])
    model = CodeModel({8: count_ids(draws(source, 20_000, 8), 4)})
    found = model.bits(draws(source, 5_000, 8, seed=1), 8)
    assert found.order_0.shape == (5_000,)
    assert found.order_0.mean() == pytest.approx(8 * entropy(source), rel=0.01)
    assert found.by_position.mean() == pytest.approx(8 * entropy(source), rel=0.01)


def test_places_that_differ_are_told_apart_by_position_alone():
    places = [np.array([0.97, 0.01, 0.01, 0.01]), np.array([0.01, 0.97, 0.01, 0.01])]

    def ids(count: int, seed: int) -> np.ndarray:
        return np.hstack([draws(each, count, 1, seed + place) for place, each in enumerate(places)])

    model = CodeModel({2: count_ids(ids(20_000, 0), 4)})
    found = model.bits(ids(50_000, 9), 2)
    assert found.by_position.mean() == pytest.approx(2 * entropy(places[0]), rel=0.03)
    assert found.order_0.mean() == pytest.approx(2 * entropy(np.mean(places, axis=0)), rel=0.03)


@pytest.mark.parametrize("codes", [2, 64, 1024])
def test_uniform_ids_cost_their_fixed_width(codes):
    uniform = np.full(codes, 1 / codes)
    model = CodeModel({4: count_ids(draws(uniform, 20_000, 4), codes)})
    found = model.bits(draws(uniform, 2_000, 4, seed=1), 4)
    assert found.order_0.mean() == pytest.approx(4 * np.log2(codes), rel=0.01)
    assert found.by_position.mean() == pytest.approx(4 * np.log2(codes), rel=0.01)


def test_an_id_that_training_never_had_costs_finitely_many_bits():
    model = CodeModel({1: count_ids(np.zeros((100, 1), dtype=np.int64), 8)})
    found = model.bits(np.array([[0], [5]]), 1)
    assert found.order_0[1] == pytest.approx(-np.log2(0.5 / 104))
    assert np.isfinite(found.by_position).all()
    assert found.by_position[1] > found.by_position[0]


def test_alike_places_lean_on_all_and_different_ones_on_themselves():
    alike = count_ids(draws(np.full(16, 1 / 16), 500, 8), 16)
    different = np.eye(8, 16, dtype=np.int64) * 500
    assert strength(alike) == STRENGTHS[-1]
    assert strength(different) < 1


def test_a_place_without_training_ids_has_the_order_0_model():
    order_0, by_position = CodeModel({2: np.array([[3, 1], [0, 0]])}).probabilities(2)
    np.testing.assert_allclose(by_position[1], order_0)


def test_surprisal_adds_up_to_bits():
    model = CodeModel({3: count_ids(draws(np.array([0.6, 0.3, 0.1]), 50, 3), 3)})
    ids = draws(np.array([0.2, 0.3, 0.5]), 7, 3, seed=2)
    for bits, each in zip(model.bits(ids, 3), model.surprisal(ids, 3), strict=True):
        np.testing.assert_allclose(each.sum(axis=1), bits)
        assert each.shape == (7, 3)


def test_a_model_survives_its_files(tmp_path):
    model = CodeModel({length: count_ids(draws(np.full(5, 0.2), 30, length), 5) for length in (4, 2)})
    model.save(tmp_path, {"images": 30})
    again = CodeModel.load(tmp_path)
    assert list(again.counts) == [2, 4]
    assert again.sha256 == model.sha256
    card = json.loads((tmp_path / CARD_FILE).read_text())
    assert card["images"] == 30
    assert card["strength_by_length"] == {str(length): strength(model.counts[length]) for length in (2, 4)}


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    for name, seed in (("one", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        CodeModel({2: count_ids(draws(np.full(5, 0.2), 30, 2, seed), 5)}).save(tmp_path / name, {})
    (tmp_path / "one" / CARD_FILE).write_bytes((tmp_path / "other" / CARD_FILE).read_bytes())
    with pytest.raises(CheckpointError, match="found that of others"):
        CodeModel.load(tmp_path / "one")


@pytest.mark.parametrize(("file", "content"), [(COUNTS_FILE, b"none"), (CARD_FILE, b"{"), (CARD_FILE, b"[1]")])
def test_a_damaged_file_is_refused(tmp_path, file, content):
    CodeModel({1: np.ones((1, 2), dtype=np.int64)}).save(tmp_path, {})
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CheckpointError):
        CodeModel.load(tmp_path)


# Ids of tokenizers


def test_ids_without_reconstructions_are_those_of_the_reconstructions():
    tokenizer, images = tiny.tokenizer(), tiny.images(3)
    steps = list(tokenizer.reconstructions(images))
    found = list(ids_of(tokenizer, images))
    assert [length for length, _ in found] == [step.length for step in steps] == list(tokenizer.lengths)
    for (_, ids), step in zip(found, steps, strict=True):
        assert step.ids is not None
        assert torch.equal(ids, step.ids)


def test_continuous_latents_have_no_ids():
    tokenizer = tiny.tokenizer(tiny.tokenizer_config(quantize=False))
    assert tokenizer.codebook_size is None
    assert all(step.ids is None for step in tokenizer.reconstructions(tiny.images(1)))
    with pytest.raises(ConfigError, match="continuous latents"):
        next(ids_of(tokenizer, tiny.images(1)))
