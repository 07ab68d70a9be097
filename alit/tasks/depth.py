"""Depth: the error of a depth network between image and reconstruction (paper, section 4), and against known depth."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional

from alit.tasks.protocol import Normalize, SweepBatch, memoize_last, resize

FLOOR = 0.01  # least depth that errors are relative to, as a share of the image's mean depth


class DepthNetwork(nn.Module):
    """A depth network for images in [0, 1] of any size, resized (bilinear, antialiased) to `input_size`.

    `metric` networks predict meters (the backbone's output is log depth); the others, such as Depth Anything V2,
    predict inverse depth of unknown scale, which can be compared with itself only.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        input_size: int,
        metric: bool,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize = Normalize(mean, std)
        self.input_size = input_size
        self.metric = metric
        self.depth = memoize_last(self.forward)

    def forward(self, images: Tensor) -> Tensor:
        """Return depth (b, input_size, input_size) of images (b, 3, h, w)."""
        output = self.backbone(self.normalize(resize(images, self.input_size)))
        return output.exp() if self.metric else output.predicted_depth

    def at_size_of(self, images: Tensor, truth: Tensor) -> Tensor:
        """Return depth (b, h, w) of images, resized (bilinear, antialiased) to the known depth (b, h, w)."""
        size = truth.shape[-2:]
        depth = self.depth(images)[:, None]
        return functional.interpolate(depth, size, mode="bilinear", align_corners=False, antialias=True)[:, 0]


class DepthTask:
    """Columns depth_error_<name>, depth_rank_agreement_<name> and, for metric networks, depth_true_error_<name>.

    The first compares with the network's depth of the original, the paper's pseudo ground truth. The others compare
    with the known depth of the scene, where there is one: the second its order, for which relative depth is enough, the
    third its meters.
    """

    def __init__(self, name: str, network: DepthNetwork, record: Mapping[str, Any]) -> None:
        known = [f"depth_true_error_{name}"] if network.metric else []
        self.columns = (f"depth_error_{name}", f"depth_rank_agreement_{name}", *known)
        self.record = record
        self._network = network

    def reference(self, batch: SweepBatch) -> Tensor:
        """Return the network's depth (b, s, s) of the originals."""
        return self._network.depth(batch.images)

    def score(self, images: Tensor, reference: Tensor, batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return the relative errors and rank agreements (b,) of images (b, 3, h, w) in [0, 1]."""
        depth = self._network.depth(images)
        scores = {
            self.columns[0]: relative_depth_error(depth, reference).float().cpu().numpy(),
            self.columns[1]: self._agreement(images, known_order(batch)),
        }
        if self._network.metric:
            scores[self.columns[2]] = self._true_error(images, batch.depth)
        return scores

    def _agreement(self, images: Tensor, order: Tensor | None) -> np.ndarray:
        if order is None:
            return np.full(len(images), np.nan, dtype=np.float32)
        depth = self._network.at_size_of(images, order)
        return rank_agreement(depth if self._network.metric else -depth, order)

    def _true_error(self, images: Tensor, truth: Tensor | None) -> np.ndarray:
        if truth is None:
            return np.full(len(images), np.nan, dtype=np.float32)
        error = relative_depth_error(self._network.at_size_of(images, truth), truth)
        return error.float().cpu().numpy()


class BlindDepthRules:
    """Columns depth_rank_agreement_blind_<rule>: the agreement with known depth of rules that look at no picture.

    Photographs have their ground below and their subject in the middle. A network whose order of the pixels agrees with
    known depth no better than "what is lower is nearer" or "what is closer to the center is nearer" need not have seen
    anything in the picture. The agreement is the same at every length.
    """

    def __init__(self) -> None:
        self.columns = tuple(f"depth_rank_agreement_blind_{rule}" for rule in ("lower", "center"))
        self.record: Mapping[str, Any] = {
            "name": "blind",
            "rules": ["lower is nearer", "closer to the center is nearer"],
        }

    def reference(self, batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return the rank agreements (b,), NaN where no depth, or the same everywhere, is known."""
        order = known_order(batch)
        if order is None:
            return {name: np.full(len(batch.images), np.nan, dtype=np.float32) for name in self.columns}
        rules = (rule.expand(order.shape) for rule in _blind_depths(*order.shape[1:]))
        return {name: rank_agreement(rule, order) for name, rule in zip(self.columns, rules, strict=True)}

    def score(self, images: Tensor, reference: dict[str, np.ndarray], batch: SweepBatch) -> dict[str, np.ndarray]:
        """Return the rank agreements (b,) of the rules, whatever the images are."""
        return reference


def _blind_depths(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the two rules' depths (h, w), larger is farther: the height in the image, the distance from its center."""
    row, column = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    return -row.expand(height, width), (row**2 + column**2).sqrt()


def relative_depth_error(depth: Tensor, reference: Tensor) -> Tensor:
    """Return (b,) means of `|depth - reference| / reference` where the reference (b, h, w) is known.

    Pixels at 0 or not finite are left out (no measurement, or an inverse depth of infinitely far). The
    denominator is at least 1 % of the image's mean reference, so that inverse depths near zero do not
    dominate the mean. An image without any known pixel has no error (NaN).
    """
    known = reference.isfinite() & (reference > 0)
    mean = torch.where(known, reference, 0).sum(dim=(1, 2)) / known.sum(dim=(1, 2))
    relative = (depth - reference).abs() / reference.clamp(min=FLOOR * mean[:, None, None])
    return torch.where(known, relative, 0).sum(dim=(1, 2)) / known.sum(dim=(1, 2))


def known_order(batch: SweepBatch) -> Tensor | None:
    """Return the known depth of an image set as (b, h, w): larger is farther, NaN where unknown.

    Meters, where the set has them, else negated relative inverse depth; only the order of the values has a meaning.
    """
    if batch.depth is not None:
        return batch.depth.where(batch.depth.isfinite() & (batch.depth > 0), torch.nan)
    if batch.inverse_depth is not None:
        return -batch.inverse_depth.where(batch.inverse_depth.isfinite(), torch.nan)
    return None


def rank_agreement(depth: Tensor, order: Tensor) -> np.ndarray:
    """Return (b,) Spearman correlations over the pixels of each image, ties at their mean rank, float32 in [-1, 1].

    It is invariant under increasing transforms of either, so that meters and relative depth can be compared.

    Args:
        depth: (b, h, w), larger is farther. A constant map gives 0.
        order: (b, h, w), larger is farther; pixels that are not finite are left out. NaN is returned for an image
            in which no two known pixels differ.
    """
    pairs = zip(depth.float().cpu().numpy(), order.float().cpu().numpy(), strict=True)
    return np.array([_spearman(*pair) for pair in pairs], dtype=np.float32)


def _spearman(depth: np.ndarray, order: np.ndarray) -> float:
    known = np.isfinite(order)
    if not known.any() or np.ptp(order[known]) == 0:
        return np.nan
    if np.ptp(depth[known]) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(depth[known]), rankdata(order[known]))[0, 1])
