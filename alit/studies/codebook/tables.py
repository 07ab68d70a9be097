"""How the latent codebook is used, and how tokens change from one iteration to the next (paper, ICLR Fig. 22).

Intervals resample images. A resample holds fewer different images and so fewer different codes: recounting it would put
entropies and shares of used codes below the values that they are meant to surround. As for Fréchet distances, each
image's first-order influence is resampled instead (`alit.analysis.frechet`).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.selection import BootstrapConfig
from alit.analysis.study_data import StudyData
from alit.errors import DataError, NotMeasurable

ABSENT = -1  # no such token yet
IDS, USAGE, NEIGHBORS, PAIRS = "codebook_ids", "codebook_usage", "codebook_neighbors", "codebook_pairs"
USE_COLUMNS = ["dataset", "images", "iteration", "length", "codes", "measure", "label", "value", "low", "high"]
CURVE_COLUMNS = ["dataset", "images", "iteration", "length", "rank", "frequency"]
MAP_COLUMNS = ["dataset", "images", "iteration", "position", "kept", "chance"]
KEPT_COLUMNS = ["dataset", "images", "iteration", "value", "low", "high", "chance"]
PAIR_COLUMNS = ["dataset", "images", "pair", "image_id", "neighbor_id", "shared", "image", "neighbor"]
NEAREST_COLUMNS = ["dataset", "images", "image_id", "shared", "chance"]
LABEL_COLUMNS = ["dataset", "images", "value", "low", "high", "chance"]


class TokenIds(NamedTuple):
    """Ids of n images of one data set at T iterations."""

    dataset: str
    image_ids: np.ndarray  # (n,)
    ids: np.ndarray  # (n, T, k), `ABSENT` where an iteration has no such token yet
    codes: int  # size of the codebook

    @property
    def lengths(self) -> np.ndarray:
        """Tokens (T,) that an image has at each iteration."""
        return (self.ids[0] != ABSENT).sum(axis=1)


class UseSamples(NamedTuple):
    """Shares of the codebook over resamples, point estimate first."""

    perplexity: np.ndarray  # (1 + r,) number of equally frequent codes that would have the same entropy
    used: np.ndarray  # (1 + r,) codes that occur at all


def token_ids(data: StudyData) -> list[TokenIds]:
    """Return the ids of each data set, in the order of the sweep table.

    Raises:
        NotMeasurable: nothing was measured, or latents have no ids.
        DataError: some image lacks a token that another has.
    """
    if IDS not in data.tables or USAGE not in data.tables:
        raise NotMeasurable(f"there is no table {IDS}; run: dvc repro measure")
    table = data.tables[IDS]
    if table.empty:
        raise NotMeasurable("latents are continuous and have no ids")
    codes = int(data.tables[USAGE]["code"].to_numpy().max()) + 1
    parts = {str(name): part for name, part in table.groupby("dataset", observed=True, sort=False)}
    return [_dense_ids(name, parts[name], codes) for name in data.grid.datasets if name in parts]


def sample_use(ids: np.ndarray, codes: int, bootstrap: BootstrapConfig) -> UseSamples:
    """Resample the images of ids (n, k) of one iteration.

    An image moves the entropy by its tokens' mean surprise, and the number of used codes by those that no other image
    uses.
    """
    frequency = np.bincount(ids.ravel(), minlength=codes) / ids.size
    surprise = -np.log(frequency[ids]).mean(axis=1)
    own = [np.unique(row) for row in ids]
    images_with = np.bincount(np.concatenate(own), minlength=codes)
    alone = np.array([(images_with[row] == 1).sum() for row in own])
    means = resampled_means(np.stack([surprise, alone], axis=1).astype(np.float64), bootstrap.resamples, bootstrap.seed)
    used = (images_with > 0).sum() + len(ids) * (means[:, 1] - means[0, 1])
    return UseSamples(np.exp(means[:, 0]) / codes, (used / codes).clip(max=1))


def use_by_length(data: StudyData) -> pd.DataFrame:
    """Return perplexity and used codes per data set and iteration, shares of the codebook; columns `USE_COLUMNS`."""
    labels = {"perplexity": "perplexity (share of the codebook)", "used": "codes that occur (share)"}

    def use_of_set(part: TokenIds) -> pd.DataFrame:
        rows = []
        for step, length in enumerate(part.lengths):
            samples = sample_use(part.ids[:, step, :length], part.codes, data.bootstrap)
            rows.append(
                interval_table(
                    np.stack(samples, axis=1),
                    data.bootstrap.confidence,
                    images=len(part.ids),
                    iteration=step + 1,
                    length=length,
                    codes=part.codes,
                    measure=list(labels),
                    label=list(labels.values()),
                )
            )
        return pd.concat(rows, ignore_index=True)

    return _for_each_set(data, use_of_set, USE_COLUMNS)


def usage_curves(data: StudyData) -> pd.DataFrame:
    """Return the frequency of each code as a multiple of the uniform one, highest first; columns `CURVE_COLUMNS`.

    `rank` is the share of the codebook up to and including the code, in (0, 1].
    """

    def curves_of_set(part: TokenIds) -> pd.DataFrame:
        usage, curves = _rows_of(data.tables[USAGE], part.dataset), []
        rank = np.arange(1, part.codes + 1) / part.codes
        for step, length in enumerate(part.lengths, start=1):
            tokens = np.sort(usage.loc[usage["iteration"] == step, "tokens"].to_numpy(float))[::-1]
            curve = {"iteration": step, "length": length, "rank": rank}
            curves.append(pd.DataFrame({**curve, "frequency": tokens * part.codes / tokens.sum()}))
        return pd.concat(curves, ignore_index=True).assign(images=len(part.ids))

    return _for_each_set(data, curves_of_set, CURVE_COLUMNS)


def kept_map(data: StudyData) -> pd.DataFrame:
    """Return the share of images whose token at a position keeps its id in an iteration; columns `MAP_COLUMNS`.

    `chance` is the share that would agree if each image's earlier token were another image's: a position that holds
    the same id in every image is kept without meaning anything.
    """

    def map_of_set(part: TokenIds) -> pd.DataFrame:
        if len(part.lengths) < 2:
            return pd.DataFrame()
        rows = []
        for step in range(1, len(part.lengths)):
            kept = {"kept": _is_kept(part, step).mean(axis=0), "chance": _agreement_by_chance(part, step)}
            positions = np.arange(1, part.lengths[step - 1] + 1)
            rows.append(pd.DataFrame({"iteration": step + 1, "position": positions, **kept}))
        return pd.concat(rows, ignore_index=True).assign(images=len(part.ids))

    return _for_each_set(data, map_of_set, MAP_COLUMNS)


def kept_shares(data: StudyData) -> pd.DataFrame:
    """Return the share of the earlier tokens that each iteration keeps, mean over positions; columns `KEPT_COLUMNS`."""

    def shares_of_set(part: TokenIds) -> pd.DataFrame:
        steps = range(1, len(part.lengths))
        if not steps:
            return pd.DataFrame()
        kept = np.stack([_is_kept(part, step).mean(axis=1) for step in steps], axis=1)
        samples = resampled_means(kept, data.bootstrap.resamples, data.bootstrap.seed)
        chance = [float(_agreement_by_chance(part, step).mean()) for step in steps]
        labels = {"images": len(part.ids), "iteration": [step + 1 for step in steps], "chance": chance}
        return interval_table(samples, data.bootstrap.confidence, **labels)

    return _for_each_set(data, shares_of_set, KEPT_COLUMNS)


def nearest_shares(data: StudyData) -> pd.DataFrame:
    """Return each image's largest share of ids in common with another of its set, at full length; `NEAREST_COLUMNS`.

    `chance` is the mean share over all pairs of different images.
    """

    def shares_of_set(part: TokenIds) -> pd.DataFrame:
        chance = _shared_by_chance(part.ids[:, -1])
        return _rows_of(data.tables[NEIGHBORS], part.dataset).assign(images=len(part.ids), chance=chance)

    return _for_each_set(data, shares_of_set, NEAREST_COLUMNS)


def label_agreement(data: StudyData) -> pd.DataFrame:
    """Return how often an image and its nearest by ids have the same label; columns `LABEL_COLUMNS`.

    Only of sets in which every image has a label and some images have the same. `chance` is the share of all pairs of
    different images that do.
    """

    def agreement_of_set(part: TokenIds) -> pd.DataFrame:
        nearest = _rows_of(data.tables[NEIGHBORS], part.dataset)
        swept = data.grid.dataset(part.dataset)
        labels = dict(zip(swept.images["image_id"], swept.per_image("label"), strict=True))
        own, other = (
            np.array([labels.get(name, np.nan) for name in nearest[column]]) for column in ("image_id", "neighbor_id")
        )
        chance = 0.0 if np.isnan(own).any() else _shared_by_chance(own[:, None])
        if chance == 0:
            return pd.DataFrame()
        samples = resampled_means((own == other)[:, None].astype(float), data.bootstrap.resamples, data.bootstrap.seed)
        return interval_table(samples, data.bootstrap.confidence, images=len(own), chance=chance)

    return _for_each_set(data, agreement_of_set, LABEL_COLUMNS)


def shown_pairs(data: StudyData) -> pd.DataFrame:
    """Return the pairs of images with the most ids in common, and how many images they are from; `PAIR_COLUMNS`."""
    return _for_each_set(
        data, lambda part: _rows_of(data.tables[PAIRS], part.dataset).assign(images=len(part.ids)), PAIR_COLUMNS
    )


def _for_each_set(data: StudyData, make: Callable[[TokenIds], pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Make one table of each data set's ids, below each other; no rows where there are no ids."""
    try:
        parts = [make(part).assign(dataset=part.dataset) for part in token_ids(data)]
    except NotMeasurable:
        parts = []
    parts = [part for part in parts if len(part)]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table.reindex(columns=columns)


