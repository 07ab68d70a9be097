"""Stage `sweep`: measure every evaluation image at every length with every task, once."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alit.data.imageset import SetDescription, read_cards
from alit.errors import run_command
from alit.sweep.engine import SweepConfig, sweep
from alit.tasks.registry import TaskModelConfig, build_task_models
from alit.tokenizer.adapters import load_tokenizer, read_target
from alit.tokenizer.length_predictor import find_length_predictor
from alit.tokenizer.origin import read_origin
from alit.tokenizer.protocol import Tokenizer
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.processes import fail_together
from experiments.network_stage import NetworkStage

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/sweep/`: table.parquet, features_<extractor>.npy, config.json."""
    stage = NetworkStage(argv, main.__doc__)
    fabric = stage.fabric()
    with fail_together(fabric):
        _sweep(stage, fabric)


def _sweep(stage: NetworkStage, fabric: "Fabric") -> None:
    paths = stage.paths
    cards = [card for card in read_cards(paths.data) if card.swept]
    tokenizer = load_tokenizer(
        "tokenizer", {}, folder=paths.run, image_size=stage.evaluation_set.image_size, device=fabric.device
    )
    if isinstance(tokenizer, AdaptiveTokenizer):
        tokenizer.length_predictor = find_length_predictor(paths.length_predictor)
    models = build_task_models(stage.read("task_models", tuple[TaskModelConfig, ...]), paths.task_models, fabric.device)
    config = stage.read("sweep", SweepConfig)
    sweep(
        tokenizer,
        stage.sets([card.name for card in cards]),
        models.tasks,
        models.extractors,
        config=config,
        scratch=paths.scratch,
        out=paths.sweep,
        fabric=fabric,
        training=stage.train_set if config.reads_training_images else None,
        settings={
            "profile": paths.profile,
            "origin": None if (origin := read_origin(paths.tokenizer)) is None else origin.model_dump(),
            "tokenizer_settings": _settings(tokenizer, paths.tokenizer),
            "sets": record_sets(cards),
        },
    )


def _settings(tokenizer: Tokenizer, folder: Path) -> dict[str, Any]:
    """Return the settings of the profile's tokenizer, or of somebody else's the name that it was loaded by."""
    named = tokenizer.config if isinstance(tokenizer, AdaptiveTokenizer) else read_target(folder)
    return named.model_dump(mode="json")


def record_sets(cards: Iterable[SetDescription]) -> list[dict[str, Any]]:
    """Return what a sweep's record says about its image sets, in the profile's order: the studies need no more."""
    return [{"name": card.name, "role": card.role, "controlled": card.controlled} for card in cards]


if __name__ == "__main__":
    run_command(main)
