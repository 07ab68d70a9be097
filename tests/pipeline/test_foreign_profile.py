"""A profile whose own tokenizer is somebody else's: every study that needs no look into it, and the rest say why."""

import json

import pandas as pd
import pytest
import yaml
from scene_project import scene_project

from alit.config import load_profile
from alit.errors import ConfigError
from alit.paths import RunPaths
from alit.sweep.schema import read_table
from alit.tokenizer.origin import read_origin
from experiments import (
    base,
    check,
    distill,
    examples,
    finetune,
    length_predictor,
    measure,
    pretrained,
    sweep,
    task_models,
    thumbnails,
)

JPEG = {
    "target": "alit.tokenizer.adapters:CodecTokenizer",
    "arguments": {"image_format": "jpeg", "image_size": 32, "qualities": [10, 90]},
    "options": {"version": "turbo"},
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> RunPaths:
    """A checkout with a few scenes, and a profile that measures JPEG as its own tokenizer."""
    paths = scene_project(tmp_path_factory.mktemp("foreign"))
    content = yaml.safe_load(paths.config.read_text())
    content |= {"tokenizer": JPEG, "init_from": "target", "baselines": {"sets": [], "tokenizers": []}}
    content |= {"variants": {"common": {}, "trainings": []}, "ablations": content["ablations"] | {"comparisons": []}}
    paths.config.write_text(yaml.safe_dump(content))
    return paths


def change(paths, **sections):
    content = yaml.safe_load(paths.config.read_text()) | sections
    other = paths.config.with_name("other.yaml")
    other.write_text(yaml.safe_dump(content))
    return other


@pytest.mark.slow
def test_the_stages_name_it_and_sweep_it(paths, monkeypatch, capsys):
    monkeypatch.chdir(paths.root)
    for stage in (pretrained, base, distill, finetune, length_predictor, task_models, sweep, examples, thumbnails):
        stage.main(["tiny"])
    table = read_table(paths.table)
    assert sorted(table["length"].unique()) == [0, 10, 90]
    assert table["tokens"].isna().all()
    record = json.loads((paths.sweep / "config.json").read_text())
    assert record["tokenizer"]["version"] == "turbo"
    assert record["tokenizer_settings"] == load_profile(paths.config).target.model_dump(mode="json")
    assert read_origin(paths.tokenizer).describe().startswith("jpeg turbo, alit.tokenizer.adapters:CodecTokenizer")
    assert "jpeg turbo" in capsys.readouterr().out
    assert (paths.examples / "examples.npz").is_file()
    assert not pd.read_parquet(paths.thumbnails)["maps"].any()  # a codec does not say where it looks
    reasons = {"codebook": "the code of jpeg is no ids", "probe": "no features", "attention": "no attention_maps"}
    for study, expected in reasons.items():
        measure.main(["tiny", study])
        (reason,) = pd.read_parquet(paths.measured(study) / f"{study}_not_measured.parquet")["reason"]
        assert expected in reason
    measure.main(["tiny", "cost"])
    times = pd.read_parquet(paths.measured("cost") / "cost_times.parquet")
    assert set(times["tokenizer"]) == {"own"}


def test_an_image_size_that_it_does_not_have_is_refused(paths, tmp_path):
    named = load_profile(paths.config).target
    with pytest.raises(ConfigError, match=r"expected data\.image_size 32, found 64"):
        pretrained.name_target(named, 64, RunPaths(tmp_path, "tiny"))


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"init_from": "scratch"}, "init_from: target goes with"),
        ({"tokenizer": None}, "init_from: target goes with"),
        ({"tokenizer": JPEG | {"arguements": {}}}, "unknown key target.arguements"),
        ({"tokenizer": JPEG | {"options": {"versoin": "1"}}}, "versoin"),
        (
            {"baselines": {"sets": ["val"], "tokenizers": [{"name": "base", "target": "base"}]}},
            "expected no target base",
        ),
        (
            {"variants": {"common": {}, "trainings": [{"name": "a", "set": {}, "seeds": [0]}]}},
            "variants.trainings trains",
        ),
    ],
)
def test_a_fault_in_the_profile_is_one_line(paths, sections, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        load_profile(change(paths, **sections))
    assert "\n" not in str(caught.value)


def test_check_asks_for_the_hubs_weights_of_the_profiles_own(paths):
    needs = list(check.base_needs({"init_from": "target", "tokenizer": {"target": "owner/tiny"}}, paths.root))
    assert [need.name for need in needs] == ["owner/tiny"]
    assert list(check.checkpoint_needs({"init_from": "target"}, paths.root)) == []
