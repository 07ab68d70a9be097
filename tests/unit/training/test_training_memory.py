"""The planned memory of a step is what a profiler measures of a real one, and the published sizes fit their cards."""

import json

import pytest
import torch
from checkout import ROOT
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint
from training_cases import MemoryImages

from alit.config import load_profile
from alit.errors import ConfigError
from alit.models.losses import PatchDiscriminator
from alit.models.transformer import Block, attend
from alit.tokenizer.cost import LiveTensors
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.base import BaseStage
from alit.training.distill import DistillStage
from alit.training.engine.execution import ExecutionConfig, MicroBatchConfig
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, BatchSampler, encode_frozen
from alit.training.finetune import FinetuneStage
from alit.training.memory import GPUCasts, fused_attention, plan_memory
from alit.training.variants import vary
from experiments import memory

BATCH = 8
GIGABYTE = 1e9
SHAPE = "tokenizer.distillation."
SIZES = {  # paper, Table 3
    "small": {},
    "base": {f"{SHAPE}width": 768, f"{SHAPE}layers": 12, f"{SHAPE}heads": 12},
    "semi-large": {f"{SHAPE}layers": 16, f"{SHAPE}heads": 16},
}


def reduced():
    """The smoke profile with a wider and deeper transformer, halting, and no perceptual term."""
    changes = {f"{SHAPE}width": 96, f"{SHAPE}layers": 4, "distill.halting": True}
    changes |= {f"{section}.perceptual_weight": 0.0 for section in ("base_training", "finetune")}
    return vary(load_profile(ROOT / "configs" / "smoke.yaml").training, changes, source="test")


def real_step(stage, settings, micro_batch, checkpointing):
    """Return what computes the gradients of a real step, the most expensive one."""
    micro = MicroBatchConfig(base=micro_batch, distill=micro_batch, finetune=micro_batch)
    how = {"fabric": build_fabric("cpu", 1), "seed": 0}
    how["execution"] = ExecutionConfig(micro_batch=micro, checkpoint_activations=checkpointing)
    images, plain = MemoryImages(BATCH, settings.tokenizer.image_size), Augmentation(False, 1.0)
    tokenizer = AdaptiveTokenizer(settings.tokenizer).train()
    if stage == "base":
        built = BaseStage(tokenizer.base, None, images, settings.base_training, augmentation=plain, **how)
        return lambda: built.compute_gradient(built.sampler(0))
    if stage == "distill":
        tokenizer.base.requires_grad_(False)
        sampler = BatchSampler(images, BATCH, plain, fabric=how["fabric"], seed=0, stage="distill")
        built = DistillStage(
            tokenizer, settings.distill, sampler, lambda batch: encode_frozen(tokenizer.base, batch.images), **how
        )
        return lambda: built.compute_gradient(39, sampler(39), tuple(range(1, 9)))
    discriminator = PatchDiscriminator(settings.finetune.discriminator_channels, settings.finetune.discriminator_layers)
    built = FinetuneStage(tokenizer, discriminator, None, images, settings.finetune, augmentation=plain, **how)

    def step():
        built.compute_discriminator_gradient(built.discriminator_sampler(0).images, 8)
        discriminator.zero_grad(set_to_none=True)
        built.compute_gradient(built.sampler(0).images, 8, 1.0)

    return step


