"""How well a network trained here does on untouched images: its performance, and a classifier's calibration."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from alit.data.imageset import ImageSet
from alit.tasks.captioning import CaptionTask, DualEncoder
from alit.tasks.classification import ClassificationTask, Classifier
from alit.tasks.depth import DepthNetwork, relative_depth_error
from alit.tasks.protocol import SweepBatch

BINS = 15  # of the calibration error


@torch.no_grad()
def evaluate_trained(
    network: Classifier | DepthNetwork | DualEncoder, images: ImageSet, device: torch.device, batch_size: int = 64
) -> dict[str, Any]:
    """Return a network's mean performance on untouched images: accuracy, relative depth error or caption score.

    A classifier's answer has `negative_log_likelihood` (nats) and `expected_calibration_error` beside it; see
    `calibration_error`. Images without a label, depth or caption to compare with do not count; if none has one, every
    mean is None.
    """
    batches: list[dict[str, np.ndarray]] = []
    for start in range(0, len(images), batch_size):
        rows = np.arange(start, min(start + batch_size, len(images)))
        depth = images.depth(rows)
        batch = SweepBatch(
            images.images(rows).to(device),
            images.labels(rows),
            images.class_names,
            None if depth is None else depth.to(device),
            images.captions(rows),
        )
        batches.append(_performance(network, batch))
    values = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    known = ~np.isnan(next(iter(values.values())))
    values = {name: each[known] for name, each in values.items()}
    results: dict[str, Any] = {"dataset": images.name, "images": int(known.sum())}
    results |= {name: float(each.mean()) if len(each) else None for name, each in values.items()}
    if "confidence" in values:
        error = calibration_error(values["confidence"], values["accuracy"]) if known.any() else None
        results |= {"expected_calibration_error": error, "calibration_bins": f"{BINS} of equal size"}
    return results


def _performance(network: Classifier | DepthNetwork | DualEncoder, batch: SweepBatch) -> dict[str, np.ndarray]:
    """Return a network's scores on each untouched image (b,), NaN where there is nothing to compare with."""
    if isinstance(network, Classifier):
        return _classification(network, batch)
    if isinstance(network, DualEncoder):
        captions = CaptionTask("", network, {})
        score = captions.score(batch.images, captions.reference(batch), batch)[captions.columns[1]]
        return {"caption_score": score}
    if batch.depth is None:
        return {"relative_depth_error": np.full(len(batch.images), np.nan)}
    error = relative_depth_error(network.at_size_of(batch.images, batch.depth), batch.depth)
    return {"relative_depth_error": error.cpu().numpy()}


def _classification(network: Classifier, batch: SweepBatch) -> dict[str, np.ndarray]:
    ranks = ClassificationTask("", network, {})
    truth = ranks.reference(batch)
    rank = ranks.score(batch.images, truth, batch)[ranks.columns[0]]
    logits = network.features_and_logits(batch.images).logits
    loss = functional.cross_entropy(logits, truth.targets.clamp(min=0), reduction="none")
    unknown = np.isnan(rank)
    values = {
        "accuracy": rank < 1,
        "negative_log_likelihood": loss.cpu().numpy(),
        "confidence": logits.softmax(dim=1).amax(dim=1).cpu().numpy(),
    }
    return {name: np.where(unknown, np.nan, each) for name, each in values.items()}


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error, in [0, 1]: how far confidence and accuracy are apart, over bins.

    The mean over bins of `|mean confidence - accuracy|`, weighted by their images (Guo et al., On Calibration of Modern
    Neural Networks, 2017). The bins hold equally many images each, in the order of confidence (Nguyen & O'Connor,
    2015; Nixon et al., Measuring Calibration in Deep Learning, 2019), since those of equal width that Guo et al. take
    leave most of them nearly empty where a network is sure of most images.

    Args:
        confidence: (n,) probability that the network gives its first answer.
        correct: (n,) 1 where that answer is right, else 0.
        bins: how many; at most n are used.

    Raises:
        ValueError: there is no image, or the arrays differ in length.
    """
    if len(confidence) != len(correct) or not len(confidence):
        raise ValueError(
            f"expected as many confidences as answers, at least 1, found {len(confidence)}, {len(correct)}"
        )
    gaps = np.asarray(confidence, np.float64) - np.asarray(correct, np.float64)
    parts = np.array_split(gaps[np.argsort(confidence, kind="stable")], min(bins, len(gaps)))
    return float(sum(abs(part.sum()) for part in parts) / len(gaps))
