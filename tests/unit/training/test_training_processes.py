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


def run(launcher, folder, devices):
    command = [*launcher, str(SCRIPT), "distill", str(folder / "scratch"), str(folder / "weights")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--devices", str(devices)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert f"{devices} processes" in result.stdout
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
