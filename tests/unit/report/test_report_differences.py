"""The settings that a run has otherwise than the paper."""

import json
from copy import deepcopy

import pytest
from checkout import ROOT

from alit.paths import RunPaths
from alit.report.differences import recorded_settings, settings_diff
from alit.settings import read_yaml

CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def paper():
    return read_yaml(CONFIGS / "paper.yaml")


def test_the_published_settings_differ_in_nothing(paper):
    assert settings_diff(paper, paper) == []


def test_a_changed_setting_is_one_line_with_both_values(paper):
    here = deepcopy(paper)
    here["tokenizer"]["distillation"]["width"] = 512
    here["finetune"]["l1_weight"] = 1  # 1.0 in the paper's
    here["device"] = "cpu"
    assert settings_diff(paper, here) == [("tokenizer.distillation.width", "1024", "512")]


def test_entries_of_a_list_stand_together_by_role_or_kind(paper):
    here = deepcopy(paper)
    here["data"]["sets"][0] |= {"name": "own", "images": 70}
    here["data"]["sets"].append({"name": "checked", "role": "check"})
    here["task_models"] = [model for model in paper["task_models"] if model["kind"] != "caption"]
    published = "blip_base (input_size 384), blip_large (input_size 384)"
    assert settings_diff(paper, here) == [
        ("data.sets (train)", "imagenet100", "own (images 70)"),
        ("data.sets (check)", "–", "checked"),
        ("task_models (caption)", published, "–"),
    ]


@pytest.mark.parametrize("name", ["smoke", "cpu", "ablations", "imagenette"])
def test_every_profile_can_be_compared(name, paper):
    found = settings_diff(paper, read_yaml(CONFIGS / f"{name}.yaml"))
    assert {"data.image_size", "data.sets (train)", "tokenizer.distillation.width"} <= {each.key for each in found}
    assert all(each.paper and each.here for each in found)


def test_without_a_record_no_setting_of_a_training_is_compared(paper, tmp_path):
    here = deepcopy(paper) | {"init_from": "/home/someone/alit_small.pth"}
    here["distill"]["label_smoothing"] = 0.5  # of a profile that did not train these weights
    here["data"] |= {"flip": False, "sets": here["data"]["sets"][1:]}
    here["seed"] = 7
    found = recorded_settings(paper, here, RunPaths(tmp_path, "own"))
    assert settings_diff(found.paper, found.here) == [("seed", "0", "7")]
    assert set(found.unknown) == {"perceptual_trunk", "base_training", "distill", "finetune", "data of the training"}


def test_what_is_recorded_with_the_weights_is_compared_instead_of_the_profile(paper, tmp_path):
    paths = RunPaths(tmp_path, "own")
    paths.distilled.mkdir(parents=True)
    paths.tokenizer.mkdir()
    training = deepcopy(paper["distill"]) | {"label_smoothing": 0.25}
    del training["halting"]  # added since
    data = deepcopy(paper["data"]) | {"crop_scale": 0.5}
    data["sets"][0]["name"] = "own_images"
    (paths.distilled / "training.json").write_text(json.dumps({"training": training, "data": data}))
    tokenizer = deepcopy(paper["tokenizer"])
    tokenizer["distillation"]["layers"] = 12
    (paths.tokenizer / "config.json").write_text(json.dumps(tokenizer))
    found = recorded_settings(paper, deepcopy(paper) | {"tokenizer": None}, paths)
    assert settings_diff(found.paper, found.here) == [
        ("data.crop_scale", "0.8", "0.5"),
        ("data.sets (train)", "imagenet100", "own_images"),
        ("tokenizer.distillation.layers", "8", "12"),
        ("distill.label_smoothing", "0.1", "0.25"),
    ]
