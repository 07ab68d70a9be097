"""Stages that share their work among processes: the same files as one process writes, and no process left behind."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from checkout import ROOT
from one_thread import one_thread
from scene_project import save_fixed_length_pair, save_tokenizer, scene_project

from experiments import measure, sweep, task_models

STAGES = {"measure": measure, "sweep": sweep}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("ALIT_SCRATCH", raising=False)
        paths = scene_project(folder)
        task_models.main(["tiny"])
        save_tokenizer(paths)
        save_fixed_length_pair(paths)
    return paths


def ask_for(paths, devices):
    content = yaml.safe_load(paths.config.read_text()) | {"device": "cpu", "devices": devices}
    paths.config.write_text(yaml.safe_dump(content))


def start(paths, devices, *arguments):
    """Start a stage as its command does, with so many processes of one thread."""
    ask_for(paths, devices)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("ALIT_SCRATCH", None)
    command = [sys.executable, "-m", f"experiments.{arguments[0]}", "tiny", *arguments[1:]]
    return subprocess.Popen(command, cwd=paths.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish_in_two(paths, *arguments):
    process = start(paths, 2, *arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output.decode()


def finish_alone(paths, stage, *arguments):
    """Run a stage in this process."""
    ask_for(paths, 1)
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.chdir(paths.root)
        patch.delenv("ALIT_SCRATCH", raising=False)
        STAGES[stage].main(["tiny", *arguments])


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_processes_write_the_sweep_that_one_writes(paths):
    finish_alone(paths, "sweep")
    expected = files(paths.sweep)
    finish_in_two(paths, "sweep")
    assert files(paths.sweep) == expected


@pytest.mark.parametrize("study", ["attention", "codebook", "probe"])
def test_two_processes_measure_what_one_measures(study, paths):
    finish_alone(paths, "measure", study)
    expected = files(paths.measured(study))
    assert len(expected) >= 2
    finish_in_two(paths, "measure", study)
    assert files(paths.measured(study)) == expected
    assert not any(paths.scratch.glob(f"{study}-*"))


def test_no_process_outlives_a_killed_stage_and_one_process_continues(paths):
    process = start(paths, 2, "sweep")
    parts = paths.scratch.rglob
    limit = time.monotonic() + 120
    while not any(parts("sweep-*/*.parquet")) and time.monotonic() < limit:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(children) == 1
    assert psutil.wait_procs(children, timeout=10)[1] == []
    kept = {path: path.stat().st_mtime_ns for path in parts("sweep-*/*.parquet")}
    assert kept
    expected = files(paths.sweep)
    finish_alone(paths, "sweep")
    assert files(paths.sweep) == expected
