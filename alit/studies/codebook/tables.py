"""How the latent codebook is used, and how tokens change from one iteration to the next (paper, ICLR Fig. 22).

Intervals resample images. A resample holds fewer different images and so fewer different codes: recounting it would put
entropies and shares of used codes below the values that they are meant to surround. As for Fréchet distances, each
image's first-order influence is resampled instead (`frechet_samples`).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import estimate, interval, resampled_means
from alit.analysis.curves import BootstrapConfig
from alit.analysis.study_data import StudyData
from alit.errors import DataError

ABSENT = -1  # no such token yet
IDS, USAGE, NEIGHBOURS, PAIRS = "codebook_ids", "codebook_usage", "codebook_neighbors", "codebook_pairs"
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


def why_no_ids(data: StudyData) -> str | None:
    """Return why there are no ids to count, or None where there are."""
    if IDS not in data.tables or USAGE not in data.tables:
        return f"there is no table {IDS}; run: dvc repro codebook"
    return "latents are continuous and have no ids" if data.tables[IDS].empty else None


def token_ids(data: StudyData) -> list[TokenIds]:
    """Fold the table of ids, one entry per data set in the order of the sweep table; none where there are no ids.

    Raises:
        DataError: some image lacks a token that another has.
    """
    if why_no_ids(data):
        return []
    table, codes = data.tables[IDS], int(data.tables[USAGE]["code"].to_numpy().max()) + 1
    parts = {str(name): part for name, part in table.groupby("dataset", observed=True, sort=False)}
    return [_fold(name, parts[name], codes) for name in data.grid.datasets if name in parts]


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
    """Perplexity and used codes per data set and iteration, as shares of the codebook; columns `USE_COLUMNS`."""
    rows = []
    labels = {"perplexity": "perplexity (share of the codebook)", "used": "codes that occur (share)"}
    for part in token_ids(data):
        for step, length in enumerate(part.lengths):
            samples = sample_use(part.ids[:, step, :length], part.codes, data.bootstrap)
            for name, values in samples._asdict().items():
                low, high = interval(values, data.bootstrap.confidence)
                about = (part.dataset, len(part.ids), step + 1, int(length), part.codes)
                rows.append((*about, name, labels[name], values[0], float(low), float(high)))
    return pd.DataFrame(rows, columns=USE_COLUMNS)


def usage_curves(data: StudyData) -> pd.DataFrame:
    """Frequency of every code as a multiple of the uniform one, most frequent first; columns `CURVE_COLUMNS`.

    `rank` is the share of the codebook up to and including the code, in (0, 1].
    """
    curves = []
    for part in token_ids(data):
        here = _rows_of(data.tables[USAGE], part.dataset)
        for step, length in enumerate(part.lengths):
            tokens = np.sort(here.loc[here["iteration"] == step + 1, "tokens"].to_numpy(float))[::-1]
            about = {"dataset": part.dataset, "images": len(part.ids), "iteration": step + 1, "length": length}
            rank = np.arange(1, part.codes + 1) / part.codes
            curves.append(pd.DataFrame({**about, "rank": rank, "frequency": tokens * part.codes / tokens.sum()}))
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=CURVE_COLUMNS)


def kept_map(data: StudyData) -> pd.DataFrame:
    """Share of images whose token at a position has the id of the iteration before; columns `MAP_COLUMNS`.

    `chance` is the share that would agree if each image's earlier token were another image's: a position that holds
    the same id in every image is kept without saying anything.
    """
    rows = []
    for part in token_ids(data):
        for step in range(1, len(part.lengths)):
            chance = _agreement_by_chance(part, step)
            kept = _is_kept(part, step).mean(axis=0)
            for position, (share, expected) in enumerate(zip(kept, chance, strict=True), start=1):
                rows.append((part.dataset, len(part.ids), step + 1, position, share, expected))
    return pd.DataFrame(rows, columns=MAP_COLUMNS)


def kept_shares(data: StudyData) -> pd.DataFrame:
    """Share of the earlier tokens that each iteration keeps, mean over positions; columns `KEPT_COLUMNS`."""
    rows = []
    for part in (each for each in token_ids(data) if len(each.lengths) > 1):
        steps = range(1, len(part.lengths))
        kept = np.stack([_is_kept(part, step).mean(axis=1) for step in steps], axis=1)
        samples = resampled_means(kept, data.bootstrap.resamples, data.bootstrap.seed)
        low, high = interval(samples, data.bootstrap.confidence)
        for column, step in enumerate(steps):
            chance = float(_agreement_by_chance(part, step).mean())
            values = (samples[0, column], low[column], high[column])
            rows.append((part.dataset, len(part.ids), step + 1, *values, chance))
    return pd.DataFrame(rows, columns=KEPT_COLUMNS)


def nearest_shares(data: StudyData) -> pd.DataFrame:
    """Each image's largest share of ids in common with another of its set, at full length; `NEAREST_COLUMNS`.

    `chance` is the mean share over all pairs of different images.
    """
    parts = []
    for part in token_ids(data):
        here = _rows_of(data.tables[NEIGHBOURS], part.dataset)
        chance = _shared_by_chance(part.ids[:, -1])
        parts.append(here.assign(images=len(part.ids), chance=chance).reindex(columns=NEAREST_COLUMNS))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=NEAREST_COLUMNS)


def label_agreement(data: StudyData) -> pd.DataFrame:
    """How often an image and its nearest by ids have the same label; columns `LABEL_COLUMNS`.

    Only of sets in which every image has a label and some images have the same. `chance` is the share of all pairs of
    different images that do.
    """
    rows = []
    for part in token_ids(data):
        here = _rows_of(data.tables[NEIGHBOURS], part.dataset)
        swept = data.grid.dataset(part.dataset)
        labels = dict(zip(swept.images["image_id"], swept.per_image("label"), strict=True))
        own, other = (
            np.array([labels.get(name, np.nan) for name in here[column]]) for column in ("image_id", "neighbor_id")
        )
        chance = 0.0 if np.isnan(own).any() else _shared_by_chance(own[:, None])
        if chance == 0:
            continue
        samples = resampled_means((own == other)[:, None].astype(float), data.bootstrap.resamples, data.bootstrap.seed)
        value = estimate(samples[:, 0], data.bootstrap.confidence)
        rows.append((part.dataset, len(own), *value, chance))
    return pd.DataFrame(rows, columns=LABEL_COLUMNS)


def shown_pairs(data: StudyData) -> pd.DataFrame:
    """Return the pairs of images with the most ids in common, and how many images they are from; `PAIR_COLUMNS`."""
    images = {part.dataset: len(part.ids) for part in token_ids(data)}
    if not images:
        return pd.DataFrame(columns=PAIR_COLUMNS)
    parts = [_rows_of(data.tables[PAIRS], name).assign(images=count) for name, count in images.items()]
    return pd.concat(parts, ignore_index=True).reindex(columns=PAIR_COLUMNS)


def _rows_of(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    return pd.DataFrame(table.loc[table["dataset"] == dataset])


def _fold(dataset: str, table: pd.DataFrame, codes: int) -> TokenIds:
    image, image_ids = pd.factorize(table["image_id"].astype(str))
    iteration, position = (table[name].to_numpy(np.int64) - 1 for name in ("iteration", "position"))
    ids = np.full((len(image_ids), iteration.max() + 1, position.max() + 1), ABSENT, np.int64)
    ids[image, iteration, position] = table["id"].to_numpy()
    present = ids != ABSENT
    if (present != present[:1]).any() or present.sum() != len(table):
        raise DataError(f"expected the ids of {dataset} once for each image, found gaps; run: dvc repro codebook")
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
