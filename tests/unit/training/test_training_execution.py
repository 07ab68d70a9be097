"""How a step is computed changes no gradient: micro-batches, activations computed twice, and what the settings say."""

import pytest
import torch
from training_cases import (
    SEED,
    MemoryImages,
    base_config,
    distill_config,
    finetune_config,
    new_base,
    new_tokenizer,
    optimization,
    perceptual,
    tokenizer_config,
)

from alit.models import distillation, transformer
from alit.models.losses import PatchDiscriminator
from alit.training import distill
from alit.training.base import BaseStage
from alit.training.distill import DistillStage
from alit.training.engine.execution import ExecutionConfig, MicroBatchConfig, join_parts, split_rows
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, Batch, BatchSampler, encode_frozen
from alit.training.finetune import DiscriminatorOutput, FinetuneStage
from alit.training.optim import OptimizedModule

BATCH = 7
EXECUTIONS = {
    "micro-batches": {"micro_batch": 3},  # two, two and three; of one image oneDNN rounds otherwise
    "checkpointing": {"checkpoint_activations": True},
    "both": {"micro_batch": 4, "checkpoint_activations": True},
}


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


def execution(micro_batch=None, **changes):
    parts = MicroBatchConfig(base=micro_batch, distill=micro_batch, finetune=micro_batch)
    return ExecutionConfig(micro_batch=parts, **changes)


def settings():
    return optimization(batch_size=BATCH, warmup_steps=0)


def config_of(kind, **changes):
    config = tokenizer_config(kind=kind, prediction="regression" if kind == "vae" else "logits", **changes)
    return config.model_copy(update={"base": config.base.model_copy(update={"sample_posterior": False})})


def base_stage(fabric, how, kind="vqgan"):
    return BaseStage(
        new_base(config_of(kind)).train(),
        perceptual(),
        MemoryImages(),
        base_config(optimization=settings()),
        augmentation=Augmentation(False, 1.0),
        fabric=fabric,
        seed=SEED,
        execution=how,
    )


def distill_stage(fabric, how, kind="vqgan", quantize=True, **changes):
    tokenizer = new_tokenizer(config_of(kind, quantize=quantize)).train()
    tokenizer.base.requires_grad_(False)
    changes = {"supervised_iterations": None, "unlock_share": 0.0, "continuous_share": 0.0, **changes}
    return DistillStage(
        tokenizer,
        distill_config(optimization=settings(), **changes),
        BatchSampler(MemoryImages(), BATCH, Augmentation(False, 1.0), fabric=fabric, seed=SEED, stage="distill"),
        lambda batch: encode_frozen(tokenizer.base, batch.images),
        fabric=fabric,
        seed=SEED,
        execution=how,
    )


def finetune_stage(fabric, how, kind="vqgan", **changes):
    tokenizer = new_tokenizer(config_of(kind)).train()
    torch.manual_seed(0)
    return FinetuneStage(
        tokenizer,
        PatchDiscriminator(4, 1),
        perceptual(),
        MemoryImages(),
        finetune_config(optimization=settings(), **changes),
        augmentation=Augmentation(False, 1.0),
        fabric=fabric,
        seed=SEED,
        execution=how,
    )


CASES = {
    "base": (base_stage, {}),
    "base, vae": (base_stage, {"kind": "vae"}),
    "stage 1": (distill_stage, {}),
    "stage 1, halting": (distill_stage, {"halting": True}),
    "stage 1, continuous": (distill_stage, {"quantize": False}),
    "stage 1, some iterations": (distill_stage, {"supervised_iterations": 2}),
    "stage 1, vae, halting": (distill_stage, {"kind": "vae", "halting": True}),
    "stage 2": (finetune_stage, {}),
    "stage 2, vae": (finetune_stage, {"kind": "vae"}),
    "stage 2, frozen base": (finetune_stage, {"train_base": False}),
}


def gradients(stage, step, monkeypatch):
    """Take a step and return each network's gradients before it, and what the step logs."""
    found = []
    take_step = OptimizedModule.take_step

    def noted(self, number):
        found.append({name: p.grad.clone() for name, p in self.module.named_parameters() if p.grad is not None})
        return take_step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(OptimizedModule, "take_step", noted)
        return found, stage.step(step)


def assert_same_gradients(found, expected):
    """The difference is below 1e-5 of the whole gradient's length, and nowhere above 1e-5 of its largest number."""
    assert set(found) == set(expected)
    flat, expected_flat = (torch.cat([each[name].flatten() for name in sorted(each)]) for each in (found, expected))
    assert (flat - expected_flat).norm() < 1e-5 * expected_flat.norm()
    largest = float(expected_flat.abs().max())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5 * largest, rtol=0, msg=name)


