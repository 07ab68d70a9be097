"""Stage `task_models`: train classifiers, depth networks and captioners, from random or from published weights."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alit.data.imageset import ImageSet
from alit.errors import ConfigError, run_command
from alit.tasks.captioning import DualEncoder
from alit.tasks.evaluation import evaluate_trained
from alit.tasks.registry import TaskModelConfig, initial_network, save_trained
from alit.training.engine.checkpoint import resume_dir
from alit.training.engine.fabric import build_fabric, default_randomness
from alit.training.engine.loop import LOG_FILE
from alit.training.supervised import loss_for, supervised_optimization, train_supervised
from experiments.network_stage import NetworkStage

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/task_models/`, one folder per trained network.

    A rerun goes on where a killed one was; a network whose settings did not change is not trained again.
    """
    stage = NetworkStage(argv, main.__doc__)
    paths, seed = stage.paths, stage.read("seed", int)
    models = [model for model in stage.read("task_models", tuple[TaskModelConfig, ...]) if model.trained_here]
    if not models:
        shutil.rmtree(paths.task_models, ignore_errors=True)
        return paths.task_models.mkdir(parents=True)
    chosen = [(model.train_on or stage.train_set.name, model.test_on or stage.evaluation_set.name) for model in models]
    names = sorted({name for pair in chosen for name in pair})
    sets = dict(zip(names, stage.sets(names), strict=True))
    fabric = build_fabric(stage.read("device", str), devices=1)
    finished: dict[str, Path] = {}
    for model, (train, test) in zip(models, chosen, strict=True):
        manifests = [sets[name].folder / "manifest.csv" for name in (train, test)]
        scratch = resume_dir(paths.scratch, f"task_models-{model.name}", {"seed": seed, "model": model}, manifests)
        finished[model.name] = scratch / "finished"
        if not finished[model.name].is_dir():
            _train(model, sets[train], sets[test], fabric, seed, scratch / "training", finished[model.name])
    shutil.rmtree(paths.task_models, ignore_errors=True)
    for name, folder in finished.items():
        shutil.copytree(folder, paths.task_models / name)
    for folder in finished.values():
        shutil.rmtree(folder.parent)


def _train(
    model: TaskModelConfig,
    train: ImageSet,
    held_out: ImageSet,
    fabric: "Fabric",
    seed: int,
    scratch: Path,
    folder: Path,
) -> None:
    if model.kind == "depth" and train.depth([0]) is None:
        raise ConfigError(
            f"task model {model.name}: expected a set with depth in meters to train on, found {train.name}"
        )
    with default_randomness(seed, model.name, "weights"):
        network = initial_network(model, train.class_names, train.captions(range(len(train))))
    train_supervised(
        network,
        loss_for(model.kind, network),
        train,
        supervised_optimization(model.steps, model.batch_size, model.learning_rate),
        name=model.name,
        flip=True,
        crop_scale=model.crop_scale,
        fabric=fabric,
        seed=seed,
        scratch=scratch,
    )
    if isinstance(network, DualEncoder):
        network.remember()
    results = evaluate_trained(network, held_out, fabric.device)
    print(f"{model.name}: {results}", flush=True)
    save_trained(scratch / "trained", model, network, results)
    shutil.copyfile(scratch / LOG_FILE, scratch / "trained" / LOG_FILE)
    os.replace(scratch / "trained", folder)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    run_command(main)
