"""Stage `base` with published weights, and the stages behind it: TAESD for real, our own VQGAN at random."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from checkout import ROOT
from published_layout_files import published_file
from safetensors.torch import load_file
from scene_project import scene_project
from tiny import base_config
from toy_sweep import MeanColor

from alit.errors import ConfigError
from alit.models.loading import build_base, is_published, load_base
from alit.tasks.perceptual import ReconstructionTask
from alit.tasks.registry import TaskModels
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from experiments import base, distill, finetune, release, release_checkpoint, sweep, variants

DATA = ROOT.parent / "shared/data"
needs_taesd = pytest.mark.skipif(not (DATA / "autoencoders/taesd").is_dir(), reason="no TAESD in ../shared/data")
TAESD = {"kind": "diffusers", "pretrained": "madebyollin/taesd", "patch": 8, "code_size": 4, "codebook_size": None}


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """A checkout with a handful of scenes and a profile of two steps a stage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALIT_SCRATCH", raising=False)
    paths = scene_project(tmp_path)
    paths.pretrained.mkdir(parents=True)

    def change(edit):
        content = yaml.safe_load(paths.config.read_text())
        edit(content)
        paths.config.write_text(yaml.safe_dump(content))

    def small(content):
        content["tokenizer"]["distillation"] |= {"width": 32, "iterations": 2}
        content["distill"]["cross_entropy_weights"] = [1.0, 1.0]
        for stage in ("base_training", "distill", "finetune"):
            content[stage]["optimization"] |= {"steps": 2, "batch_size": 2, "warmup_steps": 1}
        content["finetune"]["train_base"] = False
        content["variants"] = {"common": {"finetune.optimization.steps": 0}, "trainings": []}
        content["ablations"]["comparisons"] = []

    change(small)
    return paths, change


def on_taesd(content):
    content["tokenizer"]["base"] = dict(TAESD)
    content["tokenizer"]["distillation"]["prediction"] = "regression"


@pytest.mark.slow
@needs_taesd
def test_both_stages_a_sweep_and_a_release_on_taesd(paths, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.setenv("ALIT_DATA", str(DATA))
    paths, change = paths
    change(on_taesd)
    for stage in (base, distill, finetune):
        stage.main(["tiny"])
    assert load_file(paths.base / "model.safetensors") == {}
    found = json.loads((paths.base / "training.json").read_text())
    assert "training" not in found
    assert found["base"]["latent_scale"] == 1.0
    for folder in (paths.distilled, paths.tokenizer):
        assert {name.split(".")[0] for name in load_file(folder / "model.safetensors")} == {"distillation"}
        assert is_published(AdaptiveTokenizer.from_pretrained(folder).base)
    color = MeanColor()
    monkeypatch.setattr(sweep, "build_task_models", lambda *_: TaskModels((ReconstructionTask(),), (color,)))
    sweep.main(["tiny"])
    assert set(pd.read_parquet(paths.table)["length"]) == {
        0,
        *AdaptiveTokenizer.from_pretrained(paths.tokenizer).lengths,
    }
    shutil.copy(ROOT / "configs/paper.yaml", paths.root / "configs")
    monkeypatch.setattr(
        release_checkpoint.subprocess, "run", lambda *_, **__: type("Head", (), {"stdout": "0123456789ab\n"})
    )
    release.main(["tiny", "--checkpoint", "alit-tiny", "--threads", "2"])
    packed = paths.root / "zoo/alit-tiny"
    assert load_file(packed / "base/model.safetensors") == {}
    assert {name.split(".")[0] for name in load_file(packed / "model.safetensors")} == {"distillation"}
    assert (
        f"published weights of madebyollin/taesd (sha256\n`{found['base']['sha256']}`)"
        in (packed / "README.md").read_text()
    )


@pytest.mark.slow
@needs_taesd
def test_a_variant_may_start_from_another_published_base(paths, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.setenv("ALIT_DATA", str(DATA))
    paths, change = paths
    own = published_file(build_base(base_config(code_size=8, codebook_size=16)), paths.root / "mage.safetensors")
    taesd3 = {"tokenizer.base.pretrained": "madebyollin/taesd3", "tokenizer.base.code_size": 16}
    vqgan = {"tokenizer.base": own.model_dump(mode="json"), "tokenizer.distillation.prediction": "similarity"}

    def with_variants(content):
        on_taesd(content)
        content["variants"]["trainings"] = [
            {"name": "taesd3", "set": taesd3, "seeds": [1]},
            {"name": "vqgan", "set": vqgan, "seeds": [1]},
        ]

    change(with_variants)
    base.main(["tiny"])
    variants.main(["tiny"])
    for name, origin in (("taesd3", "madebyollin/taesd3"), ("vqgan", own.pretrained)):
        tokenizer = AdaptiveTokenizer.from_pretrained(paths.variants / name / "1")
        assert tokenizer.config.base.pretrained == origin
        assert is_published(tokenizer.base)
        assert {part.split(".")[0] for part in load_file(paths.variants / name / "1/model.safetensors")} == {
            "distillation"
        }


def test_stage_base_takes_a_published_file_and_trains_nothing(paths, capsys):
    paths, change = paths
    published = build_base(base_config(code_size=8, codebook_size=16))
    config = published_file(published, paths.root / "mage.safetensors")
    change(lambda content: content["tokenizer"].update(base=config.model_dump(mode="json")))
    base.main(["tiny"])
    assert "published weights of" in capsys.readouterr().out
    assert not (paths.base / "log.csv").exists()
    loaded = load_base(paths.base)
    assert all((loaded.state_dict()[name] == value).all() for name, value in published.state_dict().items())


def test_a_size_that_was_not_published_is_named_before_anything_runs(paths, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    paths, change = paths
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    counts = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    diffusers.AutoencoderTiny(**blocks, **counts).save_pretrained(tmp_path / "tiny_autoencoder")

    def stated(content):
        on_taesd(content)
        content["tokenizer"]["base"]["pretrained"] = str(tmp_path / "tiny_autoencoder")

    change(stated)
    with pytest.raises(ConfigError, match=r"tokenizer.base.patch: expected 2 for .*tiny_autoencoder, found 8"):
        base.main(["tiny"])
