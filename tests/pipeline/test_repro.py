"""`make repro`: switches the profile in one word, and continues after a kill."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkout import ROOT

from alit.errors import ConfigError, DataError
from alit.settings import read_yaml
from experiments.repro import allow_no_git, require_git_trust, set_value, switch_profile

SLOW_STAGE = """
import os, pathlib, sys, time
from experiments.stage import Stage
Stage(sys.argv[1:], "")
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
    for profile in ("smoke", "cpu", "my-run"):
        (tmp_path / "configs").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "configs" / "smoke.yaml", tmp_path / "configs" / f"{profile}.yaml")
    (tmp_path / "params.yaml").write_text("profile: cpu # smoke | cpu\npictures: all\nstudies:\n- tsc_toi\n")
    (tmp_path / "stage.py").write_text(SLOW_STAGE)
    stage = "{cmd: 'python stage.py ${profile}', deps: [stage.py], outs: [out.txt]}"
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  slow: {stage}\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    return tmp_path


def start(checkout: Path, *arguments: str, shell: str = "/bin/sh") -> subprocess.Popen:
    """Start `make repro`'s script, with log.txt for what it prints."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(checkout / "site"),
        "ALIT_DATA": str(checkout / "sets"),
        "SHELL": shell,  # DVC runs stages in it
    }
    environment.pop("MAKELEVEL", None)
    command = [sys.executable, "-m", "experiments.repro", *arguments]
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


def test_a_profile_may_have_any_name_that_a_file_may_have(checkout):
    before = (checkout / "params.yaml").read_text()
    for name in ("my-run", "my-run", "cpu"):
        assert switch_profile(checkout, name) == name
        assert read_yaml(checkout / "params.yaml") == {"profile": name, "pictures": "all", "studies": ["tsc_toi"]}
    assert (checkout / "params.yaml").read_text() == before


def test_the_profile_in_force_leaves_the_file_untouched(checkout):
    stamp = (checkout / "params.yaml").stat().st_mtime_ns
    assert switch_profile(checkout, "cpu") == "cpu"
    assert (checkout / "params.yaml").stat().st_mtime_ns == stamp


def test_where_training_starts_from_changes_in_one_word_and_is_told(checkout, capsys):
    config = checkout / "configs" / "cpu.yaml"
    config.write_text("seed: 0\ninit_from:   zoo/some # why\nabout: {init_from: no}\n")
    set_value(config, "init_from", "scratch")
    assert config.read_text() == "seed: 0\ninit_from:   scratch # why\nabout: {init_from: no}\n"
    assert capsys.readouterr().out == "cpu.yaml: init_from: scratch in place of zoo/some\n"
    set_value(config, "init_from", "null")
    assert read_yaml(config)["init_from"] == "null"
    config.write_text("seed: 0\n")
    with pytest.raises(ConfigError, match="expected the key init_from, found none"):
        set_value(config, "init_from", "scratch")


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


def test_a_checkout_that_git_does_not_trust_is_told_with_the_cure_before_any_work(checkout, monkeypatch):
    for variable in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(variable, os.devnull)
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    require_git_trust(checkout)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(DataError, match=f"git config --global --add safe.directory {checkout}$"):
        require_git_trust(checkout)


def test_an_empty_variable_of_make_is_unset():
    command = ["make", "--no-print-directory", "-n", "clean", "VENV=", "PYTHON="]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("rm -rf .venv ")


def test_an_unknown_profile_names_the_known_ones(checkout):
    with pytest.raises(ConfigError, match="expected a profile among cpu, my-run, smoke, found smok"):
        switch_profile(checkout, "smok")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_killed_run_takes_its_stage_with_it_and_the_next_one_continues(checkout, shell):
    (checkout / "slow").touch()
    first = start(checkout, shell=shutil.which(shell) or pytest.skip(f"no {shell} here"))
    wait_for(lambda: (checkout / "state.txt").exists())
    stages = descendants(first, "stage.py")
    assert stages
    first.kill()
    first.wait()
    wait_for(lambda: not any(has_not_ended(stage) for stage in stages))
    (checkout / "slow").unlink()
    second = start(checkout)
    output = finish(second, checkout)
    assert second.returncode == 0, output
    assert "continues from 0" not in output
    assert (checkout / "out.txt").read_text() == "cpu"


@pytest.mark.slow
def test_a_fault_in_a_stage_is_told_in_one_line(checkout):
    (checkout / "stage.py").write_text("raise SystemExit(3)\n")
    process = start(checkout, "my-run")
    assert finish(process, checkout).splitlines()[-1].startswith("error: the pipeline stopped at the fault above")
    assert process.returncode == 2


@pytest.mark.slow
def test_a_finished_run_does_nothing_the_second_time(checkout):
    first = finish(start(checkout, "my-run"), checkout)
    second = finish(start(checkout), checkout)
    assert "Running stage 'slow'" in first
    assert "Running stage" not in second
    assert "Data and pipelines are up to date" in second
    assert second.splitlines()[-1] == f"The report of profile my-run: {checkout / 'reports' / 'my-run' / 'index.html'}"


@pytest.mark.slow
def test_nothing_runs_while_something_is_missing_and_a_finished_run_needs_nothing_more(checkout):
    stages = (checkout / "dvc.yaml").read_text().replace("slow:", "data:")
    (checkout / "dvc.yaml").write_text(stages)
    config = checkout / "configs" / "my-run.yaml"
    scenes = "source: scenes, path: null, variant: base, split: train, images: 384"
    assert scenes in config.read_text()
    photographs = "source: folder, path: photographs, variant: base, split: train, images: 2"
    config.write_text(config.read_text().replace(scenes, photographs))
    refused = start(checkout, "my-run")
    output = finish(refused, checkout)
    assert refused.returncode == 2
    assert "Running stage" not in output
    assert output.splitlines()[-1].startswith("error: expected all that profile my-run needs, 1 missing: train;")
    for number in range(2):
        (checkout / "data" / "photographs").mkdir(parents=True, exist_ok=True)
        (checkout / "data" / "photographs" / f"{number}.png").touch()
    assert "Running stage 'data'" in finish(start(checkout), checkout)
    shutil.rmtree(checkout / "data")
    again = start(checkout)
    assert "Data and pipelines are up to date" in finish(again, checkout)
    assert again.returncode == 0
