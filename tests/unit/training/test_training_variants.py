"""Variants of a profile: some keys changed by name, checked as strictly as the profile itself."""

import pytest
import yaml
from checkout import ROOT

from alit.config import load_profile
from alit.errors import ConfigError
from alit.training.variants import is_own, set_of_path, vary, vary_training

SMOKE = ROOT / "configs" / "smoke.yaml"


def profile_with(tmp_path, variants=None, comparisons=()):
    """Write the smoke profile with other variants and comparisons and load it."""
    content = yaml.safe_load(SMOKE.read_text())
    content["variants"] |= variants or {}
    content["ablations"]["comparisons"] = list(comparisons)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_profile(path)


def test_a_variant_is_the_profile_with_its_keys_changed():
    profile = load_profile(SMOKE)
    varied = vary(profile, {"distill.optimization.steps": 7, "tokenizer.distillation.width": 96}, source="here")
    assert varied.distill.optimization.steps == 7
    assert varied.tokenizer.distillation.width == 96
    assert varied.finetune == profile.finetune
    assert profile.distill.optimization.steps != 7


def test_what_all_variants_share_is_changed_first_and_each_may_change_it_back(tmp_path):
    variants = [{"name": "one", "set": {}, "seeds": [0]}]
    variants += [{"name": "two", "set": {"distill.optimization.steps": 9}, "seeds": [0]}]
    common = {"distill.optimization.steps": 5, "finetune.optimization.steps": 0}
    profile = profile_with(tmp_path, {"common": common, "trainings": variants})
    assert vary_training(profile, profile.variants, "one").distill.optimization.steps == 5
    assert vary_training(profile, profile.variants, "two").distill.optimization.steps == 9
    assert vary_training(profile, profile.variants, "two").finetune.optimization.steps == 0


def test_a_number_in_a_key_counts_the_entries_of_a_list():
    varied = vary(load_profile(SMOKE), {"data.sets.0.images": 10}, source="here")
    assert [part.images for part in varied.data.sets][:2] == [10, load_profile(SMOKE).data.sets[1].images]


def profile_of_folders(tmp_path, path):
    """Write a profile of two folders of images, and a variant that trains on the images of `path`."""
    content = yaml.safe_load(SMOKE.read_text())
    train = content["data"]["sets"][0] | {"source": "folder", "path": "small"}
    other = train | {"name": "other", "path": "large", "role": "study"}
    content["data"]["sets"] = [train, *content["data"]["sets"][1:], other]
    content["variants"]["trainings"] = [{"name": "one", "set": {"data.sets.0.path": path}, "seeds": [0]}]
    content["ablations"]["comparisons"] = []
    file = tmp_path / "folders.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_profile(file)


@pytest.mark.parametrize(("path", "name"), [("small", "train"), ("large", "other")])
def test_a_variant_takes_its_images_from_a_set_of_the_profile(tmp_path, path, name):
    profile = profile_of_folders(tmp_path, path)
    variant = vary_training(profile, profile.variants, "one")
    assert set_of_path(profile, variant).name == name
    assert is_own(variant, profile, profile.seed) == (path == "small" and not profile.variants.common)


def test_a_path_that_no_set_has_is_refused_when_the_profile_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"variants\.trainings one: expected a set of data\.sets with .*path huge"):
        profile_of_folders(tmp_path, "huge")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("distill.optimization.stepz", 3, "unknown key distill.optimization.stepz; the closest valid key is steps"),
        ("distil.optimization.steps", 3, "expected keys of tokenizer, base_training, distill or finetune"),
        ("sweep.chunk_size", 3, "found sweep.chunk_size"),
        ("data.sets.0.split", "val", "found data.sets.0.split"),
        ("data.sets.99.images", 3, "there is no key data.sets.99.images"),
        ("distill.halting.deeper", 3, "there is no key distill.halting.deeper"),
        ("distill.optimization.steps", -1, "greater than or equal to 0, found -1"),
        ("tokenizer.distillation.iterations", 2, "one number for each of the 2 iterations, found 8"),
        ("tokenizer.distillation.passes", 2, "recurrent makes one pass an iteration"),
    ],
)
def test_a_fault_in_a_variant_is_one_line_when_the_profile_is_read(tmp_path, key, value, expected):
    with pytest.raises(ConfigError) as caught:
        profile_with(tmp_path, {"trainings": [{"name": "odd", "set": {key: value}, "seeds": [0]}]})
    assert str(caught.value).startswith("variants.trainings odd: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_comparisons_are_between_variants_that_are_there(tmp_path):
    comparison = {"factor": "width", "variant": "recurrent", "than": "narrow"}
    with pytest.raises(ConfigError, match=r"ablations\.comparisons: expected one of recurrent, .*, found narrow"):
        profile_with(tmp_path, comparisons=[comparison])


def test_two_variants_of_one_name_are_refused(tmp_path):
    twice = [{"name": "one", "set": {}, "seeds": [0]}] * 2
    with pytest.raises(ConfigError, match=r"variants\.trainings: the name one stands twice"):
        profile_with(tmp_path, {"trainings": twice})


def test_halting_needs_iterations_to_halt_between(tmp_path):
    odd = {"distill.halting": True, "tokenizer.distillation.growth": "nested"}
    with pytest.raises(ConfigError, match=r"distill\.halting needs growth: recurrent"):
        profile_with(tmp_path, {"trainings": [{"name": "odd", "set": odd, "seeds": [0]}]})
