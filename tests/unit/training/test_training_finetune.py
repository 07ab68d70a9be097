"""Stage 2: one iteration a step, a generator and a discriminator that leave each other alone."""

import pytest
import torch
from training_cases import (
    SEED,
    STAGES,
    MemoryImages,
    finetune_config,
    new_tokenizer,
    optimization,
    perceptual,
    tokenizer_config,
    train,
)

from alit.errors import ConfigError
from alit.models.base import BaseTokenizer
from alit.models.distillation import LatentDecoder, LatentEncoder
from alit.models.losses import PatchDiscriminator
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation
from alit.training.finetune import FinetuneStage, GeneratorLoss, train_finetune


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


def new_stage(fabric, kind="vqgan", base=None, **changes):
    prediction = "similarity" if kind == "vqgan" else "regression"
    tokenizer = new_tokenizer(tokenizer_config(kind=kind, prediction=prediction, **(base or {}))).train()
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(4, 1)
    arguments = {"augmentation": Augmentation(False, 1.0), "fabric": fabric, "seed": SEED}
    config = finetune_config(**changes)
    return FinetuneStage(tokenizer, discriminator, perceptual(), MemoryImages(), config, **arguments)


def snapshot(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def changed(module, before):
    return {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}


def test_a_step_runs_no_iteration_beyond_its_own_and_decodes_only_there(fabric, monkeypatch):
    ran, decoded = [], []
    iterate, decode = LatentEncoder.iterate, LatentDecoder.forward

    def counted(self, sequence, iteration, *arguments, **keywords):
        ran.append(iteration)
        return iterate(self, sequence, iteration, *arguments, **keywords)

    def counted_decode(self, codes, *arguments, **keywords):
        decoded.append(codes.shape[1])
        return decode(self, codes, *arguments, **keywords)

    monkeypatch.setattr(LatentEncoder, "iterate", counted)
    monkeypatch.setattr(LatentDecoder, "forward", counted_decode)
    stage = new_stage(fabric, adversarial_start=0.0, discriminator_steps=1)
    for step, iteration in enumerate([1, 2, 3, 1, 2]):
        ran.clear()
        decoded.clear()
        values = stage.step(step)
        assert ran == 2 * list(range(1, iteration + 1))  # discriminator and generator step
        assert decoded == 2 * [2 * iteration]
        assert [f"l1_{t}" in values for t in (1, 2, 3)] == [t == iteration for t in (1, 2, 3)]


def test_a_discriminator_step_changes_the_discriminator_only_and_builds_no_graph(fabric, monkeypatch):
    stage = new_stage(fabric)
    generator, discriminator = snapshot(stage.tokenizer), snapshot(stage.discriminator)
    fakes = []
    reconstruct = GeneratorLoss.reconstruct
    monkeypatch.setattr(
        GeneratorLoss, "reconstruct", lambda self, *inputs: fakes.append(reconstruct(self, *inputs)) or fakes[-1]
    )
    stage._train_discriminator(0, 2)
    assert len(fakes) == 2
    assert all(fake.grad_fn is None and not fake.requires_grad for fake in fakes)
    assert all(parameter.grad is None for parameter in stage.tokenizer.parameters())
    assert changed(stage.tokenizer, generator) == set()
    # Within the hinge's margins real and fake images pull equally at the last bias.
    assert changed(stage.discriminator, discriminator) == set(discriminator) - {"body.5.bias"}


def test_a_generator_step_changes_no_parameter_of_the_discriminator(fabric):
    stage = new_stage(fabric, adversarial_start=0.0, discriminator_steps=0)
    before = snapshot(stage.discriminator)
    values = stage.step(0)
    assert values["adaptive_weight"] > 0
    assert changed(stage.discriminator, before) == set()
    assert all(parameter.grad is None for parameter in stage.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in stage.discriminator.parameters())


def test_each_optimizer_holds_its_own_networks_parameters_only(fabric):
    stage = new_stage(fabric)

    def held(optimized):
        groups = [group for optimizer in optimized.optimizers for group in optimizer.param_groups]
        return {id(parameter) for group in groups for parameter in group["params"]}

    assert held(stage.optimized_discriminator) == {id(parameter) for parameter in stage.discriminator.parameters()}
    assert held(stage.optimized) <= {id(parameter) for parameter in stage.tokenizer.parameters()}


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_every_part_trains_but_the_base_codebook(fabric, kind):
    stage = new_stage(fabric, kind, adversarial_start=0.0)
    before = snapshot(stage.tokenizer)
    for step in range(6):  # each iteration twice: norm_next is not used by the first
        stage.step(step)
    still = set(before) - changed(stage.tokenizer, before)
    assert still == {
        "distillation.encoder.mask_token",
        *({"base.quantizer.embedding"} if kind == "vqgan" else set()),
    }


def test_a_frozen_base_stays_as_it_is_and_is_still_where_the_adversary_is_balanced(fabric):
    stage = new_stage(fabric, adversarial_start=0.0, train_base=False)
    before = snapshot(stage.tokenizer)
    for step in range(3):
        assert stage.step(step)["adaptive_weight"] > 0
    assert not any(name.startswith("base.") for name in changed(stage.tokenizer, before))
    assert any(name.startswith("distillation.") for name in changed(stage.tokenizer, before))
    assert isinstance(stage.tokenizer.base, BaseTokenizer)


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
@pytest.mark.parametrize("linear_path", [False, True])
def test_without_the_encoder_only_what_comes_after_the_ids_trains(fabric, kind, linear_path):
    path = {"unit_codes": False, "linear_path": True} if linear_path else {}
    base = {"sample_posterior": False, **path}  # a sample would be another each time
    stage = new_stage(fabric, kind, base=base, adversarial_start=0.0, train_encoder=False)
    before = snapshot(stage.tokenizer)
    images = MemoryImages().tensor[:4]
    values = stage.tokenizer.eval().encode(images, length=6).values
    stage.tokenizer.train()
    for step in range(3):
        stage.step(step)
    trained = changed(stage.tokenizer, before)
    parts = {tuple(name.split(".")[:2]) for name in trained}
    decoding = {("distillation", "decoder"), ("base", "decoder")}
    assert parts == (decoding if kind == "vqgan" else decoding | {("base", "latents_in")})
    assert torch.equal(stage.tokenizer.eval().encode(images, length=6).values, values)


def test_settings_that_train_the_encoder_are_written_as_before():
    assert "train_encoder" not in finetune_config().model_dump()
    assert finetune_config(train_encoder=False).model_dump()["train_encoder"] is False


def test_the_loss_is_the_weighted_sum_of_its_terms(fabric):
    stage = new_stage(fabric, adversarial_start=0.0, adversarial_early_factor=0.5, discriminator_steps=0)
    values = stage.step(0)
    expected = (
        1.0 * values["l1"]
        + 0.1 * values["perceptual"]
        + 1.0 * values["quantizer"]
        + 0.1 * values["code_error"]
        + 0.1 * 0.5 * values["adaptive_weight"] * values["adversarial"]
    )
    torch.testing.assert_close(values["loss"], expected)


def test_without_an_adversary_the_discriminator_never_runs(fabric, monkeypatch):
    monkeypatch.setattr(PatchDiscriminator, "forward", lambda self, images: pytest.fail("it ran"))
    stage = new_stage(fabric, adversarial_start=1.0, adversarial_full=1.0)
    for step in range(3):
        assert "adversarial" not in stage.step(step)


def test_the_whole_stage_leaves_averaged_weights_in_eval_mode(tmp_path):
    tokenizer = train("finetune", tmp_path / "averaged")
    live = train("finetune", tmp_path / "live", optimization=optimization(ema_decay=0.0))
    assert not tokenizer.training
    assert all(parameter.requires_grad for parameter in tokenizer.parameters())
    assert not torch.equal(tokenizer.base.last_layer, live.base.last_layer)


def test_images_too_small_for_the_discriminator_are_a_config_error(fabric, tmp_path):
    with pytest.raises(ConfigError, match="at least 24 pixels"):
        train_finetune(
            new_tokenizer(tokenizer_config()),
            finetune_config(discriminator_layers=3),
            MemoryImages(),
            perceptual(),
            augmentation=Augmentation(False, 1.0),
            fabric=fabric,
            seed=0,
            scratch=tmp_path,
        )


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_runs_in_lower_precision(stage, tmp_path):
    settings = optimization(precision="bf16-mixed")
    train(stage, tmp_path, build_fabric("cpu", 1, "bf16-mixed"), optimization=settings)
    assert (tmp_path / "log.csv").read_text().splitlines()[-1].startswith("14,56,")