def measured_peak(call):
    """Return the most bytes that torch's allocator has given out above what it had before the call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    events = [each for each in profiled.profiler.kineto_results.events() if each.name() == "[memory]"]
    sizes = [each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())]
    return int(torch.tensor(sizes).cumsum(0).max())


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [BATCH, BATCH // 4])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("stage", ["base", "distill", "finetune"])
def test_the_planned_peak_is_the_measured_one_but_for_the_scratch_of_kernels(stage, checkpointing, micro_batch):
    settings = reduced()
    plan = plan_memory(
        settings,
        stage,
        micro_batch=micro_batch,
        accumulation=BATCH // micro_batch,
        checkpoint_activations=checkpointing,
        precision="32-true",
    )
    assert plan.step == pytest.approx(measured_peak(real_step(stage, settings, micro_batch, checkpointing)), rel=0.04)


def test_checkpointing_takes_at_most_0_45_of_the_memory_of_stage_1():
    settings = reduced()
    plain, checkpointing = (measured_peak(real_step("distill", settings, BATCH, how)) for how in (False, True))
    assert checkpointing < 0.45 * plain


def test_weights_moments_average_and_buckets_are_counted_once_each():
    settings = reduced()
    tokenizer = AdaptiveTokenizer(settings.tokenizer)
    trained = sum(parameter.nbytes for parameter in tokenizer.distillation.parameters())
    plan = plan_memory(settings, "distill", micro_batch=1, processes=2)
    assert plan.weights == trained + sum(parameter.nbytes for parameter in tokenizer.base.parameters())
    assert plan.optimizer == 3 * trained
    assert plan.buckets == trained
    assert plan.total == sum(plan)
    assert plan_memory(settings, "distill", micro_batch=1).buckets == 0


def test_muon_keeps_one_moment_of_the_matrices_in_transformer_blocks():
    settings = reduced()
    plain = plan_memory(settings, "distill", micro_batch=1)
    optimization = settings.distill.optimization.model_copy(update={"optimizer": "muon"})
    changed = settings.model_copy(
        update={"distill": settings.distill.model_copy(update={"optimization": optimization})}
    )
    saved = plain.optimizer - plan_memory(changed, "distill", micro_batch=1).optimizer
    blocks = [part for part in AdaptiveTokenizer(settings.tokenizer).modules() if isinstance(part, Block)]
    layers = [part for block in blocks for part in block.modules() if isinstance(part, torch.nn.Linear)]
    assert saved == sum(layer.weight.nbytes for layer in layers) > 0


def test_norms_are_planned_in_float32_as_a_gpu_computes_them():
    maps = torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.nn.functional.group_norm(maps, 2).dtype == torch.bfloat16
        with GPUCasts():
            assert torch.nn.functional.group_norm(maps, 2).dtype == torch.float32
    with GPUCasts():
        assert torch.nn.functional.group_norm(maps, 2).dtype == torch.bfloat16


@pytest.mark.parametrize("again", [False, True])
def test_attention_is_planned_fused_as_on_a_gpu_without_a_matrix_of_all_pairs(again):
    with FakeTensorMode(), fused_attention(), LiveTensors() as live:
        tokens = [torch.ones(1, 1, 1024, 16, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        mixed = checkpoint(attend, *tokens, use_reentrant=False) if again else attend(*tokens)
        mixed.sum().backward()
    assert live.peak < 1024**2


def test_a_stage_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="base, distill, finetune, found stage_1"):
        plan_memory(reduced(), "stage_1", micro_batch=1)


@pytest.mark.slow
def test_the_command_plans_each_stage_of_a_profile(tmp_path, capsys):
    memory.main(["smoke", "-o", str(tmp_path / "plan.json")])
    rows = json.loads((tmp_path / "plan.json").read_text())["rows"]
    assert [(row["stage"], row["images_at_once"], row["micro_batches"]) for row in rows] == [
        ("base", 8, 1),
        ("distill", 8, 1),
        ("finetune", 8, 1),
    ]
    assert all(row["total"] == sum(row[part] for part in ("weights", "optimizer", "buckets", "step")) for row in rows)
    assert "finetune" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("size", "limit"), [("small", 40), ("base", 80), ("semi-large", 80)])
def test_stage_1_of_the_published_sizes_fits_eight_cards_at_256_images(size, limit):
    paper = load_profile(ROOT / "configs" / "paper.yaml")
    settings = vary(paper.training, SIZES[size], source="test")
    micro_batch = paper.execution.micro_batch.distill
    assert micro_batch == 32 == settings.distill.optimization.batch_size // paper.devices
    how = {"micro_batch": micro_batch, "processes": paper.devices}
    plan = plan_memory(settings, "distill", checkpoint_activations=paper.execution.checkpoint_activations, **how)
    assert plan.total < limit * GIGABYTE
