"""Stage `baselines`: sweep other tokenizers and other trainings of the profile's, each exactly as its own is."""

import shutil
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from alit.data.imageset import read_cards
from alit.errors import run_command
from alit.sweep.engine import SweepConfig, SweepJob, move_whole, sweep_many
from alit.tasks.registry import TaskModelConfig, build_task_models
from alit.tokenizer.adapters import BaselinesConfig, load_tokenizer
from alit.training.engine.processes import fail_together
from experiments.network_stage import NetworkStage
from experiments.sweep import record_sets

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/baselines/<name>/`: table.parquet, features_<extractor>.npy, config.json of each."""
    stage = NetworkStage(argv, main.__doc__)
    config = stage.read("baselines", BaselinesConfig)
    if not config.tokenizers and not config.trainings:
        shutil.rmtree(stage.paths.baselines, ignore_errors=True)
        return stage.paths.baselines.mkdir(parents=True)
    fabric = stage.fabric()
    with fail_together(fabric):
        _sweep_baselines(stage, fabric)


def _sweep_baselines(stage: NetworkStage, fabric: "Fabric") -> None:
    paths, device = stage.paths, fabric.device
    config = stage.read("baselines", BaselinesConfig)
    swept = [card for card in read_cards(paths.data) if card.swept]
    cards = [card for card in swept if card.name in config.sets]
    settings = stage.read("sweep", SweepConfig)
    models = build_task_models(stage.read("task_models", tuple[TaskModelConfig, ...]), paths.task_models, device)
    load = partial(load_tokenizer, folder=paths.run, image_size=stage.evaluation_set.image_size, device=device)
    scratch = paths.scratch / f"baselines-{paths.profile}"
    jobs = {
        entry.name: SweepJob(
            partial(load, stage.target(entry.target), entry.arguments, options=entry.options),
            {"baseline": entry.model_dump(), "sets": record_sets(cards)},
        )
        for entry in config.tokenizers
    }
    for entry in config.trainings:  # on all sets, as the profile's own
        jobs[entry.name] = SweepJob(
            partial(load, stage.target(entry.target), {}),
            {"training": entry.model_dump(), "sets": record_sets(swept)},
            stage.sets([card.name for card in swept]),
        )
    finished = sweep_many(
        jobs,
        stage.sets(config.sets),
        models.tasks,
        models.extractors,
        config=settings,
        scratch=scratch,
        fabric=fabric,
        training=stage.train_set if settings.reads_training_images else None,
    )
    if fabric.is_global_zero:
        move_whole(finished, paths.baselines)
        shutil.rmtree(scratch)


if __name__ == "__main__":
    run_command(main)
