"""Stage `length_predictor`: what the loss will be at every length, predicted from one iteration and calibrated."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from scipy.stats import binomtest

from alit.data.imageset import ImageSet, Subset, read_card, read_cards
from alit.errors import ConfigError, NotMeasurable, run_command
from alit.paths import TARGET_FILE
from alit.tokenizer.length_predictor import (
    Examples,
    LengthPredictor,
    LengthPredictorConfig,
    PredictedLoss,
    fit_length_predictor,
    measure_examples,
    moved_views,
)
from alit.tokenizer.promise import Outcome, outcome
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
        if (paths.tokenizer / TARGET_FILE).is_file():
            reason = NotMeasurable("the profile's tokenizer is another's: predictors are fitted to those of this suite")
            return write(reason, paths.length_predictor) if fabric.is_global_zero else None
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
    if not config.images:
        return NotMeasurable("the profile asks for none (length_predictor.images: 0)")
    if not any(card.role == "train" for card in read_cards(stage.paths.data)):
        return NotMeasurable("the profile has no training images (data.sets with role: train) to fit one on")
    try:
        return fit_for(tokenizer, stage.train_set, config, seed, stage.paths.scratch, fabric)
    except NotMeasurable as reason:
        return reason


def fit_for(
    tokenizer: AdaptiveTokenizer,
    images: ImageSet,
    config: LengthPredictorConfig,
    seed: int,
    scratch: Path,
    fabric: "Fabric",
) -> LengthPredictor:
    """Measure training images, spread evenly over their set, and fit a predictor; a killed run continues.

    Images are moved by half a patch, so that the tokenizer has not been trained on what it is measured on.

    Args:
        tokenizer: on the device of `fabric`.
        images: a training set.
        config: how many.
        seed: of the folds.
        scratch: folder of resume state, which all processes see.
        fabric: the processes that share the work.

    Raises:
        NotMeasurable: too few images.
    """
    moved = tokenizer.config.base.patch // 2
    examples = measure_set(tokenizer, Subset(images, config.images), config.batch_size, scratch, fabric, moved)
    card = read_card(images.folder)
    return fit_length_predictor(
        examples,
        tokenizer=tokenizer.fingerprint,
        lengths=tokenizer.lengths,
        data=f"{card.path or 'embedded scenes'}, split {card.split}",
        seed=seed,
        moved=moved,
    )


def measure_set(
    tokenizer: AdaptiveTokenizer, images: ImageSet, batch_size: int, scratch: Path, fabric: "Fabric", moved: int = 0
) -> Examples:
    """Return what one iteration knows of every image of a set, and its losses; a killed run continues.

    `moved` are pixels by which each image is moved first.
    """
    settings = {"tokenizer": tokenizer.fingerprint, "images": len(images), "batch_size": batch_size, "moved": moved}
    folder = resume_dir(scratch, "length_predictor", settings, [images.folder / "manifest.csv"])
    pieces = np.split(np.arange(len(images)), range(batch_size, len(images), batch_size))

    def measure(piece: int) -> dict[str, np.ndarray]:
        views = moved_views(images.images(pieces[piece]).to(fabric.device), moved, pieces[piece].tolist())
        return measure_examples(tokenizer, views)._asdict()

    store = PieceStore(folder)
    store.fill(fabric, [len(piece) for piece in pieces], measure, f"losses of {images.name}")
    parts = [store.read(piece) for piece in range(len(pieces))]
    fabric.barrier()
    if fabric.is_global_zero:
        shutil.rmtree(folder, ignore_errors=True)
    return Examples(*(np.concatenate([part[name] for part in parts]) for name in Examples._fields))


class PromiseCheck(TypedDict):
    """What became of one promise on images that neither the predictor nor its calibration has seen."""

    data: str
    images: int
    promise: float  # L1
    confidence: float
    able: int  # images whose L1 at the longest length is below the promise: those that the confidence is about
    kept: int  # of them that keep it at the predicted length
    kept_low: float  # 95 % interval of that share (Clopper and Pearson)
    kept_high: float
    satisfied: int  # images that are said to keep it
    kept_of_satisfied: int  # of them that do
    tokens: float  # mean
    searched: float  # mean tokens of the smallest length that keeps it, else the longest


def check_promises(
    tokenizer: AdaptiveTokenizer, name: str, examples: Examples, promises: Sequence[float]
) -> list[PromiseCheck]:
    """Compare the predicted length of images with that of a search, for each promised L1.

    Promises that too few calibration images can keep are left out.

    Args:
        tokenizer: with a length predictor.
        name: of the images.
        examples: what `measure_set` gives for them.
        promises: L1.

    Raises:
        ConfigError: the tokenizer has no length predictor.
    """
    predictor = tokenizer.require_length_predictor()
    predicted, losses = predictor.predict(torch.from_numpy(examples.features)).numpy(), examples.losses
    checks = []
    for promise in map(PredictedLoss, promises):
        try:
            margin = predictor.margin(promise)
        except ConfigError as reason:
            print(f"left out: {reason}", flush=True)
            continue
        made = outcome(predicted, losses, promise.l1, margin)
        checks.append(_in_numbers(name, promise, made, np.array(tokenizer.lengths)))
    return checks


def _in_numbers(name: str, promise: PredictedLoss, made: Outcome, lengths: np.ndarray) -> PromiseCheck:
    able, keeps, satisfied, chosen, searched = made
    total, kept = int(able.sum()), int(keeps[able].sum())
    share = binomtest(kept, total).proportion_ci(0.95) if total else (0.0, 1.0)
    return {
        "data": name,
        "images": len(able),
        "promise": promise.l1,
        "confidence": promise.confidence,
        "able": total,
        "kept": kept,
        "kept_low": float(share[0]),
        "kept_high": float(share[1]),
        "satisfied": int(satisfied.sum()),
        "kept_of_satisfied": int(keeps[satisfied].sum()),
        "tokens": float(lengths[chosen].mean()),
        "searched": float(lengths[searched].mean()),
    }


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
