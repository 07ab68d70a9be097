"""Checks and speeds on one CUDA card, in under ten minutes: `python -m benchmarks.gpu -o FILE [--golden FOLDER]`.

Parity with the authors' model on the card, what lower precision changes, peaks of memory beside the plan, images per
second of training and sweep, and the times of one image by iteration (the ICLR version's Tab. 8: FP32, one image).
Networks have the published sizes and random weights; images are noise: neither changes a time or a peak of memory.
A part that fails is written down with its error, and the others go on.
"""

import argparse
import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from alit.data.imageset import ImageSet
from alit.models.distillation import TokenizerConfig
from alit.models.losses import PatchDiscriminator
from alit.tokenizer.cost import DECODE, ENCODE, ENCODE_UNTIL, operations, seconds_of
from alit.tokenizer.published import load_published
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.distill import DistillObjective, DistillStage
from alit.training.engine.execution import ExecutionConfig
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, Batch, encode_frozen
from alit.training.finetune import FinetuneStage
from alit.training.memory import plan_memory
from alit.training.variants import TrainingSettings
from benchmarks.common import read_profile, write_result

CARD = torch.device("cuda")
GOLDEN_VARIANTS = ("vqgan_quantized", "vqgan_continuous", "vae_quantized", "vae_continuous")
GOLDEN_HEADS = 4
PARITY = 1e-4  # the bound of tests/unit/tokenizer/test_tokenizer_parity.py
SIZES = {  # Tab. 3 and 1 of the paper: width, layers, heads
    "small": (1024, 8, 8),
    "base": (768, 12, 12),
    "semi_large": (1024, 16, 16),
}
GIB = 2**30
PRECISION = "bf16-mixed"


class Step(NamedTuple):
    """A training step that is timed: stage 1, or the generator's of stage 2 at the last iteration."""

    stage: Literal["distill", "finetune"]
    size: str
    images: int  # at once
    checkpointing: bool

    def __str__(self) -> str:
        return f"{self.stage}, {self.size}, {self.images} images{', checkpointing' if self.checkpointing else ''}"


STEPS = (
    Step("distill", "small", 8, False),
    Step("distill", "small", 8, True),
    Step("distill", "small", 32, True),
    Step("distill", "base", 32, True),
    Step("distill", "semi_large", 32, True),
    Step("finetune", "small", 12, False),
    Step("finetune", "small", 12, True),
)


def parity(golden: Path) -> dict[str, Any]:
    """Return the largest differences from the golden outputs, by variant: in FP32, and with TF32 products."""
    found = {}
    for name in ("fp32", "tf32"):
        with precision(name):
            found[name] = golden_differences(golden)
    return found


def golden_differences(golden: Path) -> dict[str, Any]:
    """Return the largest differences from the golden outputs, by variant."""
    found = {}
    for variant in GOLDEN_VARIANTS:
        tokenizer = load_published(golden / f"{variant}.weights.safetensors", heads=GOLDEN_HEADS).to(CARD).eval()
        expected = {name: value.to(CARD) for name, value in load_file(golden / f"{variant}.golden.safetensors").items()}
        with torch.no_grad():
            steps = list(tokenizer.rollout(expected["images"]))
        differences: dict[str, Any] = {}
        for part in ("latents", "image_tokens", "reconstruction"):
            name = {"latents": "latent_tokens"}.get(part, part)
            values = [
                (getattr(step, part) - expected[f"{name}.{step.iteration}"]).abs().max().item()
                for step in steps
                if f"{name}.{step.iteration}" in expected
            ]
            differences[part] = max(values)
        differences["within_bound"] = max(differences.values()) <= PARITY
        if tokenizer.config.quantize:
            same = [torch.equal(step.ids, expected[f"latent_ids.{step.iteration}"]) for step in steps]
            differences["same_ids"] = all(same)
        found[variant] = differences
    return found


def paper() -> TrainingSettings:
    """Return the trainings of the paper profile."""
    settings = read_profile("paper").training
    assert settings is not None
    return settings


def published_config(size: str = "small") -> TokenizerConfig:
    """Return the paper profile's tokenizer at another size."""
    config = paper().tokenizer
    width, layers, heads = SIZES[size]
    distillation = config.distillation.model_copy(update={"width": width, "layers": layers, "heads": heads})
    return config.model_copy(update={"distillation": distillation})


def noise(count: int, size: int = 256) -> Tensor:
    """Return (count, 3, size, size) in [0, 1] on the card."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)).to(CARD)


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Compute in FP32, TF32, or under autocast in bf16 or fp16, within the block."""
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
    try:
        with torch.autocast("cuda", kind, enabled=kind is not None):
            yield
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False


