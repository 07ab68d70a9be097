"""Tiny trainings of every stage, for the tests of training; run as a script, one of them in a process of its own."""

import argparse
from pathlib import Path

import pandas as pd
import tiny
import torch
from safetensors.torch import save_file

from alit.data.crops import cut
from alit.data.imageset import ImageSet
from alit.models.distillation import LatentEncoder
from alit.models.loading import build_base
from alit.models.losses import PerceptualDistance
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.base import BaseTrainingConfig, train_base
from alit.training.distill import DistillTrainingConfig, train_distillation
from alit.training.engine.execution import PLAIN, ExecutionConfig, MicroBatchConfig
from alit.training.engine.fabric import build_fabric, default_randomness
from alit.training.engine.loader import Augmentation
from alit.training.finetune import FinetuneTrainingConfig, train_finetune
from alit.training.optim import OptimizationConfig

STAGES = ("base", "distill", "finetune")
SEED = 4  # under which no vector comes to lie between two codes, where rounding would choose


class MemoryImages(ImageSet):
    """Smooth random images of 16 pixels, with labels and depth."""

    def __init__(self, count=24, size=16):
        coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(5))
        self.tensor = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
        self.name, self.role, self.image_size, self.class_names = "memory", "train", size, ("dark", "bright")
        self.manifest = pd.DataFrame({"image_id": [f"image-{index:02d}" for index in range(count)]})

    def images(self, indices):
        return self.tensor[indices].clone()

    def view(self, row, crop=None):
        pixels = (self.tensor[row] * 255).byte().permute(1, 2, 0).numpy()
        return pixels if crop is None else cut(pixels, crop, self.image_size)

    def labels(self, indices):
        return (self.tensor[indices, 0].mean(dim=(1, 2)) > 0.5).long()

    def depth(self, indices):
        return self.tensor[indices].mean(dim=1) + 1

    def captions(self, indices):
        return ["bright" if label else "dark" for label in self.labels(indices)]


class Edges(torch.nn.Module):
    """A trunk of one fixed convolution."""

    def __init__(self):
        super().__init__()
        weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(6))
        self.weight = torch.nn.Parameter(weight)

    def forward(self, images):
        return [torch.nn.functional.conv2d(images, self.weight).relu()]


def tokenizer_config(*, kind="vqgan", quantize=True, prediction="similarity", **base_changes):
    vqgan = kind == "vqgan"
    base = {"kind": kind, "channels": 8, "unit_codes": vqgan, "latent_scale": 1.0, "sample_posterior": not vqgan}
    base |= base_changes
    return tiny.tokenizer_config(base, quantize=quantize, latent_code_size=4, prediction=prediction)


def optimization(**changes):
    settings = OptimizationConfig(
        steps=14,
        batch_size=4,
        learning_rate=1e-3,
        warmup_steps=2,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        clip_norm=1.0,
        precision="32-true",
        ema_decay=0.9,
        save_every=4,
        log_every=3,
    )
    return settings.model_copy(update=changes)


def base_config(**changes):
    settings = BaseTrainingConfig(
        optimization=optimization(),
        l1_weight=1.0,
        l2_weight=1.0,
        perceptual_weight=0.1,
        quantizer_weight=1.0,
        kl_weight=1e-6,
        expire_every=3,
    )
    return settings.model_copy(update=changes)


def distill_config(**changes):
    settings = DistillTrainingConfig(
        optimization=optimization(),
        cross_entropy_weights=(2.5, 2.0, 1.5),
        code_weight=1.0,
        quantizer_weight=1.0,
        label_smoothing=0.1,
        supervised_iterations=2,
        unlock_share=0.7,
        continuous_share=0.4,
        expire_every=3,
        halting=False,
    )
    return settings.model_copy(update=changes)


def finetune_config(**changes):
    settings = FinetuneTrainingConfig(
        optimization=optimization(),
        l1_weight=1.0,
        perceptual_weight=0.1,
        quantizer_weight=1.0,
        code_weight=0.1,
        adversarial_weight=0.1,
        adversarial_start=0.3,
        adversarial_full=0.6,
        adversarial_early_factor=0.25,
        discriminator_channels=4,
        discriminator_layers=1,
        discriminator_steps=2,
        train_base=True,
    )
    return settings.model_copy(update=changes)


def perceptual():
    return PerceptualDistance(Edges())


def new_base(config):
    with default_randomness("base of the tests"):
        return build_base(config.base)


def new_tokenizer(config):
    with default_randomness("tokenizer of the tests"):
        return AdaptiveTokenizer(config)


def count_iterations(monkeypatch):
    """Return a list that grows by each iteration that an encoder runs."""
    ran = []
    iterate = LatentEncoder.iterate

    def counted(self, sequence, iteration, *arguments, **keywords):
        ran.append(iteration)
        return iterate(self, sequence, iteration, *arguments, **keywords)

    monkeypatch.setattr(LatentEncoder, "iterate", counted)
    return ran


def train(stage, scratch, fabric=None, *, flip=True, kind="vqgan", count=24, execution=PLAIN, **changes):
    """Train one stage and return the network."""
    fabric = fabric or build_fabric("cpu", 1)
    images = MemoryImages(count)
    config = tokenizer_config(kind=kind, prediction="similarity" if kind == "vqgan" else "regression")
    common = {
        "augmentation": Augmentation(flip, 1.0),
        "fabric": fabric,
        "seed": SEED,
        "scratch": scratch,
        "execution": execution,
    }
    if stage == "base":
        return train_base(config.base, base_config(**changes), images, perceptual(), **common)
    if stage == "distill":
        return train_distillation(config, distill_config(**changes), new_base(config), images, **common)
    tokenizer = new_tokenizer(config)
    train_finetune(tokenizer, finetune_config(**changes), images, perceptual(), **common)
    return tokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--micro-batch", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fabric = build_fabric("cpu", arguments.devices)
    changes = {"optimization": optimization(steps=arguments.steps)}
    micro_batch = MicroBatchConfig(**dict.fromkeys(STAGES, arguments.micro_batch))
    execution = ExecutionConfig(micro_batch=micro_batch, checkpoint_activations=arguments.micro_batch is not None)
    network = train(arguments.stage, arguments.scratch, fabric, execution=execution, **changes)
    if fabric.is_global_zero:
        print(f"{fabric.world_size} processes")
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, arguments.out)


if __name__ == "__main__":
    main()
