"""Profiles: complete, strict, alike in shape, and honest in what they say about a fault."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import ROOT

from alit.config import Profile, load_profile
from alit.data.prepare import ImageSetConfig
from alit.errors import ConfigError
from alit.paths import RunPaths
from alit.settings import parse_settings
from experiments.needs.machine import device_needs

PROFILES = ("smoke", "cpu", "ablations", "imagenette", "imagenette-taesd", "imagenette-128", "paper", "published")
# As many entries as a profile needs, each with the same keys.
LISTS_OF_ENTRIES = ("data.sets", "task_models", "baselines.tokenizers", "variants.trainings", "ablations.comparisons")
# A profile that trains nothing leaves these out; all others state them.
NULL_SECTIONS = {"tokenizer", "perceptual_trunk", "base_training", "distill", "finetune", "finetune_from_checkpoint"}
OPTIONAL_KEYS = {
    "data.crop_aspect",
    "analysis.class_ranks_among",
    "baselines.trainings",
    "distill.optimization.optimizer",
    "finetune.train_encoder",
    "tokenizer.distillation.linear_path",
    "probe.compared_images",
}  # have a default, which older profiles need not name
OPTIONAL_OF_ENTRIES = {"crop_scale", "checkpoints"}  # the same, of the entries of lists
OWN_KEYS = {"variants.common", "tokenizer.base"}  # a mapping whose keys are the profile's own choice


def key_tree(content: object, prefix: str = "") -> set[str]:
    """Return the dotted keys of nested mappings; lists are leaves."""
    if not isinstance(content, dict) or prefix in OWN_KEYS:
        return {prefix}
    return set().union(*(key_tree(value, f"{prefix}.{key}".lstrip(".")) for key, value in content.items()))


def content_of(profile: str) -> dict:
    return yaml.safe_load((ROOT / "configs" / f"{profile}.yaml").read_text())


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """Write a copy of the smoke profile with one piece of text replaced."""
    text = (ROOT / "configs" / "smoke.yaml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "edited.yaml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("profile", PROFILES)
def test_profile_parses(profile):
    assert isinstance(load_profile(ROOT / "configs" / f"{profile}.yaml"), Profile)


def test_the_profiles_are_all_there_are():
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_have_the_same_key_tree(profile):
    absent = {key for key, value in content_of(profile).items() if value is None}
    found, whole = key_tree(content_of(profile)), key_tree(content_of("cpu"))
    found = {key for key in found if key not in absent} - OPTIONAL_KEYS
    assert found == {key for key in whole if key.split(".")[0] not in absent} - OPTIONAL_KEYS
    assert absent == (NULL_SECTIONS if profile == "published" else set())


def test_the_ablations_measure_what_the_default_profile_does():
    whole, default = content_of("ablations"), content_of("cpu")
    same = ("task_models", "sweep", "cost", "codebook", "probe", "analysis", "report")
    assert [whole[name] for name in same] == [default[name] for name in same]
    assert whole["data"]["sets"] == default["data"]["sets"]


@pytest.mark.parametrize("section", LISTS_OF_ENTRIES)
def test_entries_of_a_list_have_the_same_keys_everywhere(section):
    entries = []
    for profile in PROFILES:
        content = content_of(profile)
        for part in section.split("."):
            content = content[part]
        entries += content
    assert len({frozenset(entry) - OPTIONAL_OF_ENTRIES for entry in entries}) == 1


def test_a_task_model_is_not_tested_on_the_set_that_it_trains_on(tmp_path):
    text = (ROOT / "configs" / "imagenette.yaml").read_text()
    assert "train_on: scenes, test_on: scenes_val" in text
    path = tmp_path / "same.yaml"
    path.write_text(text.replace("test_on: scenes_val", "test_on: scenes"))
    with pytest.raises(
        ConfigError, match=r"scenes_small_unet\.test_on: expected one of imagenette_val, .* found scenes$"
    ):
        load_profile(path)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_says_what_it_reproduces(profile):
    about = load_profile(ROOT / "configs" / f"{profile}.yaml").about
    assert any(note.startswith("Reproduces: ") for note in about)


def test_every_published_value_names_its_source():
    lines = (ROOT / "configs" / "paper.yaml").read_text().split("\ntokenizer:\n")[1].split("\ntask_models:")[0]
    unexplained = {"precision", "save_every", "log_every", "similarity_scale"}
    in_base_training = False
    for line in lines.splitlines():
        if line and not line.startswith(" "):
            in_base_training = line.startswith("base_training:")  # its head says that it is no published value
        key, _, value = line.strip().partition(":")
        if in_base_training or not value or key.startswith("#") or key in unexplained:
            continue
        assert any(mark in value for mark in ("# P", "# C", "# D", "# vae only")), line


def published(tmp_path: Path, **changes: object) -> Path:
    """Write a copy of the published profile with some sections replaced."""
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.safe_dump(content_of("published") | changes))
    return path


def test_a_profile_that_trains_nothing_needs_no_training_section_and_no_training_images(tmp_path):
    content = content_of("published")
    assert load_profile(ROOT / "configs" / "published.yaml").training is None
    sets = [part for part in content["data"]["sets"] if part["role"] != "train"]
    assert load_profile(published(tmp_path, data=content["data"] | {"sets": sets})).tokenizer is None


def test_one_set_is_enough_and_every_list_of_networks_may_be_empty(tmp_path):
    content = content_of("published")
    alone = [part for part in content["data"]["sets"] if part["name"] == "savoias_art"]
    none = {"classifiers": [], "depth_models": [], "captioners": [], "familiarity": []}
    path = published(
        tmp_path,
        data=content["data"] | {"sets": alone},
        task_models=[],
        baselines={"sets": [], "tokenizers": []},
        attention=content["attention"] | {"sets": []},
        analysis=content["analysis"] | none | {"perceptual_model": "", "feature_extractor": ""},
        report=content["report"] | {"example_set": "savoias_art"},
    )
    assert load_profile(path).task_models == ()


def _without_train(content: dict) -> dict:
    return {"data": content["data"] | {"sets": [part for part in content["data"]["sets"] if part["role"] != "train"]}}


def test_what_a_training_lacks_is_named_with_what_asks_for_it(tmp_path):
    content = content_of("published")
    variant = {"common": {}, "trainings": [{"name": "one", "set": {}, "seeds": [0]}]}
    further = {"steps": 1, "learning_rate": 1.0e-4, "warmup_steps": 0}
    own = [content["task_models"][0] | {"weights": "train"}]
    analysis = content["analysis"] | {"classifiers": ["resnet18"], "depth_models": [], "captioners": []}
    analysis |= {"perceptual_model": "", "feature_extractor": ""}
    no_sets = {"data": content["data"] | {"sets": content["data"]["sets"][:1]}, "analysis": analysis}
    for words, changes in {
        "expected the section tokenizer, found null, but init_from: scratch trains": {"init_from": "scratch"},
        "found null, but variants.trainings trains": {"variants": variant},
        "found null, but finetune_from_checkpoint.steps trains": {"finetune_from_checkpoint": further},
        "with role: train, for a task model that is trained here": {
            "task_models": own,
            "analysis": analysis,
            **_without_train(content),
        },
        "data.sets must hold a set with role: evaluate": {
            **no_sets,
            "attention": content["attention"] | {"sets": []},
            "report": content["report"] | {"example_set": "imagenet100"},
        },
        "baselines.sets must name a set": {"baselines": content["baselines"] | {"sets": []}},
    }.items():
        with pytest.raises(ConfigError, match=words):
            load_profile(published(tmp_path, **changes))


@pytest.mark.parametrize(
    ("old", "new", "key", "closest"),
    [
        ("\nseed: 0", "\nsede: 0", "sede", "seed"),
        ("  chunk_size: 64", "  chunksize: 64", "sweep.chunksize", "chunk_size"),
        (
            "    latent_code_size: 8",
            "    laten_code_size: 8",
            "tokenizer.distillation.laten_code_size",
            "latent_code_size",
        ),
        ("{name: near, role:", "{name: near, rolle:", "data.sets.2.rolle", "role"),
    ],
)
def test_a_typo_is_one_line_with_key_file_and_closest_key(tmp_path, old, new, key, closest):
    path = edited(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    message = str(caught.value)
    assert f"unknown key {key};" in message
    assert message.endswith(f"the closest valid key is {closest}")
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.slow
def test_a_script_answers_a_typo_with_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "dvc.yaml").touch()
    edited(tmp_path, "  chunk_size: 64", "  chunksize: 64").rename(tmp_path / "configs" / "typo.yaml")
    command = [sys.executable, "-m", "experiments.data", "typo"]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert "typo.yaml" in done.stderr
    assert "chunk_size" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("\nseed: 0", "", "expected the key seed, found none"),
        ("\nseed: 0", "\nseed: many", "seed: Input should be a valid integer"),
        ("  chunk_size: 64", "  chunk_size: 0", "sweep.chunk_size: Input should be greater than 0, found 0"),
        ("\nseed: 0", "\nseed: 0\nseed: 1", "the key seed stands twice"),
        ("\ndata:\n  image_size: 32", "\ndata:\n  image_size: 64", "data.image_size 64 and tokenizer.image_size 32"),
        ("iterations: 8", "iterations: 4", "one number for each of the 4 iterations, found 8"),
        ("{name: near,", "{name: val,", "the name val stands twice"),
        (
            "example_set: val",
            "example_set: vall",
            "report.example_set: expected one of train, val, near, far, objects, texture, background, found vall",
        ),
        ("depth_models: [small_unet,", "depth_models: [big_unet,", "analysis.depth_models: expected one of"),
        ("[near, far]", "[near, farr]", "analysis.familiarity: expected one of near, far, found farr"),
        ("[near, far]", "[val, far]", "analysis.familiarity: expected one of near, far, found val"),
        (
            "small_unet, weights: train, input_size: 32, train_on: null",
            "small_unet, weights: train, input_size: 32, train_on: val",
            "task_models small_unet.train_on: expected one of train, found val",
        ),
        (
            "small_unet, weights: train, input_size: 32, train_on: null, test_on: null",
            "small_unet, weights: train, input_size: 32, train_on: null, test_on: train",
            "task_models small_unet.test_on: expected one of val, near, far, objects, texture, background, found train",
        ),
        (
            "weights: shared, input_size: 32, train_on: null",
            "weights: shared, input_size: 32, train_on: train",
            "task_models small_cnn_features: expected null as train_on of weights shared",
        ),
        (
            "{name: jpeg, ",
            "{name: seed_9, ",
            "name: expected a name that does not begin with seed_, as those of trainings",
        ),
        ("\nseed: 0", "\nseed: [0", "is not YAML"),
    ],
)
def test_a_wrong_value_is_one_line_that_says_what_was_expected(tmp_path, old, new, expected):
    with pytest.raises(ConfigError) as caught:
        load_profile(edited(tmp_path, old, new))
    assert expected in " ".join(str(caught.value).split())


def test_a_missing_profile_names_the_ones_there_are():
    with pytest.raises(
        ConfigError,
        match="profiles here: ablations, cpu, imagenette, imagenette-128, imagenette-taesd, paper, published, smoke",
    ):
        load_profile(ROOT / "configs" / "cpuu.yaml")


def test_an_empty_file_is_refused_in_words(tmp_path):
    (tmp_path / "empty.yaml").touch()
    with pytest.raises(ConfigError, match=r"empty\.yaml"):
        load_profile(tmp_path / "empty.yaml")


def test_settings_are_frozen():
    profile = load_profile(ROOT / "configs" / "smoke.yaml")
    with pytest.raises(ValueError, match="frozen"):
        profile.seed = 1


def test_settings_round_trip_through_plain_data():
    profile = load_profile(ROOT / "configs" / "cpu.yaml")
    assert parse_settings(Profile, profile.model_dump(mode="json"), source="dump") == profile


def test_an_entry_of_a_list_is_checked_like_a_section():
    with pytest.raises(ConfigError, match="closest valid key is images"):
        parse_settings(ImageSetConfig, {"imagess": 3}, source="here")


def test_an_empty_place_for_scratch_files_is_unset(monkeypatch, tmp_path):
    monkeypatch.setenv("ALIT_SCRATCH", "")
    assert RunPaths(tmp_path, "smoke").scratch == tmp_path / ".scratch"
    monkeypatch.setenv("ALIT_SCRATCH", str(tmp_path / "elsewhere"))
    assert RunPaths(tmp_path, "smoke").scratch == tmp_path / "elsewhere"


@pytest.mark.parametrize(("key", "value"), [("devices", 0), ("devices", "two"), ("devices", 1.5), ("device", "tpu")])
def test_devices_of_a_profile_are_checked_before_any_work(key, value):
    content = content_of("smoke") | {key: value}
    with pytest.raises(ConfigError, match=f"p: {key}: "):
        parse_settings(Profile, content, source="p")
    with pytest.raises(ConfigError, match=f"{key}: "):
        list(device_needs(content))
