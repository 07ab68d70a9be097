"""What trainings cost: counted without computing, as it would be counted while they run."""

import json
import re
from functools import partial

import pytest
import torch
import yaml
from checkout import ROOT
from torch.utils.flop_counter import FlopCounterMode

from alit.config import load_profile
from alit.models.losses import PatchDiscriminator
from alit.studies.ablations.measure import stage_1_gigaflop
from alit.tasks.perceptual import build_perceptual, build_trunk, build_untrained_trunk
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.cost import CostCounter
from alit.training.engine.execution import PLAIN, ExecutionConfig
from alit.training.finetune import DiscriminatorLoss, GeneratorLoss
from alit.training.variants import vary
from experiments import training_cost

SMOKE = load_profile(ROOT / "configs" / "smoke.yaml")
PAPER = load_profile(ROOT / "configs" / "paper.yaml")
KEPT = ROOT / "benchmarks" / "results" / "training_cost_paper.json"


def counted(run):
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


SHORT = {"tokenizer.distillation.iterations": 2, "distill.cross_entropy_weights": [1.0, 1.0]}


def settings(**changes):
    return vary(SMOKE.training, SHORT | changes, source="here")


@pytest.mark.slow
def test_stage_1_counts_what_its_steps_compute_and_the_base_tokens_of_each_image():
    own = settings(**{"distill.optimization.steps": 5})
    tokenizer = AdaptiveTokenizer(own.tokenizer)
    image = torch.zeros(1, 3, own.tokenizer.image_size, own.tokenizer.image_size)
    size = own.distill.optimization.batch_size
    with torch.no_grad():
        base = counted(lambda: tokenizer.base.encode(image))
    expected = size * (1e9 * stage_1_gigaflop(tokenizer, own.distill, image, own.seed) + 5 * base)
    assert CostCounter(build_trunk, PLAIN).distill(own) == pytest.approx(expected)


@pytest.mark.slow
def test_stage_2_counts_both_players_from_when_the_adversary_plays():
    changes = {"steps": 4, "batch_size": 3}
    own = settings(
        **{f"finetune.optimization.{name}": value for name, value in changes.items()},
        **{"finetune.adversarial_start": 0.5, "finetune.adversarial_full": 0.5, "finetune.discriminator_steps": 2},
    )
    tokenizer = AdaptiveTokenizer(own.tokenizer)
    image = torch.zeros(1, 3, own.tokenizer.image_size, own.tokenizer.image_size)
    perceptual = build_perceptual(own.perceptual_trunk) if own.finetune.perceptual_weight else None
    generator = GeneratorLoss(tokenizer, perceptual, own.finetune)
    network = PatchDiscriminator(own.finetune.discriminator_channels, own.finetune.discriminator_layers)
    judge = DiscriminatorLoss(network)
    iterations = range(1, tokenizer.config.iterations + 1)

    def alone(iteration):
        found = generator(image, iteration)
        (found.l1 + found.perceptual + found.quantizer).backward()

    def judging(iteration):
        judge(image, generator.reconstruct(image, iteration)).loss.backward()

    mean = sum(counted(partial(alone, t)) for t in iterations) / len(iterations)
    cost = CostCounter(build_trunk, PLAIN)
    without = vary(own, {"finetune.adversarial_weight": 0.0}, source="here")
    assert cost.finetune(without) == pytest.approx(4 * 3 * mean)
    judged = sum(counted(partial(judging, t)) for t in iterations)
    least = 4 * 3 * mean + 2 * 3 * 2 * judged / len(iterations)
    assert least < cost.finetune(own) < least + 2 * 3 * mean


@pytest.mark.slow
def test_a_stage_without_steps_costs_nothing_and_activations_computed_twice_do_not_come_free():
    own = settings(**{"finetune.optimization.steps": 0, "base_training.optimization.steps": 0})
    plain, twice = (
        CostCounter(build_trunk, ExecutionConfig(checkpoint_activations=checkpoint))(own)
        for checkpoint in (False, True)
    )
    assert plain.base == plain.finetune == 0.0
    assert 1.05 * plain.distill < twice.distill < 1.5 * plain.distill


@pytest.mark.slow
def test_what_trainings_share_is_counted_once(tmp_path):
    content = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    content["ablations"]["comparisons"] = []
    content["tokenizer"]["distillation"]["iterations"] = 2
    content["distill"]["cross_entropy_weights"] = [1.0, 1.0]
    content["variants"] = {
        "common": {},
        "trainings": [
            {"name": "own", "set": {}, "seeds": [0, 1]},
            {"name": "stage_1", "set": {"finetune.optimization.steps": 0}, "seeds": [0]},
            {"name": "other_base", "set": {"tokenizer.base.code_size": 6}, "seeds": [0, 1]},
        ],
    }
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    own, *rows = training_cost.count(load_profile(path))
    assert [row.cost.total > 0 for row in rows] == [False, True, False, True, True]
    assert [row.cost.base > 0 for row in rows] == [False, False, False, True, False]
    assert rows[1].cost == own.cost._replace(base=0.0)
    assert training_cost.table([own, *rows], 350.0).splitlines()[-1].startswith("total ")


def test_the_paper_profile_states_what_its_trainings_cost():
    kept = json.loads(KEPT.read_text())
    renew = f"python -m experiments.training_cost paper -o {KEPT.relative_to(ROOT)}"
    assert kept["settings_sha256"] == training_cost.settings_sha256(PAPER), f"the profile has changed: {renew}"
    about = " ".join(PAPER.about)
    assert "python -m experiments.training_cost paper" in about
    operations, hours = re.search(
        r"([\d.]+e\d+) floating-point operations,? at 350 TFLOP/s ([\d,]+) GPU-hours", about
    ).groups()
    assert operations == f"{kept['total']:.1e}".replace("e+", "e")
    assert int(hours.replace(",", "")) == round(kept["gpu_hours"], -1)
    table = (ROOT / "docs" / "scale.md").read_text()
    assert f"| {kept['total']:.2e} | {kept['gpu_hours']:,.0f} |".replace("e+", "e") in table


@pytest.mark.slow
def test_a_frozen_base_is_balanced_at_its_last_layer_as_in_training():
    own = settings(
        **{"finetune.optimization.steps": 2, "finetune.train_base": False, "finetune.adversarial_weight": 0.5},
        **{"finetune.adversarial_start": 0.0, "finetune.adversarial_full": 0.0},
    )
    trained = own.model_copy(update={"finetune": own.finetune.model_copy(update={"train_base": True})})
    counter = CostCounter(build_trunk, PLAIN)
    assert 0 < counter.finetune(own) < counter.finetune(trained)


@pytest.mark.slow
def test_the_number_kept_is_the_commands():
    cost = CostCounter(build_untrained_trunk, PAPER.execution)
    kept = json.loads(KEPT.read_text())["trainings"]["the profile's own"]
    assert cost.distill(PAPER.training) == kept["distill"]
    assert cost.base(PAPER.training) == kept["base"]
