"""The page that says what a run has otherwise than the paper."""

import pytest
from checkout import ROOT

from alit.config import load_profile
from alit.report.pages import MATTERS, by_section, differences
from alit.report.site import Study
from alit.training.variants import vary

CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def paper():
    return load_profile(CONFIGS / "paper.yaml")


def test_the_published_settings_differ_in_nothing(paper):
    assert differences(paper, paper) == ()


def test_a_changed_setting_is_one_line_with_both_values(paper):
    here = vary(paper, {"tokenizer.distillation.width": 512}, source="test")
    (found,) = differences(here, paper)
    assert found.matter == "Encoder and decoder"
    assert found.paper == "8 + 8 layers, width 1024, 8 heads"
    assert found.here == "8 + 8 layers, width 512, 8 heads"


@pytest.mark.parametrize("name", ["smoke", "cpu", "imagenette"])
def test_every_profile_can_be_told_in_words(name, paper):
    here = load_profile(CONFIGS / f"{name}.yaml")
    found = differences(here, paper)
    assert {"Training images", "Image size", "Latent tokens"} <= {each.matter for each in found} <= set(MATTERS)
    assert all(each.paper and each.here for each in found)


def test_studies_are_grouped_in_the_order_of_their_first():
    studies = [Study(name, name, "", section, "", (), "", ()) for name, section in (("a", "x"), ("b", "y"), ("c", "x"))]
    grouped = by_section(studies)
    assert [(section, [study.name for study in group]) for section, group in grouped.items()] == [
        ("x", ["a", "c"]),
        ("y", ["b"]),
    ]
