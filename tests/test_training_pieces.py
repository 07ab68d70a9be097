"""Schedules, averages, parameter groups, codebooks, batches and files of training."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_cases import MemoryImages, finetune_config, new_base, optimisation, tokenizer_config

from alit.errors import CheckpointError, ConfigError
from alit.models.quantizer import VectorQuantizer
from alit.training.checkpoint import finish_stage, load_base, save_network, stage_scratch
from alit.training.codebooks import CodebookCare, perplexity
from alit.training.ema import Average, average_decay
from alit.training.fabric import build_fabric
from alit.training.optimiser import Learner, parameter_groups
from alit.training.randomness import derive_generator
from alit.training.sampling import Augmentation, BatchSampler
from alit.training.schedules import adversarial_weight, learning_rate, switch_step, unlocked_iterations


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


# Schedules


def test_the_learning_rate_warms_up_linearly_and_decays_as_a_cosine():
    config = optimisation(steps=110, warmup_steps=10, learning_rate=2.0)
    assert learning_rate(0, config) == pytest.approx(0.2)
    assert learning_rate(9, config) == pytest.approx(2.0)
    assert learning_rate(10, config) == pytest.approx(2.0)
    assert learning_rate(60, config) == pytest.approx(1.0)
    assert learning_rate(35, config) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate(110, config) == pytest.approx(0.0)


def test_the_learning_rate_needs_no_warm_up():
    assert learning_rate(0, optimisation(warmup_steps=0, learning_rate=0.5)) == pytest.approx(0.5)


def test_iterations_unlock_evenly_and_the_last_one_at_the_given_share():
    counts = [unlocked_iterations(step, 100, 8, 0.7) for step in range(100)]
    assert counts[0] == 1
    assert counts[9:11] == [1, 2]
    assert counts[69:71] == [7, 8]
    assert counts[-1] == 8


def test_all_iterations_are_open_without_a_curriculum():
    assert unlocked_iterations(0, 100, 8, 0.0) == 8


@given(st.integers(1, 300), st.integers(1, 9), st.floats(0, 1))
def test_the_curriculum_never_locks_what_was_open(steps, iterations, share):
    counts = [unlocked_iterations(step, steps, iterations, share) for step in range(steps)]
    assert counts == sorted(counts)
    assert min(counts) >= 1
    assert max(counts) <= iterations


def test_the_quantizer_joins_at_its_share_of_the_run():
    assert switch_step(200, 0.0) == 0
    assert switch_step(200, 0.25) == 50


def test_the_adversary_joins_in_two_steps():
    config = finetune_config(
        adversarial_weight=0.8, adversarial_start=0.1, adversarial_full=0.5, adversarial_early_factor=0.25
    )
    weights = [adversarial_weight(step, 100, config) for step in range(100)]
    assert set(weights[:10]) == {0.0}
    assert set(weights[10:50]) == {0.2}
    assert set(weights[50:]) == {0.8}


# Averages and optimiser


def test_the_average_is_the_closed_form_of_all_values_ever_seen():
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = Average([parameter], 0.5)
    expected = 1.0
    for update in range(30):
        parameter.data.fill_(float(update**2))
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update**2
    assert average.values[0].item() == pytest.approx(expected)
    # Were it reset on the way, values before the reset would have no weight left.
    assert average.values[0].item() != pytest.approx(29.0**2)


def test_the_decay_of_the_average_rises_to_its_setting():
    decays = [average_decay(updates, 0.99) for updates in range(2000)]
    assert decays[0] == pytest.approx(0.1)
    assert decays == sorted(decays)
    assert decays[-1] == 0.99


def test_the_average_replaces_the_weights_at_the_end():
    parameter = nn.Parameter(torch.zeros(2))
    average = Average([parameter], 0.9)
    parameter.data.fill_(1.0)
    average.update()
    average.copy_to_parameters()
    assert torch.allclose(parameter, torch.full((2,), 0.9))


def test_biases_and_scales_do_not_decay_and_tables_do():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv2d(4, 4, 3), nn.Embedding(5, 4))
    decaying, others = parameter_groups(module.parameters(), 0.1)
    assert decaying["weight_decay"] == 0.1
    assert others["weight_decay"] == 0.0
    assert all(parameter.ndim > 1 for parameter in decaying["params"])
    assert len(decaying["params"]) == 3
    assert len(others["params"]) == 4


def test_an_update_follows_adamw_with_the_scheduled_rate_and_clipping(fabric):
    module = nn.Linear(2, 1, bias=False)
    start = module.weight.detach().clone()
    reference = nn.Parameter(start.clone())
    config = optimisation(steps=10, warmup_steps=0, learning_rate=0.1, clip_norm=0.5, weight_decay=0.2)
    learner = Learner(fabric, module, config)
    reference_optimizer = torch.optim.AdamW([reference], betas=config.betas, weight_decay=0.2)
    inputs = torch.tensor([[3.0, -1.0]])
    for step in range(3):
        norm = learner.update(learner.module(inputs).square().sum(), step)
        loss = (inputs @ reference.T).square().sum()
        gradient = torch.autograd.grad(loss, reference)[0]
        assert norm.item() == pytest.approx(gradient.norm().item(), rel=1e-4)
        reference.grad = gradient * min(1.0, 0.5 / gradient.norm().item())
        reference_optimizer.param_groups[0]["lr"] = learning_rate(step, config)
        reference_optimizer.step()
    assert torch.allclose(module.weight, reference, atol=1e-5)


def test_no_clipping_leaves_the_gradient_alone(fabric):
    module = nn.Linear(1, 1, bias=False)
    learner = Learner(fabric, module, optimisation(clip_norm=None))
    assert learner.update(1000 * learner.module(torch.ones(1, 1)).sum(), 0).item() == pytest.approx(1000.0)


# Codebooks


def care_of(fabric, size=6, **changes):
    quantizer = VectorQuantizer(size, 3, unit=True)
    learner = Learner(fabric, quantizer, optimisation(**changes))
    return CodebookCare(quantizer, learner, fabric)


def test_only_codes_unused_since_the_last_revival_are_replaced_by_vectors_of_the_batch(fabric):
    care = care_of(fabric)
    before = care.quantizer.embedding.detach().clone()
    vectors = torch.randn(2, 5, 3)
    care.count(torch.tensor([[0, 1], [1, 4]]))
    care.revive(vectors, derive_generator("revive"))
    after = care.quantizer.embedding.detach()
    assert torch.equal(after[[0, 1, 4]], before[[0, 1, 4]])
    directions = torch.nn.functional.normalize(vectors.flatten(0, 1), dim=-1)
    for row in (2, 3, 5):
        assert (directions - after[row]).abs().amax(dim=1).min() < 1e-6
    assert care.uses.sum() == 0


def test_revival_resets_average_and_moments_of_the_replaced_codes_only(fabric):
    care = care_of(fabric, ema_decay=0.9)
    care.learner.update(care.learner.module(torch.randn(40, 3)).loss, 0)
    care.count(torch.tensor([0, 1, 2]))
    care.revive(torch.randn(1, 8, 3), derive_generator("revive"))
    embedding = care.quantizer.embedding
    assert torch.equal(care.learner.average.values[0][3:], embedding.detach()[3:])
    moments = care.learner.optimizer.state[embedding]
    assert moments["exp_avg"][3:].abs().sum() == 0
    assert moments["exp_avg_sq"][3:].abs().sum() == 0
    assert moments["exp_avg"][:3].abs().sum() > 0


def test_a_codebook_started_from_data_consists_of_distinct_data(fabric):
    care = care_of(fabric)
    vectors = torch.nn.functional.normalize(torch.randn(20, 3), dim=-1)
    care.start_from(vectors, derive_generator("start"))
    distances = torch.cdist(care.quantizer.embedding.detach(), vectors)
    assert distances.amin(dim=1).max() < 1e-3
    assert len(distances.argmin(dim=1).unique()) == 6


def test_more_codes_than_vectors_repeat_vectors(fabric):
    care = care_of(fabric)
    care.start_from(torch.eye(3), derive_generator("start"))
    assert set(care.quantizer.embedding.detach().argmax(dim=1).tolist()) <= {0, 1, 2}


def test_perplexity_counts_equally_used_codes():
    assert perplexity(torch.arange(8), 16).item() == pytest.approx(8.0)
    assert perplexity(torch.zeros(3, 4, dtype=torch.int64), 16).item() == pytest.approx(1.0)


# Batches


def test_batches_depend_on_seed_stage_and_step_alone(fabric):
    def draw(seed=0, stage="a", step=3):
        sampler = BatchSampler(MemoryImages(), 8, Augmentation(True, 0.6), fabric=fabric, seed=seed, stage=stage)
        return sampler(step)

    assert torch.equal(draw().images, draw().images)
    for other in (draw(seed=1), draw(stage="b"), draw(step=4)):
        assert not torch.equal(draw().indices, other.indices)


def test_mirrored_images_are_marked_and_others_are_untouched(fabric):
    images = MemoryImages()
    sampler = BatchSampler(images, 24, Augmentation(True, 1.0), fabric=fabric, seed=0, stage="a")
    batch = sampler(0)
    assert 0 < batch.mirrored.sum() < 24
    for index, mirrored, view in zip(batch.indices, batch.mirrored, batch.images, strict=True):
        expected = images.tensor[index].flip(-1) if mirrored else images.tensor[index]
        assert torch.equal(view, expected)


def test_ids_are_those_of_the_images(fabric):
    sampler = BatchSampler(MemoryImages(), 4, Augmentation(False, 1.0), fabric=fabric, seed=0, stage="a")
    assert sampler.image_ids(2) == [f"image-{index:02d}" for index in sampler(2).indices.tolist()]


def test_shares_of_several_processes_make_up_the_batch_of_one(fabric):
    class Rank:
        world_size = 2

        def __init__(self, rank):
            self.global_rank = rank

        def to_device(self, value):
            return value

    def draw(where):
        sampler = BatchSampler(MemoryImages(), 6, Augmentation(True, 1.0), fabric=where, seed=0, stage="a")
        return sampler(1)

    whole, shares = draw(fabric), [draw(Rank(0)), draw(Rank(1))]
    for field, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert torch.equal(torch.cat(parts), field)
    with pytest.raises(ConfigError, match="multiple of the 2 processes"):
        BatchSampler(MemoryImages(), 5, Augmentation(True, 1.0), fabric=Rank(0), seed=0, stage="a")


# Files


def test_scratch_differs_by_settings_and_by_the_bytes_of_inputs(tmp_path):
    source = tmp_path / "manifest.csv"
    source.write_text("a")
    settings = {"training": optimisation(), "seed": 1}

    def folder(**changes):
        return stage_scratch(tmp_path, "base", {**settings, **changes}, [source])

    first = folder()
    assert first == folder()
    assert first.parent == tmp_path
    assert first.name.startswith("base-")
    assert folder(seed=2) != first
    assert folder(training=optimisation(steps=15)) != first
    source.write_text("b")
    assert folder() != first
    with pytest.raises(CheckpointError, match="run the stage before"):
        stage_scratch(tmp_path, "base", settings, [tmp_path / "absent"])


def test_a_finished_stage_replaces_its_out_and_removes_its_scratch(fabric, tmp_path):
    config = tokenizer_config()
    base = new_base(config)
    scratch, out = tmp_path / "scratch", tmp_path / "runs" / "base"
    scratch.mkdir()
    (scratch / "log.csv").write_text("step\n")
    out.mkdir(parents=True)
    (out / "stale").touch()
    settings = {"training": optimisation()}
    finish_stage(fabric, out, lambda folder: save_network(base, config.base, folder), settings, scratch)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["config.json", "log.csv", "model.safetensors", "training.json"]
    assert not scratch.exists()
    loaded = load_base(out)
    assert loaded.config == config.base
    for value, expected in zip(loaded.state_dict().values(), base.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


def test_a_damaged_base_is_named(fabric, tmp_path):
    with pytest.raises(CheckpointError, match="run stage base"):
        load_base(tmp_path)
    config = tokenizer_config()
    save_network(new_base(config), config.base, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_base(tmp_path)
