"""Schedules, averages, parameter groups, codebooks, batches and files of training."""

import pytest
import torch
from training_cases import MemoryImages, base_config, new_base, optimization, tokenizer_config

from alit.errors import CheckpointError, ConfigError
from alit.models.loading import load_base
from alit.models.quantizer import VectorQuantizer
from alit.models.transformer import Block
from alit.models.weights import save_network
from alit.settings import parse_settings
from alit.training.base import BaseTrainingConfig
from alit.training.engine.checkpoint import resume_dir, save_stage
from alit.training.engine.fabric import build_fabric, derive_generator
from alit.training.engine.loader import Augmentation, BatchSampler
from alit.training.engine.muon import SinglePrecisionMuon, orthogonalize
from alit.training.optim import (
    DeadCodeReset,
    OptimizationConfig,
    OptimizedModule,
    build_optimizers,
    learning_rate,
    perplexity,
)


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


# Codebooks


def reset_of(fabric, size=6, **changes):
    quantizer = VectorQuantizer(size, 3, unit=True)
    optimized = OptimizedModule(fabric, quantizer, optimization(**changes))
    return DeadCodeReset(quantizer, optimized, fabric)


def test_only_codes_unused_since_the_last_reset_are_replaced_by_vectors_of_the_batch(fabric):
    reset = reset_of(fabric)
    before = reset.quantizer.embedding.detach().clone()
    vectors = torch.randn(2, 5, 3)
    reset.count(torch.tensor([[0, 1], [1, 4]]))
    reset.expire_codes(vectors, derive_generator("reset"))
    after = reset.quantizer.embedding.detach()
    assert torch.equal(after[[0, 1, 4]], before[[0, 1, 4]])
    directions = torch.nn.functional.normalize(vectors.flatten(0, 1), dim=-1)
    for row in (2, 3, 5):
        assert (directions - after[row]).abs().amax(dim=1).min() < 1e-6
    assert reset.uses.sum() == 0


def test_a_reset_covers_average_and_moments_of_the_replaced_codes_only(fabric):
    reset = reset_of(fabric, ema_decay=0.9)
    reset.optimized.backward_and_step(reset.optimized.module(torch.randn(40, 3)).loss, 0)
    reset.count(torch.tensor([0, 1, 2]))
    reset.expire_codes(torch.randn(1, 8, 3), derive_generator("reset"))
    embedding = reset.quantizer.embedding
    assert torch.equal(reset.optimized.average.values[0][3:], embedding.detach()[3:])
    moments = reset.optimized.optimizers[0].state[embedding]
    assert moments["exp_avg"][3:].abs().sum() == 0
    assert moments["exp_avg_sq"][3:].abs().sum() == 0
    assert moments["exp_avg"][:3].abs().sum() > 0


def test_a_codebook_started_from_data_consists_of_distinct_data(fabric):
    reset = reset_of(fabric)
    vectors = torch.nn.functional.normalize(torch.randn(20, 3), dim=-1)
    reset.init_codebook(vectors, derive_generator("start"))
    distances = torch.cdist(reset.quantizer.embedding.detach(), vectors)
    assert distances.amin(dim=1).max() < 1e-3
    assert len(distances.argmin(dim=1).unique()) == 6


def test_more_codes_than_vectors_repeat_vectors(fabric):
    reset = reset_of(fabric)
    reset.init_codebook(torch.eye(3), derive_generator("start"))
    assert set(reset.quantizer.embedding.detach().argmax(dim=1).tolist()) <= {0, 1, 2}


def test_perplexity_counts_equally_used_codes():
    assert perplexity(torch.arange(8), 16).item() == pytest.approx(8.0)
    assert perplexity(torch.zeros(3, 4, dtype=torch.int64), 16).item() == pytest.approx(1.0)


# Muon


class OneBlock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(8, 2)
        self.table = torch.nn.Parameter(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))

    def forward(self, tokens):
        return self.block(tokens + self.table).square().mean()


def test_muon_takes_the_matrices_of_transformer_blocks_and_adamw_all_else():
    network = OneBlock()
    adamw, muon = build_optimizers(network, list(network.parameters()), optimization(optimizer="muon"))
    matrices = {id(part.weight) for part in network.block.modules() if isinstance(part, torch.nn.Linear)}
    held = [{id(p) for group in each.param_groups for p in group["params"]} for each in (adamw, muon)]
    assert held[1] == matrices
    assert len(matrices) == 4
    assert held[0] == {id(p) for p in network.parameters()} - matrices


