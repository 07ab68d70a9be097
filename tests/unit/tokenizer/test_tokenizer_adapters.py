"""Other tokenizers: image codecs, and tokenizers by name, checkpoint folders and anybody's class alike."""

import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from checkout import ROOT
from PIL import features
from tiny import base_config, images, tokenizer
from toy_sweep import CONFIG, MeanColor, ToySet

from alit.errors import AlitError, CheckpointError, ConfigError
from alit.models.loading import build_base
from alit.models.weights import save_network
from alit.sweep.engine import SweepJob, move_whole, sweep_many
from alit.sweep.schema import read_table
from alit.tasks.perceptual import ReconstructionTask
from alit.tokenizer.adapters import CodecTokenizer, GridTokenizer, load_tokenizer
from alit.tokenizer.protocol import Tokenizer

DOCS = ROOT / "docs"
CPU = torch.device("cpu")


def load(target, arguments=None, folder=Path(), image_size=16):
    return load_tokenizer(target, arguments or {}, folder=folder, image_size=image_size, device=CPU)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A folder on Python's path; returns a function that writes a module there."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def sweep_of(loaders, tmp_path, **options):
    jobs = {name: SweepJob(loader, {"name": name}) for name, loader in loaders.items()}
    places = {"config": CONFIG, "scratch": tmp_path / "scratch"}
    return sweep_many(jobs, [ToySet("val", 6)], [ReconstructionTask()], [MeanColor()], **places, **options)


def test_the_adapter_of_the_docs_is_loaded_by_name_and_swept(module, tmp_path):
    text = (DOCS / "bring-your-own.md").read_text()
    module("blocks", re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])
    target = re.search(r'target: "([\w:]+)"', text)[1]
    folder = sweep_of({"blocks": partial(load, target, {"image_size": 8})}, tmp_path)
    table = read_table(folder / "blocks" / "table.parquet")
    assert sorted(table["length"].unique()) == [0, 1, 4, 16]
    errors = table[table["length"] > 0].groupby("length")["l1"].mean()
    assert errors.is_monotonic_decreasing


def test_a_codec_is_named_with_its_arguments():
    codec = load(
        "alit.tokenizer.adapters:CodecTokenizer", {"image_format": "jpeg", "image_size": 8, "qualities": [20, 80]}
    )
    assert isinstance(codec, CodecTokenizer)
    assert list(codec.lengths) == [20, 80]


def test_a_checkpoint_folder_gives_the_tokenizer_that_it_holds(tmp_path):
    original = tokenizer()
    original.save_pretrained(tmp_path / "variants" / "fixed" / "0")
    loaded = load("variants/fixed/0", folder=tmp_path)
    assert loaded.fingerprint == original.fingerprint
    assert not loaded.training


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_a_folder_with_a_base_tokenizer_gives_that_alone(tmp_path, kind):
    config = base_config(kind=kind)
    (tmp_path / "base").mkdir()
    save_network(build_base(config), config, tmp_path / "base")
    base = load("base", folder=tmp_path, image_size=32)
    assert isinstance(base, GridTokenizer)
    assert base.lengths == (64,)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (only,) = base.reconstructions(images)
    assert only.images.shape == images.shape
    assert only.bits.tolist() == [64.0 * (4 if kind == "vqgan" else 32 * 4)] * 2


@pytest.mark.parametrize(
    ("target", "arguments", "expected"),
    [
        ("nowhere", {}, "module:Class, a checkpoint folder"),
        ("no_such_module:Tokenizer", {}, "No module named 'no_such_module'"),
        ("alit.tokenizer.adapters:NoSuchClass", {}, "has no attribute 'NoSuchClass'"),
        (
            "alit.tokenizer.adapters:CodecTokenizer",
            {"image_format": "jpeg"},
            "missing 1 required keyword-only argument: 'image_size'",
        ),
        ("half_a_tokenizer:Half", {}, "found none of lengths, base_tokens"),
    ],
)
def test_a_fault_is_one_line_that_names_the_target(module, target, arguments, expected):
    module("half_a_tokenizer", "class Half:\n    name = 'half'\n    image_size = 8\n    reconstructions = None\n")
    with pytest.raises(ConfigError) as caught:
        load(target, arguments)
    assert target in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"expected a checkpoint with config\.json in .*empty"):
        load("empty", folder=tmp_path)


@pytest.mark.parametrize(("content", "found"), [("5", "found int"), ("[1", "cannot be read as JSON")])
def test_a_folder_with_other_json_is_named(content, found, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"other/config\.json.*{found}"):
        load("other", folder=tmp_path)


def test_faults_of_the_class_itself_stay_what_they_are():
    with pytest.raises(AlitError, match="ascending qualities"):
        load("alit.tokenizer.adapters:CodecTokenizer", {"image_format": "jpeg", "image_size": 8, "qualities": [80, 20]})


def test_a_stopped_run_of_several_sweeps_repeats_only_what_was_not_finished(tmp_path):
    loaded = []

    def codec(name, stop=False):
        loaded.append(name)
        if stop:
            raise KeyboardInterrupt
        return CodecTokenizer("jpeg", image_size=8, qualities=(40,))

    with pytest.raises(KeyboardInterrupt):
        sweep_of({"one": partial(codec, "one"), "two": partial(codec, "two", stop=True)}, tmp_path)
    finished = tmp_path / "scratch" / "finished" / "one" / "table.parquet"
    before = finished.stat().st_mtime_ns
    folder = sweep_of({"one": partial(codec, "one"), "two": partial(codec, "two")}, tmp_path)
    assert finished.stat().st_mtime_ns == before
    assert loaded == ["one", "two", "one", "two"]
    move_whole(folder, tmp_path / "baselines")
    assert sorted(path.name for path in (tmp_path / "baselines").iterdir()) == ["one", "two"]
    assert not folder.exists()


def test_sweeps_that_are_no_longer_asked_for_do_not_stay(tmp_path):
    codec = partial(CodecTokenizer, "jpeg", image_size=8, qualities=(40,))
    sweep_of({"old": codec}, tmp_path)
    folder = sweep_of({"new": codec}, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["new"]


FORMATS = [
    pytest.param(name, marks=pytest.mark.skipif(name != "jpeg" and not features.check(name), reason=f"no {name}"))
    for name in ("jpeg", "webp", "avif")
]


@pytest.fixture
def smooth():
    coarse = images(3, 4)
    return torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")


@pytest.mark.parametrize("name", FORMATS)
def test_a_codec_follows_the_protocol_and_pays_bits_for_quality(name, smooth):
    codec = CodecTokenizer(name, image_size=32)
    assert isinstance(codec, Tokenizer)
    steps = list(codec.reconstructions(smooth))
    assert tuple(step.length for step in steps) == codec.lengths
    assert all(step.images.shape == smooth.shape for step in steps)
    first, last = steps[0], steps[-1]
    assert (last.bits > first.bits).all()
    assert (last.images - smooth).abs().mean() < (first.images - smooth).abs().mean()
    assert (last.images - smooth).abs().mean() < 0.03


def test_an_images_file_does_not_depend_on_its_batch(smooth):
    codec = CodecTokenizer("jpeg", image_size=32)
    for together, alone in zip(codec.reconstructions(smooth), codec.reconstructions(smooth[1:2]), strict=True):
        assert together.bits[1] == alone.bits[0]
        assert torch.equal(together.images[1], alone.images[0])


def test_qualities_that_do_not_ascend_are_refused():
    for qualities in ((5, 5), (10, 5), (50, 101)):
        with pytest.raises(ConfigError, match="ascending"):
            CodecTokenizer("jpeg", image_size=32, qualities=qualities)
