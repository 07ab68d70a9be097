"""The stages of the ablations, on a few tiny scenes: training variants, baselines, measuring, timing."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scene_project import save_tokenizer, scene_project
from synthetic_tables import synthetic_study_data, synthetic_table
from toy_sweep import MeanColor

from alit.config import load_profile
from alit.errors import CheckpointError, NotMeasurable
from alit.models.weights import save_network
from alit.studies import assess
from alit.studies.ablations.measure import read_stage_1
from alit.tasks import registry
from alit.tasks.perceptual import ReconstructionTask
from alit.tasks.registry import TaskModels
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training import variants as training
from alit.training.engine.checkpoint import plain
from experiments import baselines, distill, finetune, measure, sweep, variants

VARIANTS = [
    {"name": "recurrent", "set": {}, "seeds": [1, 2]},
    {"name": "nested", "set": {"tokenizer.distillation.growth": "nested"}, "seeds": [1]},
    {
        "name": "continuous_vae",
        "set": {
            "tokenizer.base.kind": "vae",
            "tokenizer.base.codebook_size": None,
            "tokenizer.distillation.prediction": "regression",
            "tokenizer.distillation.quantize": False,
            "data.sets.0.images": 5,
            "finetune.optimization.steps": 1,
        },
        "seeds": [0],
    },
]
BASELINES = [
    {"name": "base", "target": "base", "arguments": {}},
    {"name": "nested", "target": "variants/nested/1", "arguments": {}},
    {
        "name": "jpeg",
        "target": "alit.tokenizer.adapters:CodecTokenizer",
        "arguments": {"image_format": "jpeg", "image_size": 32},
    },
]


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """A checkout with a handful of scenes, and a profile that compares small networks with each other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALIT_SCRATCH", raising=False)
    paths = scene_project(tmp_path)
    content = yaml.safe_load(paths.config.read_text())
    content["tokenizer"]["base"] |= {"channels": 4, "multipliers": [1, 1, 1]}
    content["tokenizer"]["distillation"] |= {"width": 16, "iterations": 2}
    content["distill"] |= {"cross_entropy_weights": [1.0, 1.0]}
    for stage in ("base_training", "distill", "finetune"):
        content[stage]["optimization"] |= {"steps": 2, "batch_size": 2, "warmup_steps": 1}
    content["variants"] = {"common": {"finetune.optimization.steps": 0}, "trainings": VARIANTS}
    recurrence = {"factor": "recurrence", "variant": "recurrent", "than": "nested"}
    content["ablations"] = {"comparisons": [recurrence], "images": 4}
    trainings = [{"seed": 1, "target": "variants/recurrent/1"}]
    content["baselines"] = {"sets": ["val"], "tokenizers": BASELINES, "trainings": trainings}
    content["cost"] = {"images": 2, "threads": torch.get_num_threads()}
    paths.config.write_text(yaml.safe_dump(content))
    save_tokenizer(paths)
    profile = load_profile(paths.config)
    paths.base.mkdir()
    save_network(AdaptiveTokenizer.from_pretrained(paths.tokenizer).base, profile.tokenizer.base, paths.base)
    color = MeanColor()
    color.name = profile.analysis.feature_extractor
    for module in (sweep, baselines, registry):  # `measure` imports it when it needs it
        models = TaskModels((ReconstructionTask(),), (color,))
        monkeypatch.setattr(module, "build_task_models", lambda *arguments, models=models: models)
    return paths


@pytest.fixture
def trained(monkeypatch):
    """The variants that were trained, as (stage 1 steps, seed); their stages stay what they are."""
    calls = []
    train = training.train_distillation

    def noted(tokenizer, config, *arguments, seed, **options):
        calls.append((tokenizer.distillation.growth, tokenizer.base.kind, seed))
        return train(tokenizer, config, *arguments, seed=seed, **options)

    monkeypatch.setattr(training, "train_distillation", noted)
    return calls


def test_what_is_the_profiles_own_first_stage_is_not_trained_again(paths, trained):
    content = yaml.safe_load(paths.config.read_text())
    content["variants"]["trainings"] = [{"name": "recurrent", "set": {}, "seeds": [0, 1]}]
    content["ablations"]["comparisons"] = []
    paths.config.write_text(yaml.safe_dump(content))
    distill.main(["tiny"])
    del trained[:]
    variants.main(["tiny"])
    assert [seed for _, _, seed in trained] == [1]
    own = AdaptiveTokenizer.from_pretrained(paths.distilled).fingerprint
    assert AdaptiveTokenizer.from_pretrained(paths.variants / "recurrent" / "0").fingerprint == own
    assert paths.distilled.is_dir()


