"""A checkout with a handful of embedded scenes, for the tests of stages that run networks."""

from pathlib import Path

import torch
import yaml
from checkout import ROOT

from alit.config import load_profile
from alit.data.prepare import materialize_sets
from alit.paths import RunPaths
from alit.tokenizer.tokenizer import AdaptiveTokenizer

CONFIGS = ROOT / "configs"


def scene_project(root: Path) -> RunPaths:
    """Lay out a checkout with the smoke profile, cut down to a few images and steps, and its data stage done."""
    (root / "dvc.yaml").touch()
    (root / "configs").mkdir()
    content = yaml.safe_load((CONFIGS / "smoke.yaml").read_text())
    for images in content["data"]["sets"]:
        images["images"] = 16 if images["role"] == "train" else 5
    for model in content["task_models"]:
        model["steps"] = min(model["steps"], 2)
    content["sweep"] = {"chunk_size": 4, "tokenizer_batch": 4, "training_images": 8, "code_model_images": 6}
    content["report"]["example_images"] = 2
    paths = RunPaths(root, "tiny")
    paths.config.write_text(yaml.safe_dump(content))
    materialize_sets(load_profile(paths.config).data, paths.data, paths.rejected, ())
    return paths


def save_tokenizer(paths: RunPaths) -> None:
    """Write a tokenizer of random weights where the pipeline keeps the trained one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AdaptiveTokenizer(load_profile(paths.config).tokenizer).save_pretrained(paths.tokenizer)


def save_fixed_length_pair(paths: RunPaths) -> None:
    """Write the recurrent variant and the one of a fixed length, of random weights, where a run keeps them."""
    recurrent = load_profile(paths.config).tokenizer
    lengths = {"tokens_per_iteration": 32, "iterations": 1}
    fixed = recurrent.model_copy(update={"distillation": recurrent.distillation.model_copy(update=lengths)})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, config in {"recurrent": recurrent, "fixed_32": fixed}.items():
            AdaptiveTokenizer(config).save_pretrained(paths.variants / name / "0")
