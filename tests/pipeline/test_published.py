"""A checkpoint in the authors' layout becomes a report by the commands of docs/published-checkpoints.md.

The profile is configs/published.yaml, reduced by a rule to a few small images; the networks are the real classes with
random weights, in a cache as the hubs' clients keep it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from network_cache import network_cache
from published_project import (
    BLIP_SIZE,
    copy_checkout,
    reduced,
    savoias_alone,
    tiny_checkpoint,
    write_images,
    write_profile,
)

from alit.analysis.ledger import ledger_from_json
from alit.cli import main as alit
from alit.paths import RunPaths
from alit.studies import STUDIES, all_claims
from experiments import (
    analysis,
    base,
    baselines,
    claims,
    data,
    distill,
    examples,
    explorer,
    finetune,
    measure,
    notebook,
    pretrained,
    sweep,
    task_models,
    thumbnails,
    variants,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # its run is forty processes: 868 s on a busy core


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunPaths:
    """A checkout in which a downloaded checkpoint was converted and measured."""
    root = tmp_path_factory.mktemp("published")
    suite = root / "suite"
    copy_checkout(suite)
    write_profile(suite)
    write_images(root / "images")
    tiny_checkpoint(suite / "alit_tiny.pth")
    environment = {
        **os.environ,
        **network_cache(root / "cache", BLIP_SIZE),
        "ALIT_DATA": str(root / "images"),
        "PYTHONPATH": str(suite),
        "MPLBACKEND": "Agg",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root / "site"),
    }
    environment.pop("MAKELEVEL", None)
    # Two heads are no published size, so that conversion has to be told; a file of the authors' starts as it is.
    for command in (
        ["alit.cli", "convert", "alit_tiny.pth", "alit-tiny", "--heads", "2"],
        ["experiments.repro", "published", "--init-from", "alit-tiny"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=suite, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return RunPaths(suite, "published")


def pages(paths: RunPaths) -> list[Path]:
    return sorted(paths.report.glob("**/*.html"))


def test_every_study_has_its_page_and_every_page_names_the_checkpoint(finished):
    assert (finished.report / "index.html").is_file()
    assert {page.parent.name for page in pages(finished)} >= set(STUDIES)
    for page in pages(finished):
        text = page.read_text(encoding="utf-8")
        assert "alit-tiny (sha256 " in text, page
        assert "converted from alit_tiny.pth; trained: to epoch 199" in text, page
        assert str(finished.root) not in text, page


def test_every_claim_names_the_checkpoint_and_those_of_trainings_say_what_they_lack(finished):
    claims = {claim.id: claim for claim in ledger_from_json(finished.claims.read_text(encoding="utf-8"))}
    assert set(claims) == set(all_claims())
    assert all(claim.checkpoint.startswith("alit-tiny (sha256 ") for claim in claims.values())
    for name in ("C12", "C13"):
        assert claims[name].verdict == "not measurable"
        assert "no pair of trainings" in claims[name].reason
    assert "rounds were timed" in claims["C17"].reason  # two images are enough for a page, not for a verdict
    measured = ("C1", "C4", "C10", "C11", "C14", "C16", "C18")
    assert all(claims[name].measurements for name in measured)


def test_no_setting_of_a_training_is_shown_for_weights_that_were_not_trained_here(finished):
    text = (finished.report / "differences.html").read_text(encoding="utf-8")
    assert "Nothing is recorded of how these weights were trained" in text
    for key in (
        "distill",
        "finetune",
        "base_training",
        "data.flip",
        "data.crop_scale",
        "init_from",
        "finetune_from_checkpoint",
    ):
        assert f"<code>{key}" not in text
    assert "<code>tokenizer.distillation.width</code>" in text
    assert "trained no tokenizer" in (finished.report / "training.html").read_text(encoding="utf-8")


def test_all_networks_of_the_profile_were_asked(finished):
    columns = set(pd.read_parquet(finished.table).columns)
    arrays = {path.stem for path in finished.sweep.glob("features_*.npy")}
    for model in yaml.safe_load(finished.config.read_text())["task_models"]:
        prefixes = {"classifier": ["class_rank"], "depth": ["depth_error"], "caption": ["caption_score"]}
        names = {f"{prefix}_{model['name']}" for prefix in prefixes.get(model["kind"], ["features", "perceptual"])}
        assert names & (columns | arrays), model["name"]
    record = json.loads((finished.sweep / "config.json").read_text())
    assert record["origin"]["converted_from"] == "alit_tiny.pth"


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> RunPaths:
    """A run of a user who has SAVOIAS, a checkpoint, and no network to judge by."""
    root = tmp_path_factory.mktemp("savoias")
    copy_checkout(root)
    paths = RunPaths(root, "published")
    content = savoias_alone(reduced(yaml.safe_load(paths.config.read_text(encoding="utf-8")), 64, images=20))
    paths.config.write_text(yaml.safe_dump(content | {"init_from": "alit-tiny"}), encoding="utf-8")
    write_images(root / "images", images=20)
    tiny_checkpoint(root / "alit_tiny.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("ALIT_DATA", str(root / "images"))
        alit(["convert", "alit_tiny.pth", "alit-tiny", "--heads", "2"])
        for stage in (
            data,
            task_models,
            pretrained,
            base,
            distill,
            finetune,
            sweep,
            thumbnails,
            examples,
            variants,
            baselines,
        ):
            stage.main(["published"])
        analysis.main(["published"])
        for study in measure.MEASUREMENTS:
            measure.main(["published", study])
        for study in STUDIES:
            claims.main(["published", study])
    return paths


def test_savoias_alone_gives_the_complexity_study_and_the_others_say_what_they_lack(alone):
    ledger = {claim.id: claim for study in STUDIES for claim in read_study_claims(alone, study)}
    assert set(ledger) == set(all_claims())
    for name in ("C2", "C3"):
        assert ledger[name].measurements
    for name, words in {
        "C1": "distances between sets of images need features of an extractor",
        "C4": "names no sets less familiar",
        "C8": "no task has a weak and a strong model",
        "C9": "no training images to fit a probe on",
        "C10": "no images with segmentation masks (attention.sets)",
        "C11": "no images with segmentation masks (attention.sets)",
        "C18": "no images with segmentation masks (attention.sets)",
        "C12": "no pair of trainings",
    }.items():
        assert words in ledger[name].reason, ledger[name]


@pytest.mark.parametrize("pictures", ["all", "publishable"])
def test_the_explorer_needs_no_network_and_shows_pictures_with_terms_to_their_owner_alone(alone, pictures, monkeypatch):
    monkeypatch.chdir(alone.root)
    params = alone.root / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("pictures: all", f"pictures: {pictures}"))
    explorer.main(["published"])
    params.write_text(before)
    text = (alone.report / "explorer.html").read_text(encoding="utf-8")
    content = json.loads(text.split('id="explorer-data">')[1].split("</script>")[0])
    assert [criterion["column"] for criterion in content["criteria"]] == ["l1"]
    assert content["measures"]["complexity"] == "complexity"
    assert len(content["shown"]) == 20
    assert len(content["pictures"]) == (20 if pictures == "all" else 0)
    assert ("keep this page to yourself" in text) == (pictures == "all")
    assert ("forbid publishing its images" in text) == (pictures == "publishable")


@pytest.mark.parametrize(
    "study", ["familiarity", "strength", "tsc_toi", "adaptivity", "attention", "probe", "ablations"]
)
def test_the_pages_of_studies_that_lack_their_inputs_are_made_all_the_same(alone, study, monkeypatch):
    monkeypatch.chdir(alone.root)
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning,error::RuntimeWarning,error::FutureWarning")
    notebook.main(["published", study])
    page = json.loads((alone.executed(study) / "study.json").read_text(encoding="utf-8"))
    assert page["figures"]


def read_study_claims(paths: RunPaths, study: str):
    return ledger_from_json(paths.study_claims(study).read_text(encoding="utf-8"))