@torch.no_grad()
def lower_precision() -> dict[str, Any]:
    """Return what TF32, bf16 and fp16 change in 32 images' codes, against FP32, and their speed."""
    tokenizer = AdaptiveTokenizer(published_config()).to(CARD).eval()
    images = noise(32)
    results: dict[str, Any] = {}
    exact: dict[int, tuple[Tensor, Tensor]] = {}
    for name in ("fp32", "tf32", "bf16", "fp16"):
        with precision(name):
            seconds = median_seconds(lambda: list(tokenizer.rollout(images)), 3)
            steps = {
                step.iteration: (step.ids, step.reconstruction.float())
                for step in tokenizer.rollout(images)
                if step.ids is not None and step.reconstruction is not None
            }
        if name == "fp32":
            exact = steps
        results[name] = {"images_per_second_eight_iterations": round(len(images) / seconds, 1)}
        for iteration in (1, 8):
            ids, pixels = steps[iteration]
            results[name][f"same_ids_iteration_{iteration}"] = (ids == exact[iteration][0]).float().mean().item()
            difference = (pixels - exact[iteration][1]).norm() / exact[iteration][1].norm()
            results[name][f"relative_pixel_difference_iteration_{iteration}"] = difference.item()
    return results


def stage_1_gradients() -> dict[str, Any]:
    """Return how far the gradient of one stage-1 step lies from FP32's in lower precision, for the small size."""
    config, settings = published_config(), paper().distill.model_copy(update={"halting": False})
    tokenizer = AdaptiveTokenizer(config).to(CARD)
    objective = DistillObjective(tokenizer.distillation, settings)
    images = noise(2)
    with torch.no_grad():
        tokens = tokenizer.base.encode(images)
    found: dict[str, Any] = {}
    exact: Tensor | None = None
    for name in ("fp32", "tf32", "bf16", "fp16"):
        tokenizer.zero_grad()
        with precision(name):
            loss = objective(images, tokens, tokenizer.base.codebook, tuple(range(1, 9)), True, None).total
        (loss * (1024 if name == "fp16" else 1)).backward()
        gradient = torch.cat([p.grad.flatten() for p in tokenizer.distillation.parameters() if p.grad is not None])
        gradient = gradient / (1024 if name == "fp16" else 1)
        exact = gradient.clone() if exact is None else exact
        cosine = nn.functional.cosine_similarity(gradient, exact, dim=0).item()
        found[name] = {
            "loss": loss.item(),
            "gradient_relative_difference": ((gradient - exact).norm() / exact.norm()).item(),
            "gradient_cosine": cosine,
        }
    return found


@torch.no_grad()
def table_8() -> dict[str, Any]:
    """Return milliseconds of single images by length in FP32 (Tab. 8 of the ICLR version: one image, FP32, one GPU)."""
    tokenizer = AdaptiveTokenizer(published_config()).to(CARD).eval()
    image = noise(1)
    rows: dict[str, dict[int, float]] = {ENCODE: {}, ENCODE_UNTIL: {}, DECODE: {}}
    with precision("fp32"):
        for operation in operations(tokenizer):
            times = [seconds_of(operation, image) for _ in range(12)][2:]
            rows[operation.name][operation.length] = round(1e3 * statistics.median(times), 2)
    return {"unit": "ms for one image of 256 px, FP32, median of ten", **rows}


@torch.no_grad()
def sweep_speed() -> dict[str, Any]:
    """Return images per second, all eight lengths with pixels, of the tokenizer and of a judge beside it."""
    import timm

    tokenizer = AdaptiveTokenizer(published_config()).to(CARD).eval()
    judge = timm.create_model("resnet18").to(CARD).eval()
    images = noise(32)

    def both() -> None:
        for reconstruction in tokenizer.reconstructions(images):
            judge(nn.functional.interpolate(reconstruction.images, size=224))

    rates = {}
    for name in ("fp32", "tf32", "bf16"):
        with precision(name):
            rates[f"tokenizer_{name}"] = len(images) / median_seconds(
                lambda: list(tokenizer.reconstructions(images)), 3
            )
            rates[f"tokenizer_and_resnet18_{name}"] = len(images) / median_seconds(both, 3)
    return {name: round(rate, 1) for name, rate in rates.items()}


def stage_1_training(which: Step) -> dict[str, Any]:
    """Return images per second and the peak of memory of stage 1's steps, as the profile has them."""
    fabric, micro_batch = build_fabric("cuda", 1, PRECISION), which.images
    settings = paper().distill
    optimization = settings.optimization.model_copy(update={"precision": PRECISION, "batch_size": micro_batch})
    with CARD:
        tokenizer = AdaptiveTokenizer(published_config(which.size))
    tokenizer.base.eval().requires_grad_(False)
    batch = Batch(torch.arange(micro_batch), torch.zeros(micro_batch, dtype=torch.bool), noise(micro_batch))
    stage = DistillStage(
        tokenizer,
        settings.model_copy(update={"optimization": optimization}),
        lambda step: batch,  # type: ignore[arg-type]
        lambda batch: encode_frozen(tokenizer.base, batch.images),
        fabric=fabric,
        seed=0,
        execution=ExecutionConfig(checkpoint_activations=which.checkpointing),
    )
    return step_speed(lambda step: stage.step(step), micro_batch)


