"""The loop: progress, log, resume state, interruption, and the stop at a loss that is no number."""

import os
import signal

import pytest
import torch
from lightning_fabric.plugins.environments import torchelastic
from training_cases import optimization

from alit.errors import CheckpointError, ConfigError, TrainingError
from alit.training.engine.fabric import build_fabric, default_randomness, derive_generator, derive_seed
from alit.training.engine.loop import Progress, run_training


class Walk:
    """A stage that adds a random number from torch's default generator to one weight a step."""

    name = "walk"
    seed = 1
    columns = ("loss", "rare")

    def __init__(self, act=lambda stage, step: None):
        self.network = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(self.network.weight)
        self.act = act
        self.steps = []
        self.loss = 1.0

    @torch.no_grad()
    def step(self, step):
        self.steps.append(step)
        self.act(self, step)
        self.network.weight += torch.rand(())
        values = {"loss": torch.tensor(self.loss + step)}
        return {**values, "rare": torch.tensor(float(step))} if step == 4 else values

    def state(self):
        return {"network": self.network}

    def image_ids(self, step):
        return [f"a{step}", f"b{step}"]


@pytest.fixture(scope="module")
def fabric():
    return build_fabric("cpu", 1)


def run(stage, scratch, fabric, **changes):
    run_training(stage, fabric=fabric, config=optimization(**changes), scratch=scratch, description="test")
    return stage


def log_rows(scratch):
    return [line.split(",") for line in (scratch / "log.csv").read_text().splitlines()]


def raise_at(number):
    def act(stage, step):
        if step == number:
            raise RuntimeError("power cut")

    return act


def test_every_step_runs_once_and_the_log_holds_means_since_the_row_before(tmp_path, fabric):
    stage = run(Walk(), tmp_path, fabric)
    assert stage.steps == list(range(14))
    header, *rows = log_rows(tmp_path)
    assert header == ["step", "images", "seconds", "loss", "rare"]
    assert [row[:2] for row in rows] == [["3", "12"], ["6", "24"], ["9", "36"], ["12", "48"], ["14", "56"]]
    assert [row[3:] for row in rows] == [["2", ""], ["5", "4"], ["8", ""], ["11", ""], ["13.5", ""]]


def test_a_finished_run_does_nothing_when_run_again(tmp_path, fabric):
    first = run(Walk(), tmp_path, fabric)
    again = run(Walk(), tmp_path, fabric)
    assert again.steps == []
    assert torch.equal(again.network.weight, first.network.weight)


def test_a_crash_costs_the_steps_since_the_last_state_and_leaves_no_trace(tmp_path, fabric):
    whole = run(Walk(), tmp_path / "whole", fabric)
    with pytest.raises(RuntimeError, match="power cut"):
        run(Walk(raise_at(11)), tmp_path / "broken", fabric)
    with (tmp_path / "broken" / "log.csv").open("a") as log:
        log.write("12,48,0.1,7")  # a line that the power cut tore
    resumed = run(Walk(), tmp_path / "broken", fabric)
    assert resumed.steps == list(range(8, 14))
    assert torch.equal(resumed.network.weight, whole.network.weight)
    assert [row[:2] + row[3:] for row in log_rows(tmp_path / "broken")] == [
        row[:2] + row[3:] for row in log_rows(tmp_path / "whole")
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_stops(tmp_path, fabric, number):
    def interrupt(stage, step):
        if step == 5:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(Walk(interrupt), tmp_path, fabric)
    assert signal.getsignal(number) is before
    assert run(Walk(), tmp_path, fabric).steps == list(range(6, 14))


def test_a_signal_in_the_last_step_changes_nothing(tmp_path, fabric):
    def interrupt(stage, step):
        if step == 13:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(Walk(interrupt), tmp_path, fabric).steps[-1] == 13


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_images_and_last_good_state(tmp_path, fabric, value):
    def spoil(stage, step):
        stage.loss = value if step >= 9 else 1.0

    with pytest.raises(TrainingError) as caught:
        run(Walk(spoil), tmp_path, fabric)
    message = str(caught.value)
    assert "step 9" in message
    assert "a9, b9" in message
    assert str(tmp_path / "state.ckpt") in message
    assert "after 8 steps" in message
    assert run(Walk(), tmp_path, fabric).steps == list(range(8, 14))


def test_a_loss_that_is_not_finite_before_the_first_state_says_that_there_is_none(tmp_path, fabric):
    def spoil(stage, step):
        stage.loss = float("nan")

    with pytest.raises(TrainingError, match="no state had been saved"):
        run(Walk(spoil), tmp_path, fabric)
    assert not (tmp_path / "state.ckpt").exists()


def test_weights_that_are_not_finite_never_become_the_last_good_state(tmp_path, fabric):
    def spoil(stage, step):
        if step == 7:
            stage.network.weight.data.fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"weights .* step 7.*after 4 steps"):
        run(Walk(spoil), tmp_path, fabric)
    assert run(Walk(), tmp_path, fabric).steps == list(range(4, 14))


