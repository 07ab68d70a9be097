"""A checkout for the profile `published` in little: its own file reduced by a rule, images, networks, a checkpoint."""

import csv
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from checkout import ROOT
from PIL import Image
from published_names import published_name
from tiny import tokenizer, tokenizer_config

from alit.tokenizer.tokenizer import AdaptiveTokenizer

IMAGES = 4  # a set
BLIP_SIZE = 384
CLASSES = ("n01558993", "n01692333")
SETTINGS_OF_LITTLE = {
    ("cost", "images"): 2,
    ("attention", "layer"): 2,
    ("attention", "examples"): 1,
    ("probe", "seeds"): 1,
    ("probe", "mae"): {"epochs": 2, "warmup_epochs": 1, "batch_size": 4, "base_learning_rate": 0.1},
    ("analysis", "resamples"): 20,
    ("report", "example_images"): 2,
    ("ablations", "images"): IMAGES,
}


def reduced(content: dict[str, Any], image_size: int, images: int = IMAGES) -> dict[str, Any]:
    """Return the profile for a few small images: all that it names stays, networks' classes too."""
    content["data"]["image_size"] = image_size
    for part in content["data"]["sets"]:
        part["images"] = images
    for model in content["task_models"]:
        if image_size < 256 and model["kind"] in ("classifier", "depth", "features"):
            model["input_size"] = image_size if model["kind"] != "depth" else image_size // 14 * 14
    for entry in content["baselines"]["tokenizers"]:
        if "image_size" in entry["arguments"]:
            entry["arguments"] |= {"image_size": image_size, "qualities": [20, 80]}
    content["baselines"]["sets"] = content["baselines"]["sets"][:1]
    for (section, key), value in SETTINGS_OF_LITTLE.items():
        content[section][key] = value
    return content


def savoias_alone(content: dict[str, Any]) -> dict[str, Any]:
    """Return the profile for a user with SAVOIAS and no network, as docs/published-checkpoints.md describes it."""
    content["data"]["sets"] = [part for part in content["data"]["sets"] if part["name"].startswith("savoias")]
    content["baselines"] |= {"sets": ["savoias_art"]}
    content["attention"]["sets"] = []
    content["task_models"] = []
    content["analysis"] |= {"familiarity": [], "classifiers": [], "depth_models": [], "captioners": []}
    content["analysis"] |= {"perceptual_model": "", "feature_extractor": ""}
    content["report"]["example_set"] = "savoias_art"
    return content


def copy_checkout(root: Path) -> None:
    """Copy what `make repro` needs of this checkout to `root`, as an unpacked archive has it."""
    ignored = shutil.ignore_patterns("__pycache__", "alit-*")
    for folder in ("alit", "experiments", "notebooks", "configs", "zoo", "data", "results/leaderboard"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for file in ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config"):
        (root / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / file, root / file)


def write_images(data: Path, size: int = 96, images: int = IMAGES) -> None:
    """Write a few images of every set that the profile names, in the layouts of data/README.md."""
    draw = np.random.default_rng(0)

    def picture(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((size + 8, size), Image.Resampling.BICUBIC).save(path, quality=90)

    for number in range(images):
        name = CLASSES[number % len(CLASSES)]
        for split in ("train", "val"):
            picture(data / "imagenet100" / split / name / f"{split}_{number}.JPEG")
        picture(data / "coco" / "val2017" / f"{number:012d}.jpg")
        picture(data / "wit" / "val" / f"{number}.jpg")
        picture(data / "imagenet-s" / "ImageNetS919" / "validation" / name / f"{number}.JPEG")
        mask = np.zeros((size, size + 8, 3), np.uint8)
        mask[size // 4 : size // 2, size // 4 : size // 2 + 8 * (number % IMAGES), 0] = 1 + number
        folder = data / "imagenet-s" / "ImageNetS919" / "validation-segmentation" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / f"{number}.png")
    names = ("art", "scenes", "objects")
    rows = [(f"{name}/{number}.jpg", name, 10 + 90 * number // images) for name in names for number in range(images)]
    for file, *_ in rows:
        picture(data / "savoias" / file)
    with (data / "savoias" / "scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "category", "complexity"), *rows])


def authors_checkpoint(path: Path, model: AdaptiveTokenizer) -> None:
    """Write a tokenizer as the authors write theirs: averaged and trained weights, optimizer, arguments, judges."""
    tensors = {published_name(name, model.config): tensor for name, tensor in model.state_dict().items()}
    judges = {f"gan_losses.{number}.discriminator.main.0.weight": torch.zeros(8) for number in range(8)}
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(8)}}, "param_groups": [{"lr": 1e-4}]}
    settings = Namespace(model=path.stem, output_dir=path.parent, lr=np.float64(1e-4), device=torch.device("cuda"))
    content = {"model": tensors | judges, "ema": tensors | judges, "optimizer": optimizer, "epoch": 199}
    torch.save({**content, "args": settings, "scaler_discriminator": {"scale": 65536.0}}, path)


def tiny_checkpoint(path: Path, image_size: int = 64) -> None:
    """Write a checkpoint of the authors' layout with three iterations of four latents over 8 x 8 image tokens."""
    config = tokenizer_config(
        {"multipliers": (1, 1, 2, 2), "codebook_size": 32},
        image_size=image_size,
        tokens_per_iteration=4,
        latent_codebook_size=64,
    )
    authors_checkpoint(path, tokenizer(config))


def write_profile(root: Path, image_size: int = 64) -> None:
    """Put the reduced profile in place of configs/published.yaml."""
    path = root / "configs" / "published.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(reduced(content, image_size), sort_keys=False), encoding="utf-8")
