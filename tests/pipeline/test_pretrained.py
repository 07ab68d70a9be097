"""`init_from`: a profile that goes on from a trained checkpoint copies its networks instead of training them."""

import shutil

import huggingface_hub.constants
import pytest
import torch
import yaml
from checkout import ROOT
from published_names import published_name

from alit.config import load_profile
from alit.errors import CheckpointError
from alit.models.loading import load_base
from alit.models.weights import save_network
from alit.paths import RunPaths
from alit.tokenizer.origin import read_origin
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from experiments import base, distill, finetune, pretrained


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """A checkout with a checkpoint of the smoke profile's networks, and a profile that goes on from it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "configs").mkdir()
    content = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    paths = RunPaths(tmp_path, "tiny")
    content["tokenizer"]["distillation"]["prediction"] = "logits"  # as the authors' files have it
    content["tokenizer"]["base"]["unit_codes"] = False
    paths.config.write_text(yaml.safe_dump(content | {"init_from": "zoo/tiny"}))
    with torch.random.fork_rng():
        tokenizer = AdaptiveTokenizer(load_profile(paths.config).tokenizer)
    folder = tmp_path / "zoo" / "tiny"
    tokenizer.save_pretrained(folder)
    for name in ("base", "stage_1"):
        (folder / name).mkdir()
        (folder / name / "log.csv").write_text(f"{name}\n")
    save_network(tokenizer.base, tokenizer.config.base, folder / "base")
    (folder / "log.csv").write_text("stage_2\n")
    return paths


def test_the_stages_take_the_checkpoints_networks_over(paths):
    for stage in (pretrained, base, distill, finetune):
        stage.main(["tiny"])
    copied = AdaptiveTokenizer.from_pretrained(paths.tokenizer)
    original = AdaptiveTokenizer.from_pretrained(paths.root / "zoo" / "tiny")
    assert copied.fingerprint == original.fingerprint
    assert not (paths.distilled / "base").exists()
    logs = [(stage / "log.csv").read_text() for stage in (paths.base, paths.distilled, paths.tokenizer)]
    assert logs == ["base\n", "stage_1\n", "stage_2\n"]
    assert (paths.pretrained / "init_from.txt").read_text() == "zoo/tiny\n"


def test_finished_variants_are_taken_as_they_lie_in_the_checkout(paths):
    content = yaml.safe_load(paths.config.read_text())
    entry = {"name": "again", "set": {}, "seeds": [0, 3], "checkpoints": {3: "zoo/tiny"}}
    content["variants"]["trainings"] = [entry]
    content["ablations"]["comparisons"] = []
    paths.config.write_text(yaml.safe_dump(content))
    pretrained.main(["tiny"])
    assert [str(path.relative_to(paths.kept)) for path in paths.kept.glob("*/*")] == ["again/3"]
    kept, source = paths.kept / "again" / "3", paths.root / "zoo" / "tiny"
    assert (kept / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert (kept / "stage_1" / "log.csv").read_text() == "stage_1\n"
    entry["checkpoints"] = {3: "zoo/huge"}
    paths.config.write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"config\.json in .*zoo/huge \(variants\.trainings again\), found none"):
        pretrained.main(["tiny"])


@pytest.mark.parametrize("form", ["bare folder", "absolute folder", "hub id", "file of the authors"])
def test_any_form_of_a_checkpoint_starts_and_brings_its_own_base(paths, form, monkeypatch):
    original = AdaptiveTokenizer.from_pretrained(paths.root / "zoo" / "tiny")
    shutil.rmtree(paths.root / "zoo")
    source, place = "mine/tiny", paths.root / "mine" / "tiny"
    if form == "absolute folder":
        source = str(place)
    if form == "hub id":
        source, place = "someone/tiny", paths.root / "cache" / "models--someone--tiny" / "snapshots" / ("0" * 40)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(paths.root / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        (place.parents[1] / "refs").mkdir(parents=True)
        (place.parents[1] / "refs" / "main").write_text("0" * 40)
    if form == "file of the authors":
        source = "tiny.pth"
        config = original.config
        tensors = {f"module.{published_name(name, config)}": value for name, value in original.state_dict().items()}
        torch.save({"ema": tensors}, paths.root / source)
    else:
        original.save_pretrained(place)
    paths.config.write_text(paths.config.read_text().replace("zoo/tiny", source))
    for stage in (pretrained, base, distill, finetune):
        stage.main(["tiny"])
    kept, base_alone = AdaptiveTokenizer.from_pretrained(paths.tokenizer), load_base(paths.base).state_dict()
    for name, value in original.state_dict().items():
        assert torch.equal(kept.state_dict()[name], value), name
        if name.startswith("base."):
            assert torch.equal(base_alone[name.removeprefix("base.")], value), name
    origin = read_origin(paths.tokenizer)
    assert origin is not None
    assert origin.checkpoint == {"hub id": "someone/tiny", "file of the authors": "tiny.pth"}.get(form, "tiny")
    assert str(paths.root) not in origin.model_dump_json()


def test_stage_two_goes_on_for_as_long_and_as_fast_as_the_profile_says(paths):
    profile = load_profile(paths.config)
    change = profile.finetune_from_checkpoint.model_copy(update={"steps": 7})
    config = finetune.after_checkpoint(profile.finetune, change)
    assert config.optimization.steps == 7
    assert config.optimization.learning_rate == change.learning_rate
    assert config.l1_weight == profile.finetune.l1_weight


def test_from_scratch_there_is_only_a_note(paths):
    paths.config.write_text(paths.config.read_text().replace("zoo/tiny", "scratch"))
    pretrained.main(["tiny"])
    assert [path.name for path in paths.pretrained.iterdir()] == ["init_from.txt"]


def test_a_checkpoint_that_is_not_there_is_named(paths):
    paths.config.write_text(paths.config.read_text().replace("zoo/tiny", "zoo/other"))
    with pytest.raises(CheckpointError, match=r"expected a checkpoint at .*other, found none; it may be a folder"):
        pretrained.main(["tiny"])


def test_a_checkpoint_of_other_networks_is_refused(paths):
    content = yaml.safe_load(paths.config.read_text())
    content["tokenizer"]["distillation"]["layers"] += 1
    paths.config.write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"tokenizer\.distillation\.layers 3 as in the profile, found 2"):
        pretrained.main(["tiny"])


def test_networks_that_were_not_fetched_are_missed(paths):
    with pytest.raises(CheckpointError, match="run stage pretrained again"):
        base.main(["tiny"])