def stage_2_training(which: Step) -> dict[str, Any]:
    """Return the same of stage 2 at the last iteration: a step with its eight of the discriminator; no LPIPS."""
    fabric, micro_batch = build_fabric("cuda", 1, PRECISION), which.images
    settings = paper().finetune
    optimization = settings.optimization.model_copy(update={"precision": PRECISION, "batch_size": micro_batch})
    with CARD:
        tokenizer = AdaptiveTokenizer(published_config(which.size)).train()
        discriminator = PatchDiscriminator(settings.discriminator_channels, settings.discriminator_layers)
    stage = FinetuneStage(
        tokenizer,
        discriminator,
        None,
        NoiseSet(micro_batch),
        settings.model_copy(update={"optimization": optimization, "adversarial_start": 0.0, "adversarial_full": 0.0}),
        augmentation=Augmentation(False, 1.0),
        fabric=fabric,
        seed=0,
        execution=ExecutionConfig(checkpoint_activations=which.checkpointing),
    )
    longest = tokenizer.config.iterations - 1  # steps take the iterations in turn
    return step_speed(lambda step: stage.step(step * tokenizer.config.iterations + longest), micro_batch)


class NoiseSet(ImageSet):
    """Images of noise, as many as a batch, in memory: reading costs nothing."""

    def __init__(self, count: int) -> None:
        self.name, self.packed = "noise", True
        self.manifest = pd.DataFrame({"image_id": [str(index) for index in range(count)]})
        self._images = noise(count).cpu()

    def images(self, indices: Any) -> Tensor:
        """Return images (b, 3, h, w) in [0, 1]."""
        return self._images[torch.as_tensor(indices)]


def training() -> dict[str, Any]:
    """Return speed and memory of the steps of `STEPS`, by what they are."""
    return {str(step): (stage_1_training if step.stage == "distill" else stage_2_training)(step) for step in STEPS}


def plan_beside(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the planned memory of the steps of `STEPS` beside measured peaks; needs no card."""
    profile, found = paper(), {}
    for step in tqdm(STEPS, unit="plan"):
        settings = profile.model_copy(update={"tokenizer": published_config(step.size)})
        plan = plan_memory(
            settings,
            step.stage,
            micro_batch=step.images,
            checkpoint_activations=step.checkpointing,
            precision=PRECISION,
        )
        peak = measured["training"][str(step)]["peak_gib"]
        found[str(step)] = {
            "planned_gib": round(plan.total / GIB, 2),
            "measured_gib": peak,
            "measured_over_planned": round(peak * GIB / plan.total, 3),
        }
    return found


def step_speed(step: Callable[[int], object], images: int) -> dict[str, Any]:
    """Return images per second and peak GiB of a training step: the first warms up, three are timed."""
    torch.cuda.reset_peak_memory_stats()
    numbers = itertools.count()
    seconds = median_seconds(lambda: step(next(numbers)), 3)
    return {
        "images_per_second": round(images / seconds, 1),
        "peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
    }


def median_seconds(call: Callable[[], object], rounds: int) -> float:
    """Return the median time of `rounds` calls after one that warms up, until the card has finished."""
    times = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def card() -> dict[str, Any]:
    """Return what the numbers depend on."""
    properties = torch.cuda.get_device_properties(CARD)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / GIB, 1),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def run_parts(parts: Mapping[str, Callable[[], Any]], output: Path | None) -> dict[str, Any]:
    """Run the parts in turn; one that fails leaves its error; what is done is written after each."""
    result: dict[str, Any] = {"command": "python -m benchmarks.gpu", "card": card()}
    for name, part in parts.items():
        gc.collect()
        torch.cuda.empty_cache()
        start = time.perf_counter()
        try:
            result[name] = part()
        except Exception as error:  # one part's fault must not cost the others
            result[name] = {
                "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
            }
        result.setdefault("seconds", {})[name] = round(time.perf_counter() - start, 1)
        write_result(result, output)
    return result


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--golden", type=Path, help="folder of the golden tensors; without it parity is not checked")
    parser.add_argument("--parts", nargs="*", help="by default all")
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="only plan the memory whose peaks FILE holds; no card"
    )
    arguments = parser.parse_args()
    if arguments.plan:
        planned = plan_beside(json.loads(arguments.plan.read_text(encoding="utf-8")))
        write_result({"command": f"python -m benchmarks.gpu --plan {arguments.plan}", **planned}, arguments.output)
        return
    if not torch.cuda.is_available():
        parser.error("expected a CUDA device, found none")
    parts: dict[str, Callable[[], Any]] = {}
    if arguments.golden:
        parts["parity"] = lambda: parity(arguments.golden)
    parts |= {
        "lower_precision": lower_precision,
        "stage_1_gradients": stage_1_gradients,
        "table_8": table_8,
        "sweep_speed": sweep_speed,
        "training": training,
    }
    chosen = {name: part for name, part in parts.items() if not arguments.parts or name in arguments.parts}
    run_parts(chosen, arguments.output)


if __name__ == "__main__":
    main()