def test_a_step_of_muon_goes_as_far_in_all_directions_and_as_far_as_one_of_adamw(fabric):
    torch.manual_seed(0)
    optimized = OptimizedModule(fabric, OneBlock(), optimization(optimizer="muon", weight_decay=0.0, clip_norm=None))
    weight = next(p for p in optimized.parameters if p.shape == (32, 8))
    before = weight.detach().clone()
    loss = optimized.module(torch.randn(3, 5, 8))
    (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
    optimized.backward_and_step(loss, 0)
    step = weight.detach() - before

    def smallest_over_largest(matrix):
        *_, smallest, _none = values = torch.linalg.svdvals(matrix)  # what a norm puts out has one direction less
        return (smallest / values.max()).item()

    assert smallest_over_largest(gradient) < 0.1
    assert smallest_over_largest(step) > 0.5
    rate = learning_rate(0, optimized.config)
    assert step.square().mean().sqrt().item() == pytest.approx(0.2 * rate, rel=0.3)  # AdamW's: 0.2 to 0.4 of its rate


def test_a_training_with_muon_resumes_bit_for_bit(fabric):
    def steps(optimized, first, last):
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            optimized.backward_and_step(optimized.module(torch.randn(3, 5, 8, generator=generator)), step)

    def new():
        torch.manual_seed(1)
        return OptimizedModule(fabric, OneBlock(), optimization(optimizer="muon"))

    whole, killed, resumed = new(), new(), new()
    steps(whole, 0, 6)
    steps(killed, 0, 3)
    resumed.module.load_state_dict(killed.module.state_dict())
    states = killed.state("stage")
    assert set(states) == {"stage_optimizer", "stage_muon", "stage_average"}
    for name, part in resumed.state("stage").items():
        part.load_state_dict(states[name].state_dict())
    steps(resumed, 3, 6)
    for expected, found in zip(whole.parameters, resumed.parameters, strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_muon_in_single_precision_steps_and_resumes_as_torchs_does_to_its_rounding(shape):
    start = torch.randn(shape)
    theirs, ours = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
        SinglePrecisionMuon([ours], lr=0.1, weight_decay=0.3),
    ]
    for step in range(4):
        if step == 2:  # a training begun on a machine of one kind goes on on one of the other
            states = [optimizer.state_dict() for optimizer in optimizers]
            for optimizer, state in zip(optimizers, reversed(states), strict=True):
                optimizer.load_state_dict(state)
        gradient = torch.randn(shape)
        for each, optimizer in zip((theirs, ours), optimizers, strict=True):
            each.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert moved > 1
    assert (ours - theirs).norm() < 0.02 * moved


def test_a_matrix_is_made_orthogonal_in_its_own_precision():
    matrix = torch.randn(6, 9, dtype=torch.float64)
    found = orthogonalize(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ found @ right.T
    assert turned.diag().min() > 0.6
    assert turned.diag().max() < 1.3
    assert (turned - torch.diag(turned.diag())).abs().max() < 1e-12
    assert torch.allclose(orthogonalize(matrix.T, (3.4445, -4.775, 2.0315), 5, 1e-7), found.T)


@pytest.mark.parametrize(("capability", "kind"), [("AVX2", SinglePrecisionMuon), ("AVX512", torch.optim.Muon)])
def test_muon_is_of_single_precision_where_a_cpu_would_emulate_bfloat16(capability, kind, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    network = OneBlock()
    _, muon = build_optimizers(network, list(network.parameters()), optimization(optimizer="muon"))
    assert type(muon) is kind


def test_muon_without_a_transformer_block_or_with_scaled_gradients_is_refused(fabric):
    with pytest.raises(ConfigError, match="set optimizer: adamw"):
        OptimizedModule(fabric, torch.nn.Linear(3, 3), optimization(optimizer="muon"))
    content = optimization(optimizer="muon").model_dump()
    with pytest.raises(ConfigError, match="takes no scaled gradients"):
        parse_settings(OptimizationConfig, content | {"precision": "16-mixed"}, source="here")
    with pytest.raises(ConfigError, match="a base has no transformer blocks"):
        parse_settings(BaseTrainingConfig, base_config().model_dump() | {"optimization": content}, source="here")


# Half precision


def test_a_gradient_scaler_changes_no_step_and_clips_what_it_has_scaled(monkeypatch):
    """Fabric has no scaler on a CPU, where torch's works all the same."""

    def step(scaler):
        fabric = build_fabric("cpu", 1)
        monkeypatch.setattr(fabric.strategy.precision, "scaler", scaler, raising=False)
        monkeypatch.setattr(
            fabric.strategy, "backward", lambda loss, *_: (scaler.scale(loss) if scaler else loss).backward()
        )
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 3)
        optimized = OptimizedModule(fabric, network, optimization(warmup_steps=0, clip_norm=0.1))
        if scaler is not None:
            monkeypatch.setattr(
                fabric.strategy, "optimizer_step", lambda optimizer: (scaler.step(optimizer), scaler.update())
            )
        norm = optimized.backward_and_step(optimized.module(torch.ones(2, 3)).square().sum(), 0)
        return norm, network.weight.detach()

    plain, scaled = step(None), step(torch.amp.GradScaler("cpu", init_scale=1024.0))
    assert plain[0] > 0.1
    torch.testing.assert_close(scaled, plain)


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
    settings = {"training": optimization(), "seed": 1}

    def folder(**changes):
        return resume_dir(tmp_path, "base", {**settings, **changes}, [source])

    first = folder()
    assert first == folder()
    assert first.parent == tmp_path
    assert first.name.startswith("base-")
    assert folder(seed=2) != first
    assert folder(training=optimization(steps=15)) != first
    source.write_text("b")
    assert folder() != first
    with pytest.raises(CheckpointError, match="run the stage before"):
        resume_dir(tmp_path, "base", settings, [tmp_path / "absent"])


def test_a_finished_stage_replaces_its_out_and_removes_its_scratch(fabric, tmp_path):
    config = tokenizer_config()
    base = new_base(config)
    scratch, out = tmp_path / "scratch", tmp_path / "runs" / "base"
    scratch.mkdir()
    (scratch / "log.csv").write_text("step\n")
    out.mkdir(parents=True)
    (out / "stale").touch()
    settings = {"training": optimization()}
    save_stage(fabric, out, lambda folder: save_network(base, config.base, folder), settings, scratch)
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