def _rows_of(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    return table.loc[table["dataset"] == dataset]


def _dense_ids(dataset: str, table: pd.DataFrame, codes: int) -> TokenIds:
    image, image_ids = pd.factorize(table["image_id"].astype(str))
    iteration, position = (table[name].to_numpy(np.int64) - 1 for name in ("iteration", "position"))
    ids = np.full((len(image_ids), iteration.max() + 1, position.max() + 1), ABSENT, np.int64)
    ids[image, iteration, position] = table["id"].to_numpy()
    present = ids != ABSENT
    if (present != present[:1]).any() or present.sum() != len(table):
        raise DataError(f"expected the ids of {dataset} once for each image, found gaps; run: dvc repro measure")
    return TokenIds(dataset, np.asarray(image_ids), ids, codes)


def _is_kept(part: TokenIds, step: int) -> np.ndarray:
    """Return (n, k) whether tokens of the iteration before `step` (counted from 0) have kept their ids."""
    earlier = part.lengths[step - 1]
    return part.ids[:, step, :earlier] == part.ids[:, step - 1, :earlier]


def _agreement_by_chance(part: TokenIds, step: int) -> np.ndarray:
    """Return (k,) probability that the ids of two images drawn alone agree across the step, by position."""
    earlier, shares = part.lengths[step - 1], []
    for position in range(earlier):
        before, after = (np.bincount(part.ids[:, t, position], minlength=part.codes) for t in (step - 1, step))
        shares.append(before @ after / len(part.ids) ** 2)
    return np.array(shares)


def _shared_by_chance(values: np.ndarray) -> float:
    """Return the mean share of columns of (n, k) at which two different rows agree."""
    counts = [np.unique(column, return_counts=True)[1] for column in values.T]
    pairs = len(values) * (len(values) - 1)
    return float(np.mean([(count * (count - 1)).sum() / pairs for count in counts]))
