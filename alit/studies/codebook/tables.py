"""How the latent codebook is used, and how tokens change from one iteration to the next (paper, ICLR Fig. 22).

Intervals resample images. A resample holds fewer different images and so fewer different codes: recounting it would put
entropies and shares of used codes below the values that they are meant to surround. As for Fréchet distances, each
image's first-order influence is resampled instead (`alit.analysis.bootstrap`).
"""

from collections.abc import Callable
from itertools import combinations
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
SURVIVAL_COLUMNS = [
    "dataset", "images", "iteration", "later", "tokens", "value", "low", "high", "chance", "leading"
]  # fmt: skip
PAIR_COLUMNS = ["dataset", "images", "pair", "image_id", "neighbor_id", "shared", "image", "neighbor"]
NEAREST_COLUMNS = ["dataset", "images", "image_id", "shared", "chance"]
LABEL_COLUMNS = ["dataset", "images", "value", "low", "high", "chance"]
RETRIEVAL_COLUMNS = ["dataset", "images", "iteration", "length", "shared", "value", "low", "high", "chance"]


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


class LabelAgreement(NamedTuple):
    """How often an image and its nearest by ids have the same label."""

    same: np.ndarray  # (1 + r,) share of the images
    chance: float  # share of all pairs of different images


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


def sample_places(ids: np.ndarray, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r,) how many equally frequent codes would make two images agree at one place as often as they do.

    The inverse of the probability, mean over places of ids (n, k), that two different images have the same id: Rényi's
    number of order 2, which is at most the perplexity, and whose probability has an estimate without bias however few
    images there are (Simpson 1949), while the entropy at one place has none. Images move it by the influence that they
    have on a mean over pairs, twice that on a mean.
    """
    count = len(ids)
    shares = np.empty(ids.shape)
    for place, column in enumerate(ids.T):
        _, own, codes = np.unique(column, return_inverse=True, return_counts=True)
        shares[:, place] = (codes[own] - 1) / (count - 1)
    means = resampled_means(shares.mean(axis=1, keepdims=True), bootstrap.resamples, bootstrap.seed)[:, 0]
    agreement = np.maximum(means[0] + 2 * (means - means[0]), 1 / (count * (count - 1)))  # at least one pair in all
    return 1 / agreement


def sample_all_places(ids: np.ndarray, codes: int, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r,) the same number of codes as `sample_places`, for two ids at any places."""
    frequency = np.bincount(ids.ravel(), minlength=codes) / ids.size
    own = frequency[ids].mean(axis=1, keepdims=True)
    means = resampled_means(own, bootstrap.resamples, bootstrap.seed)[:, 0]
    return 1 / np.maximum(means[0] + 2 * (means - means[0]), 1 / ids.size)


def sample_survival(part: TokenIds, step: int, later: int, bootstrap: BootstrapConfig) -> np.ndarray:
    """Return (1 + r,) the share of the ids of one iteration that a later one has at the same places, from 0 each."""
    kept = _survives(part, step, later).mean(axis=1, keepdims=True)
    return resampled_means(kept, bootstrap.resamples, bootstrap.seed)[:, 0]


def sample_label_agreement(data: StudyData, dataset: str, iteration: int | None = None) -> LabelAgreement | None:
    """Resample the images of a set with labels; None where some image has none, or no two have the same.

    The nearest are those by the ids of one iteration; by default of the last.
    """
    nearest = _nearest(data, dataset, iteration)
    swept = data.grid.dataset(dataset)
    labels = dict(zip(swept.images["image_id"], swept.per_image("label"), strict=True))
    own, other = (
        np.array([labels.get(name, np.nan) for name in nearest[column]]) for column in ("image_id", "neighbor_id")
    )
    chance = 0.0 if np.isnan(own).any() else _shared_by_chance(own[:, None])
    if chance == 0:
        return None
    same = resampled_means((own == other)[:, None].astype(float), data.bootstrap.resamples, data.bootstrap.seed)
    return LabelAgreement(same[:, 0], chance)


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
            kept = {
                "kept": _survives(part, step - 1, step).mean(axis=0),
                "chance": _agreement_by_chance(part, step - 1, step),
            }
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
        kept = np.stack([_survives(part, step - 1, step).mean(axis=1) for step in steps], axis=1)
        samples = resampled_means(kept, data.bootstrap.resamples, data.bootstrap.seed)
        chance = [float(_agreement_by_chance(part, step - 1, step).mean()) for step in steps]
        labels = {"images": len(part.ids), "iteration": [step + 1 for step in steps], "chance": chance}
        return interval_table(samples, data.bootstrap.confidence, **labels)

    return _for_each_set(data, shares_of_set, KEPT_COLUMNS)


