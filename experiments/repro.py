"""Bring a profile's report up to date: `make repro`. Switches the profile, then runs DVC in this process."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from alit.errors import ConfigError, DataError, run_command
from alit.files import write_whole
from alit.paths import RunPaths, project_root
from alit.settings import read_yaml
from experiments.check import find_needs, require_all, table
from experiments.needs.machine import find_gpus, memory_needs
from experiments.stage import end_with_parent

# glibc gives freed tensors back to the system and faults them in again at each step; keeping them saves a fifth of a
# base step's time here. Other C libraries ignore these.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_MMAP_THRESHOLD_": "33554432"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run `dvc repro` for one profile and print where its report is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "profile", nargs="?", help="a file of configs/ without its suffix; by default as in params.yaml"
    )
    parser.add_argument("--init-from", help="'scratch', or a checkpoint such as zoo/alit-scenes; kept in the profile")
    parser.add_argument(
        "--public", action="store_true", help="leave out of the report pictures whose terms forbid publishing them"
    )
    parser.add_argument("--target", help="bring only this stage, and what it needs, up to date")
    arguments = parser.parse_args(argv)
    root = project_root(Path.cwd())
    require_git_trust(root)
    profile = switch_profile(root, arguments.profile)
    set_value(root / "params.yaml", "pictures", "publishable" if arguments.public else "all")
    if arguments.init_from:
        set_value(root / "configs" / f"{profile}.yaml", "init_from", arguments.init_from)
    allow_no_git(root)
    if "MAKELEVEL" in os.environ:
        end_with_parent()  # a killed make leaves nothing at work either
    check(RunPaths(root, profile), arguments.target)
    if run_dvc(root, ["repro", *([arguments.target] if arguments.target else [])]):
        raise DataError("the pipeline stopped at the fault above; the same command continues from there")
    print(f"The report of profile {profile}: {RunPaths(root, profile).report / 'index.html'}")


def check(paths: RunPaths, target: str | None) -> None:
    """Check that all is there that the stages to come need, before any of them runs.

    Raises:
        DataError: something is missing; a table above the message says how to get it.
    """
    needs = find_needs(paths)
    if find_gpus() and not paths.tokenizer.exists():  # trainings are to come
        from alit.config import load_profile  # it loads torch

        needs += memory_needs(load_profile(paths.config), paths.profile)
    if any(need.remedy for need in needs):  # asking DVC takes seconds: only where it matters
        pending = pending_stages(paths.root, target)
        needs = [need for need in needs if need.stages & pending or not need.remedy]
    if any(need.remedy for need in needs) or not paths.claims.exists():
        print(table(paths.profile, needs), flush=True)
    require_all(paths.profile, needs)


def pending_stages(root: Path, target: str | None) -> set[str]:
    """Return the names of the stages that `dvc repro` may run: those that have changed, and all that build on them."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        changed = {name.rpartition(":")[2] for name in repo.status()}
        graph: Any = repo.index.graph  # from each stage to those that it depends on
        wanted = {stage.name for stage in graph}
        if target is not None:
            wanted = {stage.name for one in graph if one.name == target for stage in _reachable(graph, one)}
        pending = {stage.name for stage in graph if any(one.name in changed for one in _reachable(graph, stage))}
    return pending & wanted


def _reachable(graph: Any, stage: Any) -> set[Any]:
    """Return a stage and all that it depends on, directly or not."""
    found, todo = set(), [stage]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo.extend(graph.successors(one))
    return found


def run_dvc(root: Path, command: list[str]) -> int:
    """Run a DVC command in this process, which a kill then ends together with its stage; return its exit status."""
    from dvc.cli import main as dvc

    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # stages call plain `python`
    os.environ.update({**ALLOCATOR, **os.environ, "PATH": tools})
    os.chdir(root)
    return dvc(command)


def allow_no_git(root: Path) -> None:
    """Let DVC work in a checkout without git, such as an unpacked archive; it refuses to unless told."""
    settings = root / ".dvc" / "config.local"
    if not (root / ".git").exists() and not (settings.is_file() and "no_scm" in settings.read_text()):
        subprocess.run([sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"], cwd=root, check=True)


def require_git_trust(root: Path) -> None:
    """Check that git works in a checkout that another user may own, as in containers and on shared disks.

    DVC stages its lock file with git after each stage, and would stop there.

    Raises:
        DataError: git refuses; the message has the command that cures it.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return
    asked = subprocess.run(
        [git, "-C", str(root), "rev-parse", "--git-dir"], capture_output=True, text=True, check=False
    )
    if asked.returncode and "safe.directory" in asked.stderr:
        raise DataError(
            f"expected a checkout that git trusts, found {root} owned by another user; "
            f"run: git config --global --add safe.directory {shlex.quote(str(root))}"
        )


def switch_profile(root: Path, profile: str | None) -> str:
    """Write `profile` into `params.yaml` where it differs, and return the one in force.

    Raises:
        ConfigError: no file of configs/ has that name.
    """
    path = root / "params.yaml"
    chosen = profile or str(read_yaml(path)["profile"])
    known = sorted(file.stem for file in (root / "configs").glob("*.yaml"))
    if chosen not in known:
        raise ConfigError(f"expected a profile among {', '.join(known)}, found {chosen}")
    set_value(path, "profile", chosen)
    return chosen


def set_value(path: Path, key: str, value: str) -> None:
    """Write one top-level value of a YAML file where it differs; every other byte stays, comments included.

    Raises:
        ConfigError: the file has no such key.
    """
    text = path.read_text(encoding="utf-8")
    found = {name.value: node for name, node in yaml.compose(text).value}
    if key not in found:
        raise ConfigError(f"{path}: expected the key {key}, found none")
    node = found[key]
    if node.value != value:
        print(f"{path.name}: {key}: {value} in place of {node.value}", flush=True)
        scalar = yaml.safe_dump(value).splitlines()[0]  # quoted where YAML needs it
        write_whole(path, (text[: node.start_mark.index] + scalar + text[node.end_mark.index :]).encode())


if __name__ == "__main__":
    run_command(main)
