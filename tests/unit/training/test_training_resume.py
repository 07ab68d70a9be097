"""An interrupted run ends where an uninterrupted one does."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from checkout import HELPERS
from safetensors.torch import load_file
from training_cases import SEED, STAGES, optimization, train

from alit.training.engine.fabric import derive_seed
from alit.training.engine.loader import BatchSampler


class Abort(Exception):
    pass


def run_until(step, monkeypatch, stage, scratch, **keywords):
    """Train until the batch of `step` is asked for, and stop there as a crash would."""
    draw = BatchSampler.__call__
    sampler_seed = derive_seed(SEED, stage)  # the discriminator's sampler counts otherwise

    def draw_or_abort(self, number):
        if number == step and self.seed == sampler_seed:
            raise Abort
        return draw(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSampler, "__call__", draw_or_abort)
        with pytest.raises(Abort):
            train(stage, scratch, **keywords)


def assert_same_weights(network, other):
    for (name, value), expected in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name


def steps_of(log):
    return [int(line.split(",")[0]) for line in log.read_text().splitlines()[1:]]


@pytest.mark.parametrize("kind", ["vqgan", "vae"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(stage, kind, tmp_path, monkeypatch):
    whole = train(stage, tmp_path / "whole", kind=kind)
    for step in (5, 9, 12):
        run_until(step, monkeypatch, stage, tmp_path / "broken", kind=kind)
    resumed = train(stage, tmp_path / "broken", kind=kind)
    assert_same_weights(resumed, whole)
    assert steps_of(tmp_path / "broken" / "log.csv") == [3, 6, 9, 12, 14]


def test_the_log_of_a_resumed_run_is_that_of_an_uninterrupted_one_but_for_the_seconds(tmp_path, monkeypatch):
    train("distill", tmp_path / "whole")
    run_until(10, monkeypatch, "distill", tmp_path / "broken")
    train("distill", tmp_path / "broken")

    def rows(folder):
        lines = (tmp_path / folder / "log.csv").read_text().splitlines()
        return [fields[:2] + fields[3:] for fields in (line.split(",") for line in lines)]

    assert rows("broken") == rows("whole")


def test_weights_depend_on_every_step(tmp_path):
    whole = train("base", tmp_path / "whole")
    shorter = train("base", tmp_path / "shorter", optimization=optimization(steps=13))
    assert any(
        not torch.equal(a, b) for a, b in zip(whole.state_dict().values(), shorter.state_dict().values(), strict=True)
    )


@pytest.mark.slow
def test_a_run_killed_without_warning_ends_with_the_same_weights(tmp_path):
    script = [sys.executable, str(HELPERS / "training_cases.py"), "distill"]
    command = [*script, str(tmp_path / "killed"), str(tmp_path / "killed.safetensors"), "--steps", "150"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    state = tmp_path / "killed" / "state.ckpt"
    while not state.is_file() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed.safetensors").exists()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    whole = [*script, str(tmp_path / "whole"), str(tmp_path / "whole.safetensors"), "--steps", "150"]
    subprocess.run(whole, env=environment, check=True, capture_output=True)
    resumed, expected = (load_file(tmp_path / f"{name}.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
