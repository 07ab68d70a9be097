"""Bring a profile's report up to date: `make repro`. Switches the profile, clears what a killed run left, runs DVC."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from alit.errors import ConfigError, DataError, run_command
from alit.paths import RunPaths, project_root
from experiments.leftovers import end_orphans, release_locks

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
    parser.add_argument("--target", help="bring only this stage, and what it needs, up to date")
    arguments = parser.parse_args(argv)
    root = project_root(Path.cwd())
    profile = switch_profile(root, arguments.profile)
    if arguments.init_from:
        set_start(root / "configs" / f"{profile}.yaml", arguments.init_from)
    allow_no_git(root)
    end_orphans(root)
    release_locks(root)
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # stages call plain `python`
    command = [sys.executable, "-m", "dvc", "repro", *([arguments.target] if arguments.target else [])]
    if subprocess.call(command, cwd=root, env={**ALLOCATOR, **os.environ, "PATH": tools}):
        raise DataError("the pipeline stopped at the fault above; the same command continues from there")
    print(f"The report of profile {profile}: {RunPaths(root, profile).report / 'index.html'}")


def allow_no_git(root: Path) -> None:
    """Let DVC work in a checkout without git, such as an unpacked archive; it refuses to unless told."""
    settings = root / ".dvc" / "config.local"
    if not (root / ".git").exists() and not (settings.is_file() and "no_scm" in settings.read_text()):
        subprocess.run([sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"], cwd=root, check=True)


def switch_profile(root: Path, profile: str | None) -> str:
    """Write `profile` into `params.yaml` where it differs, and return the one in force."""
    path = root / "params.yaml"
    text = path.read_text()
    current = re.search(r"^profile: *(\w+)", text, re.MULTILINE)
    if current is None:
        raise ConfigError(f"{path}: expected a line such as 'profile: cpu', found none")
    known = sorted(file.stem for file in (root / "configs").glob("*.yaml"))
    chosen = profile or current[1]
    if chosen not in known:
        raise ConfigError(f"expected a profile among {', '.join(known)}, found {chosen}")
    if chosen != current[1]:
        path.write_text(text[: current.start(1)] + chosen + text[current.end(1) :])
    return chosen


def set_start(config: Path, init_from: str) -> None:
    """Write `init_from` into a profile where it differs, and leave every other byte as it is."""
    text = config.read_text()
    changed, found = re.subn(r"^(init_from: *)[^\s#]+", rf"\g<1>{init_from}", text, count=1, flags=re.MULTILINE)
    if not found:
        raise ConfigError(f"{config}: expected a line such as 'init_from: scratch', found none")
    if changed != text:
        config.write_text(changed)


if __name__ == "__main__":
    run_command(main)
