"""Timing and counting: what an operation is, that counts are exact, and that rounds are interleaved."""

import pytest
import torch
from tiny import base_config, images, tokenizer, tokenizer_config
from torch import nn
from training_cases import distill_config, optimization

from alit.models.loading import build_base
from alit.studies.ablations.measure import stage_1_gigaflop, variant_costs
from alit.studies.cost import measure
from alit.studies.cost.measure import measure_cost
from alit.tokenizer.adapters import CodecTokenizer, GridTokenizer
from alit.tokenizer.cost import (
    BOTH,
    DECODE,
    ENCODE,
    ENCODE_UNTIL,
    LiveTensors,
    Operation,
    gigaflop,
    measure_lengths,
    operations,
)


def operation_of(run, prepare=lambda image: image):
    return Operation("run", 1, 4, prepare, run)


@torch.no_grad()
def outcome(model, name, length, image):
    """Run one operation of a tokenizer."""
    operation = next(each for each in operations(model) if (each.name, each.length) == (name, length))
    return operation.run(operation.prepare(image))


@pytest.mark.parametrize("growth", ["recurrent", "nested"])
@pytest.mark.parametrize("length", [2, 4, 6])
def test_encoding_and_decoding_are_those_of_the_tokenizer(growth, length):
    model = tokenizer(tokenizer_config(growth=growth))
    image = images(1)
    assert torch.equal(outcome(model, ENCODE, length, image), model.encode(image, length=length).values)
    rebuilt = model.decode(model.encode(image, length=length))
    torch.testing.assert_close(outcome(model, DECODE, length, image).clamp(0, 1), rebuilt)
    (found,) = outcome(model, ENCODE_UNTIL, length, image)
    assert len(found.values) == length


@pytest.mark.parametrize("quantize", [True, False])
def test_a_batch_is_encoded_and_decoded_as_one(quantize):
    model = tokenizer(tokenizer_config(quantize=quantize))
    assert torch.equal(outcome(model, ENCODE, 4, images(3)), model.encode(images(3), length=4).values)
    rebuilt = model.decode(model.encode(images(3), length=4))
    torch.testing.assert_close(outcome(model, DECODE, 4, images(3)).clamp(0, 1), rebuilt)


def test_every_length_has_a_cost_and_longer_ones_a_higher():
    model = tokenizer()
    one, three = (list(measure_lengths(model, images(count), rounds=2)) for count in (1, 3))
    assert [cost.length for cost in one] == [2, 4, 6]
    assert [cost.bits for cost in one] == [8, 16, 24]
    for name in ("encode_gflop", "decode_gflop"):
        counted = [getattr(cost, name) for cost in one]
        assert 0 < counted[0] < counted[1] < counted[2]
        assert counted == pytest.approx([getattr(cost, name) for cost in three])
    assert all(1e3 / cost.encode_ms == pytest.approx(cost.images_per_second) for cost in one)
    assert all(
        3 * small.peak_mib == pytest.approx(large.peak_mib, rel=0.2) for small, large in zip(one, three, strict=True)
    )


def test_a_tokenizer_that_only_keeps_the_protocol_is_timed_as_a_whole():
    codec = CodecTokenizer("jpeg", image_size=16, qualities=(20, 80))
    assert [(each.name, each.length) for each in operations(codec)] == [(BOTH, 20), (BOTH, 80)]
    assert [step.length for step in outcome(codec, BOTH, 80, images(1))] == [20, 80]


def test_the_base_alone_encodes_and_decodes():
    base = GridTokenizer(build_base(base_config()), 16)
    assert [(each.name, each.length) for each in operations(base)] == [(ENCODE, 16), (DECODE, 16)]
    assert outcome(base, DECODE, 16, images(1)).shape == (1, 3, 16, 16)


def test_operations_count_two_for_each_multiply_add_and_nothing_of_the_preparation():
    matrix = torch.ones(10, 20)
    counted = gigaflop(
        operation_of(lambda tall: matrix @ tall, lambda image: torch.ones(20, 30) @ torch.ones(30, 30)), images(1)
    )
    assert counted * 1e9 == 2 * 10 * 20 * 30


def test_live_tensors_are_those_that_exist_at_once():
    kept = torch.zeros(1000)
    with LiveTensors() as live:
        total = kept + 1
        for _ in range(5):
            total = total + kept  # the old total lives until the new one is there
        view = total.view(10, 100)
        del total
    assert live.peak == 2 * 4000
    assert live.alive == 4000
    assert view.shape == (10, 100)


def test_each_image_is_a_round_of_everything(monkeypatch):
    seen = []

    def noted(operation, image):
        seen.append((operation.length, int(image.sum())))
        return 1e-3

    monkeypatch.setattr(measure, "seconds_of", noted)
    codec = CodecTokenizer("jpeg", image_size=16, qualities=(20, 80))
    rounds = torch.stack([torch.full((3, 16, 16), number / 768) for number in range(3)])
    times = measure_cost({"jpeg": codec}, rounds).times
    assert [length for length, _ in seen] == [20, 80] * 4
    assert [round(total) for _, total in seen] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert times["image"].tolist() == [0, 0, 1, 1, 2, 2]


def test_what_torch_does_not_see_is_not_counted_as_nothing():
    tables = measure_cost({"own": tokenizer(), "jpeg": CodecTokenizer("jpeg", image_size=16)}, images(1))
    counts = tables.counts.set_index("tokenizer")
    assert counts.loc["jpeg", ["gflop", "peak_mib", "parameters"]].isna().all(axis=None)
    own = counts.loc["own"]
    assert (own[["gflop", "peak_mib"]] > 0).all(axis=None)
    assert (own["parameters"] == sum(weight.numel() for weight in tokenizer().parameters())).all()
    encode = own[own["operation"] == ENCODE]["gflop"]
    assert encode.is_monotonic_increasing


def test_nested_latents_cost_the_same_at_every_length_but_for_reading_them_out():
    model = tokenizer(tokenizer_config(growth="nested"))
    costs = variant_costs(model, distill_config(), images(1), seed=0)
    recurrent = variant_costs(tokenizer(), distill_config(), images(1), seed=0)
    assert costs["encode_gflop"].max() < 1.05 * costs["encode_gflop"].min()
    assert recurrent["encode_gflop"].max() > 1.2 * recurrent["encode_gflop"].min()
    assert recurrent["training_tflop"][0] > costs["training_tflop"][0]


def test_training_operations_are_the_sum_over_steps_of_what_each_supervises():
    model = tokenizer()
    one = distill_config(optimization=optimization(steps=1), supervised_iterations=1, unlock_share=1.0)
    many = distill_config(optimization=optimization(steps=6), supervised_iterations=1, unlock_share=1.0)
    everything = distill_config(optimization=optimization(steps=6), supervised_iterations=None, unlock_share=0.0)
    first = stage_1_gigaflop(model, one, images(1), seed=0)
    assert (
        6 * first < stage_1_gigaflop(model, many, images(1), seed=0) < stage_1_gigaflop(model, everything, images(1), 0)
    )
    assert all(weight.grad is None for weight in model.parameters() if isinstance(weight, nn.Parameter))
