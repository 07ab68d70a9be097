"""Stage `length_predictor`: what the loss will be at every length, predicted from one iteration and calibrated."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alit.data.imageset import ImageSet, Subset, read_card, read_cards
from alit.errors import NotMeasurable, run_command
from alit.tokenizer.length_predictor import (
    Examples,
    LengthPredictor,
    LengthPredictorConfig,
    fit_length_predictor,
    measure_examples,
)
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.training.engine.checkpoint import resume_dir
from alit.training.engine.processes import PieceStore, fail_together
from experiments.network_stage import NetworkStage

if TYPE_CHECKING:  # slow to import, and settings do not need it
    from lightning_fabric import Fabric

NOT_FITTED = "not_fitted.txt"  # in place of a predictor: the reason


def main(argv: Sequence[str] | None = None) -> None:
    """Write `runs/<profile>/length_predictor/`: a predictor for the run's tokenizer, or why there is none."""
    stage = NetworkStage(argv, main.__doc__)
    paths = stage.paths
    fabric = stage.fabric()
    with fail_together(fabric):
        config, seed = stage.read("length_predictor", LengthPredictorConfig), stage.read("seed", int)
        tokenizer = AdaptiveTokenizer.from_pretrained(paths.tokenizer).to(fabric.device).eval()
        found: LengthPredictor | NotMeasurable | None = tokenizer.length_predictor
        if found is None or found.record.tokenizer != tokenizer.fingerprint:
            found = _fit(stage, tokenizer, config, seed, fabric)
        if fabric.is_global_zero:
            write(found, paths.length_predictor)


def _fit(
    stage: NetworkStage, tokenizer: AdaptiveTokenizer, config: LengthPredictorConfig, seed: int, fabric: "Fabric"
) -> LengthPredictor | NotMeasurable:
    if not any(card.role == "train" for card in read_cards(stage.paths.data)):
        return NotMeasurable("the profile has no training images (data.sets with role: train) to fit one on")
    return fit_for(tokenizer, stage.train_set, config, seed, stage.paths.scratch, fabric)


def fit_for(
    tokenizer: AdaptiveTokenizer,
    images: ImageSet,
    config: LengthPredictorConfig,
    seed: int,
    scratch: Path,
    fabric: "Fabric",
) -> LengthPredictor:
    """Measure training images, spread evenly over their set, and fit a predictor; a killed run continues.

    Args:
        tokenizer: on the device of `fabric`.
        images: a training set.
        config: how many, and how many of them to calibrate on.
        seed: of the split.
        scratch: folder of resume state, which all processes see.
        fabric: the processes that share the work.

    Raises:
        ConfigError: too few images.
    """
    chosen = Subset(images, config.images)
    settings = {"tokenizer": tokenizer.fingerprint, "images": config.images, "batch_size": config.batch_size}
    folder = resume_dir(scratch, "length_predictor", settings, [images.folder / "manifest.csv"])
    pieces = np.split(np.arange(len(chosen)), range(config.batch_size, len(chosen), config.batch_size))

    def measure(piece: int) -> dict[str, np.ndarray]:
        return measure_examples(tokenizer, chosen.images(pieces[piece]).to(fabric.device))._asdict()

    store = PieceStore(folder)
    store.fill(fabric, [len(piece) for piece in pieces], measure, "length_predictor")
    parts = [store.read(piece) for piece in range(len(pieces))]
    examples = Examples(*(np.concatenate([part[name] for part in parts]) for name in Examples._fields))
    card = read_card(images.folder)
    predictor = fit_length_predictor(
        examples,
        tokenizer=tokenizer.fingerprint,
        lengths=tokenizer.lengths,
        data=f"{card.path or 'embedded scenes'}, split {card.split}",
        calibration_share=config.calibration_share,
        seed=seed,
    )
    fabric.barrier()
    if fabric.is_global_zero:
        shutil.rmtree(folder, ignore_errors=True)
    return predictor


def write(found: LengthPredictor | NotMeasurable, folder: Path) -> None:
    """Write a predictor, or the reason why there is none, in place of what the folder held."""
    shutil.rmtree(folder, ignore_errors=True)
    if isinstance(found, LengthPredictor):
        return found.save(folder)
    folder.mkdir(parents=True)
    (folder / NOT_FITTED).write_text(f"{found}\n", encoding="utf-8")
    print(f"no length predictor: {found}", flush=True)


if __name__ == "__main__":
    run_command(main)
