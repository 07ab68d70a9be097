"""Plan the GPU memory of a profile's trainings: `python -m experiments.memory PROFILE [-o FILE]`; run by no stage.

Needs neither a GPU nor data nor weights. Prints a row for each stage of the profile, at the micro-batches of its
section `execution`, and with `--variants` for each variant that differs in size or objective. Writes the same in bytes
as JSON.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from tqdm import tqdm

from alit.cli import path
from alit.config import Profile, load_profile
from alit.errors import ConfigError, run_command
from alit.files import require_own, write_whole
from alit.models.losses import PerceptualDistance
from alit.paths import RunPaths, project_root
from alit.tasks.perceptual import build_untrained_trunk
from alit.training.engine.execution import split_rows
from alit.training.memory import STAGES, Stage, plan_memory
from alit.training.variants import TrainingSettings, shares_base, vary_training, with_published_base


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and, if there is a file for it, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="name of a file in configs/, without .yaml")
    parser.add_argument("--variants", action="store_true", help="plan the profile's variants too")
    parser.add_argument("-o", "--output", type=path, help="JSON file to write")
    arguments = parser.parse_args(argv)
    if arguments.output:
        require_own(arguments.output, b"experiments.memory")
    profile = load_profile(RunPaths(project_root(), arguments.profile).config)
    if profile.training is None:
        raise ConfigError(f"expected a profile that trains, found {arguments.profile}, which leaves that out")
    trainings = list(distinct_trainings(profile, profile.training, variants=arguments.variants))
    rows = [plan_row(profile, *training) for training in tqdm(trainings, desc="memory", unit="stage")]
    table = pd.DataFrame(rows)
    gigabytes = ["weights", "optimizer", "buckets", "step", "total"]
    print(f"GB (10^9 bytes) on each of {profile.devices} GPUs, without CUDA's context and the workspaces of kernels")
    print(table.assign(**{name: (table[name] / 1e9).round(1) for name in gigabytes}).to_string(index=False))
    if arguments.output:
        result = {"command": f"python -m experiments.memory {arguments.profile}", "rows": rows}
        write_whole(arguments.output, (json.dumps(result, indent=2) + "\n").encode())


def distinct_trainings(
    profile: Profile, own: TrainingSettings, *, variants: bool
) -> Iterator[tuple[str, TrainingSettings, Stage]]:
    """Yield name, settings and stage of each training that needs other memory than those before."""
    entries = profile.variants.trainings if variants else ()
    names = [each.name for each in entries if len(each.checkpoints) < len(each.seeds)]
    trainings = {name: vary_training(own, profile.variants, name) for name in names}
    seen = set()
    for name, settings in {"profile": own, **trainings}.items():
        for stage, (section, _) in STAGES.items():
            config = getattr(settings, section)
            base = settings.tokenizer.base
            made = stage == "base" and (base.pretrained or (settings is not own and shares_base(settings, own)))
            if made or config.optimization.steps == 0:
                continue
            objective = config.model_dump(mode="json", exclude={"optimization"})
            batch = (config.optimization.batch_size, config.optimization.precision)
            key = json.dumps([stage, settings.tokenizer.model_dump(mode="json"), objective, batch], sort_keys=True)
            if key not in seen:
                seen.add(key)
                yield name, settings, stage


def plan_row(profile: Profile, name: str, settings: TrainingSettings, stage: Stage) -> dict[str, Any]:
    """Return a row of the table, in bytes.

    Raises:
        CheckpointError: a published base tokenizer, whose size its own file states, is not found.
    """
    settings = with_published_base(settings)
    config = getattr(settings, STAGES[stage][0])
    share = math.ceil(config.optimization.batch_size / profile.devices)
    parts = split_rows(share, getattr(profile.execution.micro_batch, stage))
    accumulation, micro_batch = len(parts), max(part.stop - part.start for part in parts)
    weighted = getattr(config, "perceptual_weight", 0.0) > 0
    plan = plan_memory(
        settings,
        stage,
        micro_batch=micro_batch,
        accumulation=accumulation,
        checkpoint_activations=profile.execution.checkpoint_activations,
        processes=profile.devices,
        perceptual=PerceptualDistance(build_untrained_trunk(settings.perceptual_trunk)) if weighted else None,
    )
    size = settings.tokenizer.distillation
    return {
        "training": name,
        "stage": stage,
        "layers": size.layers,
        "width": size.width,
        "images_at_once": micro_batch,
        "micro_batches": accumulation,
        **plan._asdict(),
        "total": plan.total,
    }


if __name__ == "__main__":
    run_command(main)
