"""Look for everything that a profile needs before anything runs: `make check`, and the first step of `make repro`.

Nothing is downloaded, and no host is asked but one question each to those that would have to send missing weights.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from alit.data.prepare import DataConfig
from alit.errors import DataError, run_command
from alit.paths import RunPaths, project_root
from alit.settings import parse_settings, read_yaml
from alit.tasks.weights import TaskModelConfig
from experiments.needs.checkpoints import base_needs, baseline_needs, checkpoint_needs, training_needs, variant_needs
from experiments.needs.image_sets import image_set_needs
from experiments.needs.machine import device_needs, disk_needs, estimates
from experiments.needs.need import ESTIMATE, Need
from experiments.needs.networks import network_needs


def main(argv: Sequence[str] | None = None) -> None:
    """Print what a profile needs and what of it is there; exit 2 where something is missing."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "profile", nargs="?", help="a file of configs/ without its suffix; by default as in params.yaml"
    )
    parser.add_argument("--init-from", help="a checkpoint to look for in place of the profile's")
    arguments = parser.parse_args(argv)
    root = project_root(Path.cwd())
    profile = arguments.profile or str(read_yaml(root / "params.yaml")["profile"])
    paths = RunPaths(root, profile)
    needs = [*find_needs(paths, arguments.init_from), *estimates(paths, arguments.init_from)]
    print(table(profile, needs), flush=True)
    require_all(profile, needs)


def find_needs(paths: RunPaths, init_from: str | None = None) -> list[Need]:
    """Return everything that the profile needs, in the order of its sections; `init_from` replaces the profile's.

    Raises:
        ConfigError: a section that is read here is missing or wrong.
    """
    profile = read_yaml(paths.config)
    if not isinstance(profile, dict):
        profile = {}
    if init_from:
        profile["init_from"] = init_from
    source = str(paths.config)
    data = parse_settings(DataConfig, profile.get("data"), source=f"{source}: data")
    models = parse_settings(tuple[TaskModelConfig, ...], profile.get("task_models"), source=f"{source}: task_models")
    return [
        *image_set_needs(data, paths),
        *checkpoint_needs(profile, paths.root),
        *training_needs(profile, paths),
        *baseline_needs(profile, paths.root),
        *variant_needs(profile, paths.root),
        *base_needs(profile, paths.root),
        *network_needs(models, profile, paths.root),
        *device_needs(profile),
        *disk_needs(data, models, paths),
    ]


def require_all(profile: str, needs: Iterable[Need]) -> None:
    """Check that nothing is missing.

    Raises:
        DataError: something is; the message names it all, and the table above it has the remedies.
    """
    missing = [need.name for need in needs if need.remedy]
    if missing:
        raise DataError(
            f"expected all that profile {profile} needs, {len(missing)} missing: {', '.join(missing)}; the lines above "
            "say how to get each"
        )


def table(profile: str, needs: Sequence[Need]) -> str:
    """Return needs as a table of text, and below it what to do for those that are missing, what is alike together."""
    rows = [("", f"profile {profile}", "needed", "found")]
    for need in needs:
        state = "missing" if need.remedy else "about" if need.kind == ESTIMATE else "ok"
        rows.append((state, f"{need.kind} {need.name}", need.needed, need.found))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    remedies: dict[str, list[str]] = {}
    for need in needs:
        if need.remedy:
            remedies.setdefault(need.remedy, []).append(need.name)
    lines += [f"- {', '.join(dict.fromkeys(names))}: {remedy}" for remedy, names in remedies.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
