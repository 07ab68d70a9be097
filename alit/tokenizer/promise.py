"""Lengths for a promised loss from predicted losses: one margin, calibrated so that a stated share keeps the promise.

The rule: an image gets the smallest length whose predicted loss lies below the threshold by more than a margin, else
the longest. A larger margin never shortens an image, so that keeping the promise is monotone in it, and the whole rule,
selection over lengths included, can be calibrated by its one number: conformal risk control (Angelopoulos, Bates,
Fisch, Lei and Schuster 2024, theorem 1), which for a loss of 0 or 1 is split conformal prediction (Vovk et al. 2005) on
the smallest margin with which each calibration image keeps the promise.

What is guaranteed. An image *can keep* a promise if its loss at the longest length lies below the threshold: what a
search over all lengths would satisfy. Among images that can, a new one keeps it with a probability of at least the
stated confidence, and at most 1 / (n + 1) more if no two margins are equal, over the draw of the n calibration images
that can and of the new one, if these are exchangeable. The share that keeps it among very many new images, for one
calibration, is therefore Beta(k, n + 1 - k) with k = ceil((n + 1) confidence) and not the confidence itself: some
1.3 points around it for n = 2,000. Images that cannot keep the promise are no part of the guarantee, which is the
conformal prediction of a subset (Mondrian; Vovk et al. 2005): no length would help them. A loss that rises again at a
longer length is counted as not kept below the length after which it stays low, which can only make more images keep
the promise. For a threshold that was chosen by looking at the calibration images nothing is guaranteed.

What was predicted for calibration images may come from one predictor that saw none of them, and the above is exact; or,
so that all images serve both ends, from predictors that each left out the fold that an image is in, while new images
are predicted by one that left out none (cross-validated residuals). That is exact only for a predictor that one fold
more or less does not change; for others nothing is proven (Barber, Candes, Ramdas and Tibshirani 2021, Annals of
Statistics 49). Fold predictors saw fewer images and err a little more, which errs on the side of the promise.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alit.errors import ConfigError

Losses = NDArray[np.floating]  # (images, lengths), lengths ascending


class ChosenLengths(NamedTuple):
    """What the rule chooses for n images."""

    positions: NDArray[np.int64]  # (n,) index of the length
    satisfied: NDArray[np.bool_]  # (n,) whether a predicted loss lies below the threshold by more than the margin


def choose_lengths(predicted: Losses, threshold: float, margin: float) -> ChosenLengths:
    """Return the smallest length of each image whose predicted loss + margin is below the threshold, else the longest.

    Args:
        predicted: (n, l) predicted losses.
        threshold: the promised loss.
        margin: of `calibrated_margin`; infinity gives every image the longest length.
    """
    passes = _room(predicted, threshold) > margin
    satisfied = np.asarray(passes.any(axis=1))
    return ChosenLengths(np.where(satisfied, passes.argmax(axis=1), passes.shape[1] - 1), satisfied)


class Outcome(NamedTuple):
    """What became of a promise to n images whose losses are known."""

    able: NDArray[np.bool_]  # (n,) can keep it
    keeps: NDArray[np.bool_]  # (n,) keeps it at the chosen length
    satisfied: NDArray[np.bool_]  # (n,) is said to keep it
    chosen: NDArray[np.int64]  # (n,) index of the chosen length
    searched: NDArray[np.int64]  # (n,) of the smallest length whose loss is below the threshold, else the longest


def outcome(predicted: Losses, losses: Losses, threshold: float, margin: float) -> Outcome:
    """Return what the rule gives for images with predicted and true losses (n, l)."""
    chosen = choose_lengths(predicted, threshold, margin)
    searched = choose_lengths(losses, threshold, 0.0).positions
    keeps = _below(losses, threshold)[np.arange(len(losses)), chosen.positions]
    return Outcome(can_keep(losses, threshold), keeps, chosen.satisfied, chosen.positions, searched)


def calibrated_margin(predicted: Losses, losses: Losses, threshold: float, confidence: float) -> float:
    """Return the smallest margin with which enough calibration images keep the promise; -infinity where any does.

    Args:
        predicted: (n, l) losses that were predicted for images that the predictor was not fitted on.
        losses: (n, l) their losses.
        threshold: the promised loss; an image keeps it with a loss below.
        confidence: least share, of the images that can keep it, that is to keep it.

    Raises:
        ConfigError: the confidence is no share, or fewer calibration images can keep the promise than it takes.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"expected a confidence between 0 and 1, found {confidence:g}")
    margins = np.sort(smallest_margins(predicted, losses, threshold))
    place = math.ceil(round((len(margins) + 1) * confidence, 9))  # of 0.9 * 10 nothing but 9
    if place > len(margins):
        needed = math.ceil(round(confidence / (1 - confidence), 9))
        raise ConfigError(
            f"a confidence of {confidence:g} takes {needed} calibration images that some length keeps below a loss of "
            f"{threshold:g}, found {len(margins)} of {len(losses)}: promise a larger loss, or with less confidence"
        )
    return float(margins[place - 1])


def smallest_margins(predicted: Losses, losses: Losses, threshold: float) -> NDArray[np.float64]:
    """Return the smallest margin with which each image that can keep the promise keeps it; -infinity where any does."""
    can = can_keep(losses, threshold)
    above = ~_below(losses[can], threshold)
    too_short = np.flip(np.logical_or.accumulate(np.flip(above, axis=1), axis=1), axis=1)  # this or a longer one fails
    return np.where(too_short, _room(predicted[can], threshold), -np.inf).max(axis=1, initial=-np.inf)


def can_keep(losses: Losses, threshold: float) -> NDArray[np.bool_]:
    """Return (n,) whether the loss at the longest length lies below the threshold."""
    return _below(losses[:, -1], threshold)


def _below(losses: Losses, threshold: float) -> NDArray[np.bool_]:
    return losses.astype(np.float64) < threshold


def _room(predicted: Losses, threshold: float) -> NDArray[np.float64]:
    """Return how far predicted losses lie below a threshold: calibration and choice must round alike."""
    return threshold - predicted.astype(np.float64)
