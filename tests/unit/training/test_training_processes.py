"""Two processes train as one does with the same batch."""

import os
import subprocess
import sys

import pytest
import torch
from checkout import HELPERS
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SCRIPT = HELPERS / "training_cases.py"
LAUNCHERS = {
    "own": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
}


def run(launcher, folder, devices, *options, stage="distill"):
    command = [*launcher, str(SCRIPT), stage, *options, str(folder / "scratch"), str(folder / "weights")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    nowhere = os.stat(os.devnull).st_ino
    result = subprocess.run(
        [*command, "--devices", str(devices)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert f"{devices} processes" in result.stdout
    assert os.stat(os.devnull).st_ino == nowhere, "a file took the place of the device"
    return load_file(folder / "weights"), (folder / "scratch" / "log.csv").read_text().splitlines()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return run([sys.executable], tmp_path_factory.mktemp("one"), 1)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_give_the_weights_of_one_with_the_same_global_batch(launcher, one, tmp_path):
    weights, log = run(LAUNCHERS[launcher], tmp_path, 2)
    expected, expected_log = one
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], atol=2e-5, rtol=0)
    assert [row.split(",")[:2] for row in log] == [row.split(",")[:2] for row in expected_log]


@pytest.mark.parametrize("stage", ["base", "distill", "finetune"])
def test_two_processes_accumulate_micro_batches_and_recompute_activations(stage, one, tmp_path):
    """Gradients are exchanged once a step, and no parameter is missed where the search for unused ones is off."""
    weights, log = run(LAUNCHERS["own"], tmp_path, 2, "--micro-batch", "1", stage=stage)
    assert log[-1].startswith("14,56,")
    if stage == "distill":
        for name, value in one[0].items():
            torch.testing.assert_close(weights[name], value, atol=2e-5, rtol=0)