def test_what_is_the_profiles_own_tokenizer_is_not_trained_again(paths, trained):
    content = yaml.safe_load(paths.config.read_text())
    content["variants"] = {"common": {}, "trainings": [{"name": "own", "set": {}, "seeds": [0]}]}
    content["ablations"]["comparisons"] = []
    content["baselines"]["tokenizers"] = BASELINES[:1]
    paths.config.write_text(yaml.safe_dump(content))
    for stage in (distill, finetune):
        stage.main(["tiny"])
    del trained[:]
    variants.main(["tiny"])
    assert trained == []
    own = AdaptiveTokenizer.from_pretrained(paths.tokenizer).fingerprint
    assert AdaptiveTokenizer.from_pretrained(paths.variants / "own" / "0").fingerprint == own
    assert own != AdaptiveTokenizer.from_pretrained(paths.distilled).fingerprint
    assert read_stage_1(paths.variants / "own" / "0") == load_profile(paths.config).distill


def test_a_variant_trains_on_another_set_of_the_profile(paths, trained, monkeypatch):
    content = yaml.safe_load(paths.config.read_text())
    seen = []
    train_variant = variants.variants.train_variant

    def noted(variant, base, images, *arguments, **options):
        seen.append((images.name, len(images)))
        return train_variant(variant, base, images, *arguments, **options)

    monkeypatch.setattr(variants.variants, "train_variant", noted)
    monkeypatch.setattr(
        variants.variants,
        "set_of_path",
        lambda profile, variant: next(part for part in profile.data.sets if part.name == "val"),
    )
    content["variants"]["trainings"] = [{"name": "recurrent", "set": {"data.sets.0.images": 3}, "seeds": [1]}]
    content["ablations"]["comparisons"] = []
    content["baselines"]["tokenizers"] = BASELINES[:1]
    paths.config.write_text(yaml.safe_dump(content))
    variants.main(["tiny"])
    assert seen == [("val", 3)]


def test_each_variant_is_trained_once_per_seed_on_a_base_that_is_shared(paths, trained):
    variants.main(["tiny"])
    assert trained == [
        ("recurrent", "vqgan", 1),
        ("recurrent", "vqgan", 2),
        ("nested", "vqgan", 1),
        ("recurrent", "vae", 0),
    ]
    found = {str(path.parent.relative_to(paths.variants)) for path in paths.variants.rglob("config.json")}
    assert found == {"recurrent/1", "recurrent/2", "nested/1", "continuous_vae/0"}
    load = AdaptiveTokenizer.from_pretrained
    base = load(paths.tokenizer).base.state_dict()
    for folder in ("recurrent/1", "recurrent/2", "nested/1"):
        own = load(paths.variants / folder).base.state_dict()
        assert all(torch.equal(own[name], value) for name, value in base.items())
    assert load(paths.variants / "recurrent/1").fingerprint != load(paths.variants / "recurrent/2").fingerprint
    assert load(paths.variants / "continuous_vae/0").config.base.kind == "vae"
    assert not any(paths.scratch.iterdir())


def test_a_finished_training_is_taken_instead_of_trained(paths, trained):
    content = yaml.safe_load(paths.config.read_text())
    content["variants"]["trainings"] = [{"name": "recurrent", "set": {}, "seeds": [1, 2]}]
    content["ablations"]["comparisons"], content["baselines"]["tokenizers"] = [], BASELINES[:1]
    paths.config.write_text(yaml.safe_dump(content))
    save_records(paths, load_profile(paths.config))
    variants.main(["tiny"])
    shutil.move(paths.variants / "recurrent" / "1", paths.kept / "recurrent" / "1")
    shutil.copytree(paths.base, paths.kept / "recurrent" / "1" / "base")
    before = {path.name: path.read_bytes() for path in (paths.kept / "recurrent" / "1").glob("*.*")}
    content["variants"]["trainings"][0]["checkpoints"] = {1: "zoo/one"}
    paths.config.write_text(yaml.safe_dump(content))
    del trained[:]
    variants.main(["tiny"])
    assert [seed for _, _, seed in trained] == [2]
    found = paths.variants / "recurrent" / "1"
    assert {path.name for path in found.iterdir()} == {"config.json", "model.safetensors", "training.json", "log.csv"}
    assert all(
        (found / name).read_bytes() == before[name] for name in ("model.safetensors", "training.json", "log.csv")
    )
    assert read_stage_1(found) == read_stage_1(paths.variants / "recurrent" / "2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill.optimization.steps": 5}, "expected training.optimization.steps 5 of stage distill as the variant "),
        ({"data.sets.0.images": 3}, r"expected data\.set\.images 3 of stage distill as the variant has it, found 16"),
        (
            {"tokenizer.distillation.width": 32},
            r"expected tokenizer\.distillation\.width 32 as in the profile, found 16",
        ),
        ({"base_training.l1_weight": 3.0}, r"expected training\.l1_weight 3\.0 of stage base"),
        ({"finetune.optimization.steps": 1}, r"expected training\.optimization\.steps 1 of stage finetune"),
    ],
)
def test_a_finished_training_of_other_settings_is_one_line(paths, changes, message):
    own = load_profile(paths.config)
    save_records(paths, own)
    folder = paths.kept / "recurrent" / "1"
    shutil.copytree(paths.tokenizer, folder)
    shutil.copytree(paths.base, folder / "base")
    record = training.variant_settings(training.vary_training(own.training, own.variants, "recurrent"), 1)
    (folder / "training.json").write_text(json.dumps(plain(record)))
    content = yaml.safe_load(paths.config.read_text())
    entry = {"name": "recurrent", "set": changes, "seeds": [1], "checkpoints": {1: "zoo/one"}}
    content["variants"]["trainings"] = [entry]
    content["ablations"]["comparisons"], content["baselines"]["tokenizers"] = [], BASELINES[:1]
    paths.config.write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=rf"variants\.trainings recurrent: zoo/one: {message}") as caught:
        variants.main(["tiny"])
    assert "\n" not in str(caught.value)


