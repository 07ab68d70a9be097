"""Several processes sweep as one does: the same files, resumed by any number of them, and one line when one fails."""

import os
import re
import subprocess
import sys

import pytest
import shared_sweep
from checkout import HELPERS
from one_thread import one_thread

pytestmark = pytest.mark.slow

SCRIPT = HELPERS / "shared_sweep.py"
NOISE = ("sweep:", "Initializing distributed", "distributed_backend=", "All distributed processes", "-----")
CHUNKS = 9  # of 17 and 13 images, four each


def run(folder, devices, *options, launcher=()):
    """Return the process, its lines of stderr but the progress bar's and Lightning's, and the files of the sweep."""
    command = [sys.executable, *launcher, str(SCRIPT), str(folder / "scratch"), str(folder / "sweep"), str(devices)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=300)
    lines = [line for line in re.split(r"[\r\n]+", result.stderr) if line.strip() and not line.startswith(NOISE)]
    return result, lines, written(folder)


def alone(folder):
    """Sweep, or continue, in this process and one thread; return the files of the sweep."""
    with one_thread():
        shared_sweep.main([str(folder / "scratch"), str(folder / "sweep"), "1"])
    return written(folder)


def written(folder):
    out = folder / "sweep"
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())} if out.is_dir() else {}


def chunks(folder):
    return len(list((folder / "scratch").glob("*/*.parquet")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    files = alone(tmp_path_factory.mktemp("one"))
    assert set(files) == {"config.json", "features_color.npy", "table.parquet"}
    return files


@pytest.mark.parametrize(
    ("devices", "launcher"),
    [(2, ()), (2, ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"))],
)
def test_any_number_of_processes_gives_the_bytes_of_one(devices, launcher, whole, tmp_path):
    result, _, files = run(tmp_path, devices, launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{devices} processes\n"
    assert files == whole
    assert chunks(tmp_path) == 0


@pytest.mark.parametrize("rank", [["1"], ["0", "1"]])
def test_a_fault_of_any_process_is_one_line_and_the_rest_is_kept(rank, whole, tmp_path):
    result, lines, files = run(tmp_path, 2, "--fault", "fault", "--rank", *rank)
    assert result.returncode == 2
    assert lines == [f"error: process {rank[0]} meets a fault"]
    assert files == {}
    assert 2 <= chunks(tmp_path) < CHUNKS
    assert alone(tmp_path) == whole


def test_a_bug_keeps_its_trace_once(tmp_path):
    result, lines, _ = run(tmp_path, 2, "--fault", "bug", "--rank", "1")
    assert result.returncode == 1
    assert lines[-1] == "ZeroDivisionError: process 1 meets a bug"
    assert result.stderr.count("Traceback (most recent call last):") == 1


def test_a_killed_process_ends_the_others_and_another_number_continues(whole, tmp_path):
    result, lines, _ = run(tmp_path, 2, "--fault", "killed", "--rank", "1")
    assert result.returncode != 0
    assert len(lines) <= 1
    assert 2 <= chunks(tmp_path) < CHUNKS
    assert alone(tmp_path) == whole