def test_a_state_that_cannot_be_read_is_named(tmp_path, fabric):
    run(Walk(), tmp_path, fabric)
    state = tmp_path / "state.ckpt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"state\.ckpt.*delete it"):
        run(Walk(), tmp_path, fabric)


def test_a_gradient_scaler_goes_on_where_it_was(tmp_path, monkeypatch):
    def scale_after(steps):
        fabric = build_fabric("cpu", 1)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
        monkeypatch.setattr(fabric.strategy.precision, "scaler", scaler, raising=False)

        def grow(stage, step):
            scaler.scale(torch.ones(()))
            found = {torch.device("cpu"): torch.zeros(())}
            scaler._per_optimizer_states[0]["found_inf_per_device"] = found
            scaler.update()

        run(Walk(grow), tmp_path, fabric, steps=steps)
        return scaler.get_scale()

    assert scale_after(4) == 8.0 * 2**4
    assert scale_after(6) == 8.0 * 2**6  # not from 8 again


def test_a_state_without_a_gradient_scaler_is_still_read():
    progress = Progress()
    progress.load_state_dict({"steps": 3, "seconds": 1.0, "sums": {}, "counts": {}})
    assert (progress.steps, progress.scaler) == (3, {})


def test_no_partial_state_is_left(tmp_path, fabric):
    run(Walk(), tmp_path, fabric)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "state.ckpt"]


def test_a_run_of_no_steps_is_no_error(tmp_path, fabric):
    assert run(Walk(), tmp_path, fabric, steps=0).steps == []


def test_default_randomness_depends_on_its_parts_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with default_randomness(1, "stage", 2):
        first = torch.rand(3)
    with default_randomness(1, "stage", 2):
        again = torch.rand(3)
    with default_randomness(1, "stage", 3):
        other = torch.rand(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_of_neighboring_parts_differ():
    seeds = {derive_seed(*parts) for parts in [(1, "a", 1), (1, "a", 11), (11, "a", 1), (1, "b", 1), ("a", 1, 1)]}
    assert len(seeds) == 5
    assert derive_generator(1, "a").initial_seed() == derive_seed(1, "a")


def test_progress_survives_a_round_trip():
    progress = Progress()
    progress.add({"loss": torch.tensor(2.0)})
    copy = Progress()
    copy.load_state_dict(progress.state_dict())
    assert copy.state_dict() == progress.state_dict()


def test_torchrun_with_another_number_of_processes_is_a_config_error(monkeypatch):
    class Launched:
        @staticmethod
        def detect():
            return True

        def world_size(self):
            return 3

        def local_rank(self):
            return 0

    monkeypatch.setattr(torchelastic, "TorchElasticEnvironment", Launched)
    with pytest.raises(ConfigError, match="expected 2 processes"):
        build_fabric("cpu", 2)