def save_records(paths, profile):
    """Write what the base tokenizer's stage would have, and the settings of the image sets."""
    record = training.base_settings(profile.training)
    (paths.base / "training.json").write_text(json.dumps(plain(record)))


def test_a_killed_run_keeps_the_trainings_that_are_finished(paths, trained, monkeypatch):
    stop_at = iter([False, True])
    finish = variants.save_stage

    def finish_until_killed(*arguments):
        if next(stop_at, False):
            raise KeyboardInterrupt
        finish(*arguments)

    monkeypatch.setattr(variants, "save_stage", finish_until_killed)
    with pytest.raises(KeyboardInterrupt):
        variants.main(["tiny"])
    assert not paths.variants.exists()
    variants.main(["tiny"])
    assert [seed for _, _, seed in trained] == [1, 2, 2, 1, 0]
    assert (paths.variants / "recurrent" / "1" / "model.safetensors").is_file()


def test_tables_say_what_each_variant_reached_and_what_it_cost(paths):
    shutil.copytree(paths.tokenizer, paths.root / "zoo" / "kept")  # a checkpoint of the checkout, beside the run's own
    content = yaml.safe_load(paths.config.read_text())
    content["baselines"]["tokenizers"].append({"name": "kept", "target": "zoo/kept", "arguments": {}})
    paths.config.write_text(yaml.safe_dump(content))
    for stage in (variants, sweep, baselines):
        stage.main(["tiny"])
    for study in ("ablations", "cost"):
        measure.main(["tiny", study])
    tables = {path.stem: pd.read_parquet(path) for path in paths.measured("").glob("*/*.parquet")}
    assert set(tables) == {
        *(f"ablation_{name}" for name in ("variants", "costs", "comparisons", "references")),
        *("cost_counts", "cost_times"),
    }
    rates = tables["ablation_variants"]
    sizes = rates.groupby(["variant", "seed"]).size().to_dict()
    trained = [("continuous_vae", 0), ("nested", 1), ("recurrent", 1), ("recurrent", 2)]
    assert sizes == dict.fromkeys(trained, 4 * 2)
    assert rates[["bits", "l1", "frechet"]].notna().all(axis=None)
    assert set(tables["ablation_references"]["tokenizer"]) == {"own", "base", "nested", "jpeg", "kept"}
    costs = tables["ablation_costs"].set_index(["variant", "seed"])
    assert (costs["visits"] == 4).all()
    assert costs.loc[("recurrent", 1), "training_tflop"].max() > costs.loc[("nested", 1), "training_tflop"].max()
    assert set(tables["cost_times"]["tokenizer"]) == {"own", "base", "nested", "jpeg", "kept"}
    assert np.isfinite(tables["cost_times"]["seconds"]).all()
    assert sorted(path.name for path in paths.baselines.iterdir()) == ["base", "jpeg", "kept", "nested", "seed_1"]
    own, training, nested = (
        pd.read_parquet(folder / "table.parquet")
        for folder in (paths.sweep, paths.baselines / "seed_1", paths.baselines / "nested")
    )
    assert training[["dataset", "image_id", "length"]].equals(own[["dataset", "image_id", "length"]])  # all sets
    assert set(nested["dataset"]) == {"val"}


def test_why_ablations_were_not_measured_is_what_their_claims_say(paths, monkeypatch):
    def refuse(*_):
        raise NotMeasurable("there is no tea")

    monkeypatch.setitem(measure.MEASUREMENTS, "ablations", refuse)
    measure.main(["tiny", "ablations"])
    tables = {path.stem: pd.read_parquet(path) for path in paths.measured("ablations").glob("*.parquet")}
    data = synthetic_study_data(synthetic_table(20, ("val",)))._replace(tables=tables)
    for claim in assess(data, ["C12", "C13", "C14"]):
        assert (claim.verdict, claim.missing) == ("not measurable", ("there is no tea",))