def prefix_survival(data: StudyData) -> pd.DataFrame:
    """Return how much of the code of an iteration is still there in each later one; columns `SURVIVAL_COLUMNS`.

    `value` is the share of the iteration's ids that the later one has at the same places; `chance` the share that would
    agree if the earlier ids were another image's; `leading` how many of the first ids are the same before one differs,
    mean over images. A code that is a prefix of the longer one has a share of 1.
    """

    def survival_of_set(part: TokenIds) -> pd.DataFrame:
        pairs = list(combinations(range(len(part.lengths)), 2))
        if not pairs:
            return pd.DataFrame()
        same = [_survives(part, *pair) for pair in pairs]
        kept = np.stack([each.mean(axis=1) for each in same], axis=1)
        return interval_table(
            resampled_means(kept, data.bootstrap.resamples, data.bootstrap.seed),
            data.bootstrap.confidence,
            images=len(part.ids),
            iteration=[step + 1 for step, _ in pairs],
            later=[later + 1 for _, later in pairs],
            tokens=[part.lengths[step] for step, _ in pairs],
            chance=[float(_agreement_by_chance(part, *pair).mean()) for pair in pairs],
            leading=[float(np.logical_and.accumulate(each, axis=1).sum(axis=1).mean()) for each in same],
        )

    return _for_each_set(data, survival_of_set, SURVIVAL_COLUMNS)


def nearest_shares(data: StudyData) -> pd.DataFrame:
    """Return each image's largest share of ids in common with another of its set, at full length; `NEAREST_COLUMNS`.

    `chance` is the mean share over all pairs of different images.
    """

    def shares_of_set(part: TokenIds) -> pd.DataFrame:
        chance = _shared_by_chance(part.ids[:, -1])
        return _nearest(data, part.dataset).assign(images=len(part.ids), chance=chance)

    return _for_each_set(data, shares_of_set, NEAREST_COLUMNS)


def label_agreement(data: StudyData) -> pd.DataFrame:
    """Return how often an image and its nearest by ids have the same label; columns `LABEL_COLUMNS`.

    Only of sets in which every image has a label and some images have the same. `chance` is the share of all pairs of
    different images that do.
    """

    def agreement_of_set(part: TokenIds) -> pd.DataFrame:
        found = sample_label_agreement(data, part.dataset)
        if found is None:
            return pd.DataFrame()
        labels = {"images": len(part.ids), "chance": found.chance}
        return interval_table(found.same[:, None], data.bootstrap.confidence, **labels)

    return _for_each_set(data, agreement_of_set, LABEL_COLUMNS)


def retrieval_by_length(data: StudyData) -> pd.DataFrame:
    """Return how often an image and its nearest by the ids of each iteration agree; columns `RETRIEVAL_COLUMNS`.

    `shared` is the mean share of ids that the two have in common, `value` the share of images whose nearest has the
    same label, `chance` that of all pairs of different images. Only of sets as in `label_agreement`, and only of tables
    that have the nearest at each iteration.
    """

    def retrieval_of_set(part: TokenIds) -> pd.DataFrame:
        rows = []
        for step, length in enumerate(part.lengths, start=1):
            nearest = _nearest(data, part.dataset, step)
            found = sample_label_agreement(data, part.dataset, step) if len(nearest) else None
            if found is not None:
                labels = {"iteration": step, "length": length, "shared": nearest["shared"].mean()}
                rows.append(
                    interval_table(
                        found.same[:, None],
                        data.bootstrap.confidence,
                        **labels,
                        images=len(part.ids),
                        chance=found.chance,
                    )
                )
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()

    return _for_each_set(data, retrieval_of_set, RETRIEVAL_COLUMNS)


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


def _nearest(data: StudyData, dataset: str, iteration: int | None = None) -> pd.DataFrame:
    """Return the rows of each image's nearest at one iteration, by default the last, the only one of older tables."""
    rows = _rows_of(data.tables[NEIGHBORS], dataset)
    if "iteration" not in rows:
        return rows if iteration is None else rows.iloc[:0]
    return rows.loc[rows["iteration"] == (rows["iteration"].max() if iteration is None else iteration)]


def _dense_ids(dataset: str, table: pd.DataFrame, codes: int) -> TokenIds:
    image, image_ids = pd.factorize(table["image_id"].astype(str))
    iteration, position = (table[name].to_numpy(np.int64) - 1 for name in ("iteration", "position"))
    ids = np.full((len(image_ids), iteration.max() + 1, position.max() + 1), ABSENT, np.int64)
    ids[image, iteration, position] = table["id"].to_numpy()
    present = ids != ABSENT
    if (present != present[:1]).any() or present.sum() != len(table):
        raise DataError(f"expected the ids of {dataset} once for each image, found gaps; run: dvc repro measure")
    return TokenIds(dataset, np.asarray(image_ids), ids, codes)


def _survives(part: TokenIds, step: int, later: int) -> np.ndarray:
    """Return (n, k) whether a later iteration has the ids of an earlier one at the same places, both from 0."""
    tokens = part.lengths[step]
    return part.ids[:, later, :tokens] == part.ids[:, step, :tokens]


def _agreement_by_chance(part: TokenIds, step: int, later: int) -> np.ndarray:
    """Return (k,) probability that the ids of two images drawn alone agree across two iterations, by position."""
    shares = []
    for position in range(part.lengths[step]):
        before, after = (np.bincount(part.ids[:, t, position], minlength=part.codes) for t in (step, later))
        shares.append(before @ after / len(part.ids) ** 2)
    return np.array(shares)


def _shared_by_chance(values: np.ndarray) -> float:
    """Return the mean share of columns of (n, k) at which two different rows agree."""
    counts = [np.unique(column, return_counts=True)[1] for column in values.T]
    pairs = len(values) * (len(values) - 1)
    return float(np.mean([(count * (count - 1)).sum() / pairs for count in counts]))
