"""Tokenizers of users: what breaks the protocol, changes between runs or draws at random is one line, never a table."""

import json

import pytest
import torch
from toy_sweep import CONFIG, SIZE, FadingTokenizer, ToySet

from alit.errors import ConfigError, DataError
from alit.sweep.engine import SweepJob, sweep, sweep_many
from alit.tasks.perceptual import ReconstructionTask
from alit.tokenizer.adapters import CodecTokenizer
from alit.tokenizer.protocol import Reconstruction, behavior_of, checked_reconstructions, require_protocol

IMAGES = torch.rand((3, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))


def run(tokenizer, tmp_path):
    folders = {"scratch": tmp_path / "scratch", "out": tmp_path / "out"}
    sweep(tokenizer, [ToySet("a", 9)], [ReconstructionTask()], [], config=CONFIG, **folders)


class Changed(FadingTokenizer):
    """The same name, lengths and settings, another decoder."""

    def reconstructions(self, images):
        for step in super().reconstructions(images):
            yield step._replace(images=step.images * 0.5)


def test_a_tokenizer_changed_after_an_interruption_begins_anew(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(FadingTokenizer(fail_at=2), tmp_path / "both")
    run(Changed(), tmp_path / "both")
    run(Changed(), tmp_path / "alone")
    found, expected = ((tmp_path / name / "out" / "table.parquet").read_bytes() for name in ("both", "alone"))
    assert found == expected


class Network(torch.nn.Module):
    """A tokenizer of another package with weights that do not change."""

    name, image_size, lengths, base_tokens = "network", SIZE, (2,), 4

    def __init__(self, gain: float = 1.0, fail_at: int | None = None) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.gain, self.fail_at, self.calls = gain, fail_at, -3

    def reconstructions(self, images):
        if self.calls == self.fail_at:
            raise RuntimeError("killed")
        self.calls += 1
        yield Reconstruction(2, torch.ones(len(images)), images * self.scale.detach() * self.gain)


class Versioned(Network):
    """The same again, which names its version."""

    def __init__(self, version: str, **options) -> None:
        super().__init__(**options)
        self.version = version


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda: Network(fail_at=2), lambda: Network(gain=0.5)),
        (lambda: Versioned("1", fail_at=2), lambda: Versioned("2")),
        (lambda: Network(fail_at=2), lambda: Versioned("1")),
    ],
)
def test_a_network_whose_code_alone_changed_begins_anew(before, after, tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(before(), tmp_path / "both")
    tokenizer = after()
    run(tokenizer, tmp_path / "both")
    assert tokenizer.calls == 5  # batches of all nine images
    run(after(), tmp_path / "alone")
    for file in ("table.parquet", "config.json"):
        found, expected = ((tmp_path / name / "out" / file).read_bytes() for name in ("both", "alone"))
        assert found == expected


def test_a_network_whose_code_stayed_goes_on(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(Network(fail_at=2), tmp_path)
    tokenizer = Network()
    run(tokenizer, tmp_path)
    assert tokenizer.calls == 3
    record = json.loads((tmp_path / "out" / "config.json").read_text())["tokenizer"]
    assert len(record["behavior_sha256"]) == len(record["weights_sha256"]) == 64


def test_a_finished_sweep_of_code_that_changed_is_made_again(tmp_path):
    def sweeps(gain):
        tokenizer = Network(gain)
        jobs = {"other": SweepJob(lambda: tokenizer, {})}
        sweep_many(jobs, [ToySet("a", 9)], [ReconstructionTask()], [], config=CONFIG, scratch=tmp_path)
        return tokenizer.calls

    assert [sweeps(1.0), sweeps(1.0), sweeps(0.5)] == [5, 0, 5]


class Answers(FadingTokenizer):
    """Answers with one thing of another kind."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def reconstructions(self, images):
        for step in super().reconstructions(images):
            yield self.change(step)


def draw_freely(step):
    return step._replace(images=torch.rand_like(step.images))


def draw_by_batch(step):
    generator = torch.Generator().manual_seed(0)
    shift = torch.rand(step.images.shape[::-1], generator=generator).permute(3, 2, 1, 0)
    return step._replace(images=shift)


@pytest.mark.parametrize("change", [draw_freely, draw_by_batch])
def test_a_decoder_that_draws_at_random_is_refused(change, tmp_path):
    with pytest.raises(DataError, match="expected the same reconstructions from fading"):
        run(Answers(change), tmp_path)


ODD = [
    (lambda step: step._replace(length=torch.tensor([2, 2])), "expected a whole number as length"),
    (lambda step: step._replace(length=torch.tensor(2.0)), "expected a whole number as length"),
    (lambda step: step._replace(length=2.0), "expected a whole number as length"),
    (lambda step: step._replace(length="2"), "expected a whole number as length"),
    (lambda step: step._replace(length=step.length + 1), "at lengths"),
    (lambda step: step._replace(images=step.images.numpy()), "as a tensor"),
    (lambda step: step._replace(images=step.images[:, :1]), "of shape"),
    (lambda step: step._replace(images=step.images[:1]), "of shape"),
    (lambda step: step._replace(images=(step.images * 255).byte()), "expected floats"),
    (lambda step: step._replace(images=step.images.to("meta")), "expected floats on cpu"),
    (lambda step: step._replace(images=step.images * 2), r"in \[0, 1\]"),
    (lambda step: step._replace(images=step.images * torch.nan), r"in \[0, 1\]"),
    (lambda step: step._replace(bits=80.0), "bits"),
    (lambda step: step._replace(bits=torch.tensor(80.0)), "bits"),
    (lambda step: step._replace(bits=step.bits[:, None]), "bits"),
    (lambda step: step._replace(bits=-step.bits), "bits"),
    (lambda step: step._replace(bits=step.bits * torch.inf), "bits"),
    (lambda step: step._replace(bits=step.bits * torch.nan), "bits"),
    (lambda step: step.images, "expected a Reconstruction"),
    (lambda step: (step.length, step.images), "expected a Reconstruction"),
]


@pytest.mark.parametrize(("change", "reason"), ODD)
def test_an_answer_of_another_kind_is_named(change, reason):
    with pytest.raises(DataError, match=reason):
        list(checked_reconstructions(Answers(change), IMAGES))


def test_a_tensor_of_one_whole_number_is_a_length():
    steps = list(checked_reconstructions(Answers(lambda step: step._replace(length=torch.tensor(step.length))), IMAGES))
    assert [type(step.length) for step in steps] == [int, int]
    assert all(isinstance(step, Reconstruction) for step in steps)


ODD_LENGTHS = [torch.tensor([2, 4]), (4, 2), (2, 2), (), (2.0, 4.0), (torch.tensor(2), torch.tensor(4)), 4, (-1, 2)]
ODD_MEMBERS = [("image_size", 8.0), ("image_size", "8"), ("image_size", 0), ("base_tokens", None), ("name", 3)]


@pytest.mark.parametrize(("name", "value"), [*(("lengths", lengths) for lengths in ODD_LENGTHS), *ODD_MEMBERS])
def test_a_member_of_another_kind_is_named(name, value, tmp_path):
    tokenizer = FadingTokenizer()
    setattr(tokenizer, name, value)
    with pytest.raises(ConfigError, match=f"expected {name} of|expected lengths of"):
        require_protocol(tokenizer, "it")
    with pytest.raises(ConfigError):
        run(tokenizer, tmp_path)


def test_tokenizers_of_the_package_are_not_run_for_it():
    assert behavior_of(CodecTokenizer("jpeg", image_size=SIZE), IMAGES) == ""
    assert behavior_of(FadingTokenizer(), IMAGES[:2]) == behavior_of(FadingTokenizer(), IMAGES[:2]) != ""
