"""`make repro`: switches the profile in one word, and continues after a kill."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkout import ROOT

from alit.errors import ConfigError
from experiments.leftovers import LOCKS, end_orphans, is_dvc, release_locks
from experiments.repro import allow_no_git, set_start, switch_profile

SLOW_STAGE = """
import os, pathlib, sys, time
state = pathlib.Path("state.txt")
done = int(state.read_text()) if state.exists() else 0
print("continues from", done, flush=True)
while done < 4 or (done < 2000 and pathlib.Path("slow").exists()):
    time.sleep(0.25)
    done += 1
    pathlib.Path("state.tmp").write_text(str(done))
    os.replace("state.tmp", state)  # a kill in the middle of a write leaves the state before
pathlib.Path("out.txt").write_text(sys.argv[1])
state.unlink()
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without git and with one stage that saves its state."""
    for profile in ("smoke", "cpu"):
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / f"{profile}.yaml").touch()
    (tmp_path / "params.yaml").write_text("profile: cpu # smoke | cpu\nstudies:\n- tsc_toi\n")
    (tmp_path / "stage.py").write_text(SLOW_STAGE)
    stage = "{cmd: 'python stage.py ${profile}', deps: [stage.py], outs: [out.txt]}"
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  slow: {stage}\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    return tmp_path


def start(checkout: Path) -> subprocess.Popen:
    """Start `make repro`'s script, with log.txt for what it prints."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(checkout / "site"),
    }
    command = [sys.executable, "-m", "experiments.repro"]
    # A file rather than a pipe: what outlives the process would keep a pipe open.
    with (checkout / "log.txt").open("w") as log:
        return subprocess.Popen(command, cwd=checkout, env=environment, stdout=log, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen, checkout: Path) -> str:
    """Wait for a run and return what it printed."""
    process.wait()
    return (checkout / "log.txt").read_text()


def wait_for(condition, seconds: float = 60) -> None:
    """Wait until something is so; how long it takes is not part of any test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def descendants(process: subprocess.Popen, word: str) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if any(Path(part).name == word for part in child.cmdline())]


def has_not_ended(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_switching_changes_one_word(checkout):
    before = (checkout / "params.yaml").read_text()
    assert switch_profile(checkout, "smoke") == "smoke"
    assert (checkout / "params.yaml").read_text() == before.replace("profile: cpu", "profile: smoke")
    assert switch_profile(checkout, None) == "smoke"


def test_the_profile_in_force_leaves_the_file_untouched(checkout):
    stamp = (checkout / "params.yaml").stat().st_mtime_ns
    assert switch_profile(checkout, "cpu") == "cpu"
    assert (checkout / "params.yaml").stat().st_mtime_ns == stamp


def test_where_training_starts_from_changes_in_one_word(checkout):
    config = checkout / "configs" / "cpu.yaml"
    config.write_text("seed: 0\ninit_from: zoo/some # why\ndevice: auto\n")
    set_start(config, "scratch")
    assert config.read_text() == "seed: 0\ninit_from: scratch # why\ndevice: auto\n"
    config.write_text("seed: 0\n")
    with pytest.raises(ConfigError, match="'init_from: scratch', found none"):
        set_start(config, "scratch")


def test_a_checkout_without_git_is_told_so_once_and_one_with_git_is_left_alone(checkout):
    settings = checkout / ".dvc" / "config.local"
    (checkout / ".git").mkdir()
    allow_no_git(checkout)
    assert not settings.exists()
    (checkout / ".git").rmdir()
    allow_no_git(checkout)
    assert "no_scm = true" in settings.read_text()
    stamp = settings.stat().st_mtime_ns
    allow_no_git(checkout)
    assert settings.stat().st_mtime_ns == stamp


def test_an_unknown_profile_names_the_known_ones(checkout):
    with pytest.raises(ConfigError, match="expected a profile among cpu, smoke, found smok"):
        switch_profile(checkout, "smok")


DEAD = '{"write": {"/a": {"pid": 4194304, "cmd": "dvc repro"}}, "read": {}}'


@pytest.mark.parametrize("content", ["", DEAD[:20], DEAD])
def test_locks_that_nobody_holds_are_forgotten(checkout, content):
    (checkout / LOCKS).parent.mkdir()
    (checkout / LOCKS).write_text(content)
    release_locks(checkout)
    assert not (checkout / LOCKS).exists()


def test_a_lock_whose_number_another_program_has_is_forgotten(checkout):
    (checkout / LOCKS).parent.mkdir()
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    (checkout / LOCKS).write_text(json.dumps({"write": {"/a": holder}, "read": {"/b": [holder]}}))
    assert not is_dvc(psutil.Process())
    release_locks(checkout)
    assert not (checkout / LOCKS).exists()


def test_only_stages_of_this_checkout_without_a_run_are_ended(checkout, capsys):
    def sleeper(**environment: str) -> subprocess.Popen:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        return subprocess.Popen(command, env={**os.environ, **environment})

    orphan = sleeper(DVC_ROOT=str(checkout), DVC_STAGE="slow")
    elsewhere = sleeper(DVC_ROOT=str(checkout.parent), DVC_STAGE="slow")
    unrelated = sleeper()
    try:
        wait_for(lambda: "DVC_STAGE" in psutil.Process(orphan.pid).environ())
        end_orphans(checkout)
        assert orphan.poll() is not None
        assert elsewhere.poll() is None
        assert unrelated.poll() is None
        assert "left over from a killed run" in capsys.readouterr().out
    finally:
        for process in (orphan, elsewhere, unrelated):
            process.kill()
            process.wait()


def test_a_run_whose_dvc_was_killed_continues(checkout):
    (checkout / "slow").touch()
    first = start(checkout)
    wait_for(lambda: (checkout / "state.txt").exists() and (checkout / LOCKS).exists())
    stages = descendants(first, "stage.py")
    for process in descendants(first, "dvc"):
        process.kill()
    assert finish(first, checkout).splitlines()[-1].startswith("error: the pipeline stopped")
    assert first.returncode == 2
    second = start(checkout)
    # Let go any sooner, the stage could end by itself before the second run ends it.
    wait_for(lambda: not any(has_not_ended(stage) for stage in stages))
    (checkout / "slow").unlink()
    output = finish(second, checkout)
    assert second.returncode == 0, output
    assert "left over from a killed run" in output
    assert "continues from 0" not in output
    assert (checkout / "out.txt").read_text() == "cpu"


def test_a_run_beside_another_waits_for_it(checkout):
    (checkout / "slow").touch()
    first = start(checkout)
    wait_for(lambda: (checkout / "state.txt").exists() and (checkout / LOCKS).exists())
    first.kill()  # its dvc works on
    first.wait()
    second = start(checkout)
    wait_for(lambda: "Waiting for process" in (checkout / "log.txt").read_text())
    (checkout / "slow").unlink()
    output = finish(second, checkout)
    assert second.returncode == 0, output
    assert "Running stage" not in output


def test_a_finished_run_does_nothing_the_second_time(checkout):
    first = finish(start(checkout), checkout)
    second = finish(start(checkout), checkout)
    assert "Running stage 'slow'" in first
    assert "Running stage" not in second
    assert "Data and pipelines are up to date" in second
    assert second.splitlines()[-1] == f"The report of profile cpu: {checkout / 'reports' / 'cpu' / 'index.html'}"
