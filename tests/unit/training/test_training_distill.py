"""Stage 1: its choice of iterations, its codebook, its cached tokens, and that it learns."""

import pytest
import torch
import torch.nn.functional as F
from training_cases import (
    SEED,
    MemoryImages,
    count_iterations,
    distill_config,
    new_base,
    new_tokenizer,
    optimization,
    tokenizer_config,
    train,
)

from alit.errors import ConfigError
from alit.training.distill import DistillStage, choose_iterations, distill_at, train_distillation
from alit.training.engine import loader
from alit.training.engine.fabric import build_fabric
from alit.training.engine.loader import Augmentation, BatchSampler, CachedTokens, encode_frozen, token_source


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_newest_iteration_is_chosen_in_at_least_a_third_of_the_steps(count):
    generator = torch.Generator().manual_seed(0)
    choices = [choose_iterations(8, count, generator) for _ in range(1500)]
    assert all(len(set(choice)) == count and list(choice) == sorted(choice) for choice in choices)
    share = [sum(iteration in choice for choice in choices) / 1500 for iteration in range(1, 9)]
    assert share[-1] == pytest.approx(max(1 / 3, count / 8), abs=0.05)
    assert max(share[:-1]) - min(share[:-1]) < 0.1
    assert min(share[:-1]) > 0


def test_all_unlocked_iterations_are_chosen_without_a_count_or_with_a_large_one():
    generator = torch.Generator()
    assert choose_iterations(3, None, generator) == (1, 2, 3)
    assert choose_iterations(3, 5, generator) == (1, 2, 3)
    assert choose_iterations(1, 1, generator) == (1,)


def new_stage(fabric, **changes):
    tokenizer = new_tokenizer(tokenizer_config())
    config = distill_config(**changes)
    sampler = BatchSampler(MemoryImages(), 4, Augmentation(False, 1.0), fabric=fabric, seed=SEED, stage="distill")

    def tokens(batch):
        return encode_frozen(tokenizer.base, batch.images)

    return DistillStage(tokenizer, config, sampler, tokens, fabric=fabric, seed=SEED)


def test_locked_iterations_are_not_run(fabric, monkeypatch):
    ran = count_iterations(monkeypatch)
    stage = new_stage(fabric, supervised_iterations=None, unlock_share=1.0)
    unlocked = []
    for step in range(14):
        ran.clear()
        stage.step(step)
        unlocked.append(max(ran))
    assert unlocked == [1] * 7 + [2] * 7


def test_at_the_switch_the_codebook_is_drawn_from_the_encoder(fabric):
    stage = new_stage(fabric, continuous_share=0.5, expire_every=0)
    quantizer = stage.distillation.quantizer
    start = quantizer.embedding.detach().clone()
    for step in range(7):
        assert "perplexity" not in stage.step(step)
    assert torch.equal(quantizer.embedding, start)
    stage._init_codebook(7, stage.reset)
    batches = [stage.sampler(step) for step in range(7, 30)]
    raw = torch.cat([drawn_codes(stage, batch, iteration) for batch in batches for iteration in (1, 2, 3)])
    distances = torch.cdist(quantizer.embedding.detach(), F.normalize(raw, dim=-1))
    assert distances.amin(dim=1).max() < 1e-3
    assert "perplexity" in stage.step(7)


@torch.no_grad()
def drawn_codes(stage, batch, iteration):
    distilled = distill_at(stage.distillation, batch.images, stage.tokens(batch), stage.codebook, iteration, decode=())
    return distilled.raw_codes.flatten(0, 1)


def test_dead_latent_codes_are_replaced_once_a_whole_period_has_passed_since_the_switch(fabric, monkeypatch):
    stage = new_stage(fabric, continuous_share=0.3, expire_every=3)
    expired = []
    monkeypatch.setattr(stage.reset, "expire_codes", lambda vectors, generator: expired.append(step))
    for step in range(14):
        stage.step(step)
    assert stage.switch == 4
    assert expired == [6, 9, 12]


def test_a_base_with_posterior_samples_and_cropped_images_are_encoded_at_each_step(fabric, tmp_path):
    images = MemoryImages()
    for kind, crop_scale in (("vae", 1.0), ("vqgan", 0.8)):
        config = tokenizer_config(kind=kind, prediction="regression")
        augmentation = Augmentation(False, crop_scale)
        source = token_source(new_base(config), config, images, augmentation, fabric=fabric, folder=tmp_path / "c")
        assert not isinstance(source, CachedTokens)
    assert not (tmp_path / "c").exists()


def test_a_cache_that_would_be_too_large_is_not_made(fabric, tmp_path):
    config, images = tokenizer_config(), MemoryImages()
    arguments = {"fabric": fabric, "folder": tmp_path / "c"}
    numbers = len(images) * config.image_tokens * (4 + 1)
    for limit, made in ((4 * numbers - 1, False), (4 * numbers, True)):
        source = token_source(new_base(config), config, images, Augmentation(False, 1.0), limit=limit, **arguments)
        assert isinstance(source, CachedTokens) == made


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
def test_cached_tokens_are_those_of_the_network_mirrored_or_not(kind, fabric, tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "CHUNK", 7)
    config = tokenizer_config(kind=kind, prediction="regression")
    config = config.model_copy(update={"base": config.base.model_copy(update={"sample_posterior": False})})
    base, images, augmentation = new_base(config), MemoryImages(), Augmentation(True, 1.0)
    source = token_source(base, config, images, augmentation, fabric=fabric, folder=tmp_path / "cache")
    assert isinstance(source, CachedTokens)
    batch = BatchSampler(images, 12, augmentation, fabric=fabric, seed=0, stage="a")(0)
    cached, fresh = source(batch), encode_frozen(base, batch.images)
    torch.testing.assert_close(cached.features, fresh.features)
    torch.testing.assert_close(cached.codes, fresh.codes)
    assert (cached.ids is None and fresh.ids is None) or torch.equal(cached.ids, fresh.ids)


def test_too_few_weights_are_a_config_error(fabric, tmp_path):
    config = tokenizer_config()
    with pytest.raises(ConfigError, match="3 iterations, found 2"):
        train_distillation(
            config,
            distill_config(cross_entropy_weights=(1.0, 1.0)),
            new_base(config),
            MemoryImages(),
            augmentation=Augmentation(False, 1.0),
            fabric=fabric,
            seed=0,
            scratch=tmp_path,
        )


def test_the_base_is_left_as_it_was(tmp_path):
    tokenizer = train("distill", tmp_path)
    base = new_base(tokenizer_config())
    for value, expected in zip(tokenizer.base.state_dict().values(), base.state_dict().values(), strict=True):
        assert torch.equal(value, expected)
    assert not tokenizer.training


def test_halting_trains_and_is_reproducible(tmp_path):
    first, second = (train("distill", tmp_path / name, kind="vae", halting=True) for name in "ab")
    for value, expected in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "column"), [("base", "l1"), ("distill", "code_error_1")])
def test_six_images_are_learned_by_heart(stage, column, tmp_path):
    settings = optimization(steps=250, batch_size=6, learning_rate=1e-2, log_every=25, clip_norm=3.0)
    changes = {"unlock_share": 0.5, "continuous_share": 0.3, "code_weight": 5.0, "label_smoothing": 0.0}
    changes = changes if stage == "distill" else {}
    train(stage, tmp_path, optimization=settings, flip=False, count=6, expire_every=20, **changes)
    header, *rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    errors = [float(row[header.index(column)]) for row in rows if row[header.index(column)]]
    assert errors[-1] < 0.5 * errors[0]