def assert_same_step(ours, theirs):
    for found, expected in zip(ours[0], theirs[0], strict=True):
        assert_same_gradients(found, expected)
    assert set(ours[1]) == set(theirs[1])
    for name, value in theirs[1].items():
        torch.testing.assert_close(ours[1][name], value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.fixture
def easily_halted(monkeypatch):
    """Untrained networks predict nothing well: let any token halt, and count those that do."""
    halted = []
    draw = distillation.draw_halted
    monkeypatch.setattr(distill, "Halting", lambda: distillation.Halting(probability=0.0, distance=0.15))
    monkeypatch.setattr(distillation, "draw_halted", lambda *inputs: halted.append(draw(*inputs)) or halted[-1])
    return halted


@pytest.mark.parametrize("how", EXECUTIONS)
@pytest.mark.parametrize("case", CASES)
def test_gradients_and_log_are_those_of_the_plain_step(case, how, fabric, monkeypatch, easily_halted):
    build, changes = CASES[case]
    step = 2  # the third iteration of stage 2, before its adversary
    plain = gradients(build(fabric, execution(), **changes), step, monkeypatch)
    assert any(gradient.abs().max() > 1e-3 for gradient in plain[0][0].values())
    assert_same_step(gradients(build(fabric, execution(**EXECUTIONS[how]), **changes), step, monkeypatch), plain)
    if changes.get("halting"):
        assert 0 < torch.cat(easily_halted).float().mean() < 1


def test_checkpointing_changes_no_gradient_of_a_step_with_an_adversary(fabric, monkeypatch):
    def one(**how):
        return gradients(finetune_stage(fabric, execution(**how), adversarial_start=0.0), 1, monkeypatch)

    plain = one()
    assert len(plain[0]) == 3  # two of the discriminator, one of the generator
    assert_same_step(one(checkpoint_activations=True), plain)


def test_in_micro_batches_an_adversary_is_balanced_within_each(fabric, monkeypatch):
    """What `train_finetune` says of micro-batches: the gradient is the mean of those of batches of that size."""
    monkeypatch.setattr(f"{__name__}.BATCH", 4)
    stage = finetune_stage(fabric, execution(2), adversarial_start=0.0, discriminator_steps=0)
    images = stage.sampler(1).images
    (whole,), _ = gradients(stage, 1, monkeypatch)
    halves = []
    for half in images.split(2):
        stage = finetune_stage(fabric, execution(), adversarial_start=0.0, discriminator_steps=0)
        stage.sampler = lambda step, half=half: Batch(torch.arange(2), torch.zeros(2, dtype=torch.bool), half)
        halves += gradients(stage, 1, monkeypatch)[0]
    assert_same_gradients(whole, {name: (halves[0][name] + halves[1][name]) / 2 for name in whole})


def test_checkpointing_computes_every_block_twice_and_nothing_without_gradients(fabric, monkeypatch):
    ran = []
    forward = transformer.Block.forward
    monkeypatch.setattr(transformer.Block, "forward", lambda self, *inputs: ran.append(1) or forward(self, *inputs))
    counts: list[int] = []
    for checkpointing in (False, True):
        ran.clear()
        stage = distill_stage(fabric, execution(checkpoint_activations=checkpointing))
        stage.step(0)
        counts.append(len(ran))
    assert counts[1] == 2 * counts[0] == 2 * 3 * (2 + 2)  # iterations x layers of encoder and decoder
    ran.clear()
    stage._raw_codes(stage.sampler(0), 3)
    assert len(ran) == 3 * 2


@pytest.mark.parametrize(("size", "most", "expected"), [(6, None, [6]), (6, 6, [6]), (6, 4, [3, 3]), (7, 3, [2, 2, 3])])
def test_a_batch_is_split_evenly_into_as_few_parts_as_possible(size, most, expected):
    rows = split_rows(size, most)
    assert [part.stop - part.start for part in rows] == expected
    assert torch.equal(torch.cat([part.of(torch.arange(size)) for part in rows]), torch.arange(size))
    assert sum(part.share for part in rows) == pytest.approx(1)


def test_joined_parts_are_weighted_by_their_images():
    values = [torch.arange(7.0)[part.start : part.stop] for part in split_rows(7, 3)]
    parts = [DiscriminatorOutput(part.mean(), part, None) for part in values]
    joined = join_parts(parts, split_rows(7, 3), batched=("real",))
    torch.testing.assert_close(joined.loss, torch.tensor(3.0))
    assert torch.equal(joined.real, torch.arange(7.0))
    assert joined.fake is None


@pytest.mark.parametrize("case", CASES)
def test_modules_that_say_so_have_a_gradient_for_every_parameter(case, fabric, monkeypatch, easily_halted):
    """DDP takes their word and does not look for parameters without one."""
    build, changes = CASES[case]
    stage = build(fabric, execution(), **changes)
    (found, *_), _ = gradients(stage, 2, monkeypatch)
    trained = {name for name, parameter in stage.optimized.module.named_parameters() if parameter.requires_grad}
    if getattr(stage.optimized.module.module, "uses_every_parameter", False):
        assert set(found) == trained
    else:
        assert case not in ("base", "base, vae", "stage 1, halting")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
@pytest.mark.parametrize("case", ["base", "stage 1, halting", "stage 2"])
def test_compiled_networks_have_the_same_gradients_and_names_of_weights(case, fabric, monkeypatch):
    build, changes = CASES[case]
    compiled = []
    compile_module = torch.nn.Module.compile

    def compile_without_inductor(self, **how):
        compiled.append(type(self).__name__)
        compile_module(self, backend="aot_eager", **how)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_without_inductor)
    plain, ours = build(fabric, execution(), **changes), build(fabric, execution(3, compile=True), **changes)
    assert compiled
    assert list(ours.optimized.module.state_dict()) == list(plain.optimized.module.state_dict())
    assert_same_step(gradients(ours, 2, monkeypatch), gradients(plain, 2, monkeypatch))
    torch.compiler.reset()
