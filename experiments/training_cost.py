"""What all trainings of a profile cost: `python -m experiments.training_cost <profile> [-o FILE]`.

Operations are counted by torch on tensors without contents, in minutes and without a GPU: forward and backward passes
with what the profile's `execution` computes twice; loading, optimizers, sweeps and studies count nothing.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from alit.cli import path
from alit.config import Profile, load_profile
from alit.errors import ConfigError, run_command
from alit.files import require_own, write_whole
from alit.paths import RunPaths, project_root
from alit.tasks.perceptual import build_untrained_trunk
from alit.training import variants
from alit.training.cost import CostCounter, TrainingCost

TERA = 1e12
HOUR = 3600
KNOWN = 350.0  # TFLOP/s that one H100 sustains in mixed precision, about a third of its peak: an assumption


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row per training and the total."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("--teraflops", type=float, default=KNOWN, help="what a GPU sustains (default: %(default)s)")
    parser.add_argument("-o", "--output", type=path, help="also write the numbers as JSON")
    arguments = parser.parse_args(argv)
    if arguments.output:
        require_own(arguments.output, b"settings_sha256")
    profile = load_profile(RunPaths(project_root(), arguments.profile).config)
    rows = list(count(profile))
    print(table(rows, arguments.teraflops))
    if arguments.output is not None:
        text = json.dumps(record(profile, rows, arguments.teraflops), indent=2) + "\n"
        write_whole(arguments.output, text.encode())


class Row(NamedTuple):
    """What one training costs that no row before has paid for."""

    name: str
    cost: TrainingCost
    note: str


def count(profile: Profile) -> Iterator[Row]:
    """Yield the cost of the profile's own training and of each variant's; what they share is in the first to need it.

    Raises:
        ConfigError: the profile trains nothing.
    """
    own = profile.training
    if own is None:
        raise ConfigError("expected a profile that trains, found one without training sections")
    counter = CostCounter(build_untrained_trunk, profile.execution)
    yield Row("the profile's own", counter(variants.with_published_base(own)), "")
    bases = {_base_key(own)}
    entries = [(entry, seed) for entry in profile.variants.trainings for seed in entry.seeds]
    for entry, seed in tqdm(entries, unit="training", disable=None):
        name = f"{entry.name}, seed {seed}"
        varied = variants.vary_training(own, profile.variants, entry.name)
        if seed in entry.checkpoints or variants.is_own(varied, own, seed) or variants.is_stage_1(varied, own, seed):
            yield Row(name, TrainingCost(0.0, 0.0, 0.0), "not trained again")
            continue
        cost, note = counter(variants.with_published_base(varied)), ""
        if _base_key(varied) in bases:
            cost = cost._replace(base=0.0)
        else:
            note = "with a base of its own"
        bases.add(_base_key(varied))
        yield Row(name, cost, note)


def _base_key(settings: variants.TrainingSettings) -> str:
    return settings.tokenizer.base.model_dump_json() + settings.base_training.model_dump_json()


def table(rows: Sequence[Row], teraflops: float) -> str:
    """Return the rows and their sum as text."""
    total = TrainingCost(*map(sum, zip(*(row.cost for row in rows), strict=True)))
    lines = [f"{'training':40} {'base':>9} {'stage 1':>9} {'stage 2':>9} {'FLOP':>9} {'GPU-hours':>10}"]
    for name, cost, note in [*rows, Row("total", total, f"at {teraflops:g} TFLOP/s")]:
        parts = " ".join(f"{part:9.2e}" for part in (*cost, cost.total))
        lines.append(f"{name:40} {parts} {hours(cost.total, teraflops):10.0f}  {note}".rstrip())
    return "\n".join(lines)


def hours(operations: float, teraflops: float) -> float:
    """Return the GPU-hours of so many operations."""
    return operations / (teraflops * TERA) / HOUR


def record(profile: Profile, rows: Sequence[Row], teraflops: float) -> dict[str, Any]:
    """Return the numbers with a digest of all settings that they depend on."""
    total = sum(row.cost.total for row in rows)
    return {
        "settings_sha256": settings_sha256(profile),
        "teraflops": teraflops,
        "trainings": {row.name: row.cost._asdict() for row in rows},
        "total": total,
        "gpu_hours": hours(total, teraflops),
    }


def settings_sha256(profile: Profile) -> str:
    """Return a digest of the settings that the operations of a profile's trainings depend on."""
    content = profile.model_dump(mode="json")
    sections = ("tokenizer", "perceptual_trunk", "base_training", "distill", "finetune", "variants", "init_from")
    read = {name: content[name] for name in sections} | {"twice": profile.execution.checkpoint_activations}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    run_command(main)
