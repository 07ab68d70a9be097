"""The settings that a run has otherwise than the paper."""

from copy import deepcopy

import pytest
from checkout import ROOT

from alit.report.pages import settings_diff
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
