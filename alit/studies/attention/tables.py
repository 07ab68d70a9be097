"""Token attention: overlap with segments compared with controls, and sparsity, per iteration (paper, sec. 5, Tab. 2).

Images are resampled; everything on one data set shares the resamples, so that differences between iterations and
between sources of maps are paired.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval_table, resampled_means
from alit.analysis.inference import trend
from alit.analysis.selection import BootstrapConfig, first_satisfying
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable

OVERLAP, SPARSITY, EXAMPLES = "attention_overlap", "attention_sparsity", "attention_examples"
HALTING, HALTED = "attention_halting", "attention_halted"
SOURCES = {
    "latents": "latents",
    "first_latents": "first iteration's latents",
    "shuffled": "latents, another image's maps",
    "clusters": "k-means regions of base features",
    "placed_blobs": "blobs at random places",
    "centered_blobs": "blobs in the center",
    "random": "random maps",
    "masks": "the masks themselves",  # a bound: no map fits better where the rule fixes how much is kept
}
CONTROLS = ("shuffled", "clusters", "placed_blobs", "centered_blobs", "random")
MEASURES = {"entropy": "entropy (share of the maximum)", "gini": "Gini index"}
SETTING_COLUMNS = ["dataset", "images", "rule", "share", "setting", "source", "label", "iteration"]
OVERLAP_COLUMNS = [*SETTING_COLUMNS, "value", "low", "high"]
EXAMPLE_COLUMNS = [
    "dataset",
    "image_id",
    "among",
    "latent",
    "iteration",
    "jaccard",
    "map",
    "picture",
    "outline",
    "publishable",
]
SPARSITY_LABELS = ["dataset", "images", "layer", "shown", "source", "label", "measure"]
SPARSITY_COLUMNS = [*SPARSITY_LABELS, "iteration", "value", "low", "high"]
SPARSER_COLUMNS = [*SPARSITY_LABELS, "value", "low", "high"]


HALTING_MEASURES = {
    "masked": "image tokens masked before an iteration (%)",
    "saved": "encoder's operations saved if they were left out (%)",
    "decoding": "added by decoding latents to know them (%)",
    "l1": "change of L1 by halting (%)",
    "open_error": "change of the error of tokens left open (%)",
}
HALTING_COLUMNS = ["dataset", "images", "measure", "label", "iteration", "value", "low", "high"]
LENGTH_COLUMNS = ["dataset", "images", "threshold", "without", "halting", "value", "low", "high"]
HALTED_COLUMNS = ["dataset", "image_id", "iteration", "halted", "picture", "publishable"]


RULES = {"pixels": "highest {:.0%} of the pixels", "mass": "{:.0%} of the attention", "best": "best share per image"}


class OverlapSamples(NamedTuple):
    """Mean overlap of one data set, in per cent as in Tab. 2, over resamples of its images; a column for each score."""

    dataset: str
    images: int
    settings: pd.DataFrame  # c rows: rule, share, source, iteration
    samples: np.ndarray  # (1 + r, c), point estimate first

    def of(self, source: str, rule: str, share: float, iteration: int) -> np.ndarray:
        """Return the samples (1 + r,) of one way to score."""
        chosen = self.settings
        here = (chosen["source"] == source) & (chosen["rule"] == rule)
        here &= np.isclose(chosen["share"], share) & (chosen["iteration"] == iteration)
        return self.samples[:, int(np.flatnonzero(here)[0])]

    def by_iteration(self, source: str, rule: str = "pixels", share: float | None = None) -> np.ndarray:
        """Return the samples (1 + r, t) of one source over the iterations; without `share` the mean over all shares."""
        shares = self.pixel_shares if share is None else [share]
        each = [[self.of(source, rule, kept, iteration) for iteration in self.iterations] for kept in shares]
        return np.stack(each).mean(axis=0).T

    @property
    def pixel_shares(self) -> list[float]:
        """The shares of the pixels that are kept of a map, the paper's rule."""
        return sorted(set(self.settings["share"][self.settings["rule"] == "pixels"]))

    @property
    def iterations(self) -> list[int]:
        """The iterations, first to last."""
        return sorted(set(self.settings["iteration"]))


def rule_label(rule: str, share: float) -> str:
    """Describe how a segment is cut out of a map."""
    return RULES[rule].format(share)


def sample_overlap(data: StudyData) -> Iterator[OverlapSamples]:
    """Yield the overlap of each data set with masks.

    Raises:
        NotMeasurable: no maps were measured.
    """
    for name, part in _measured(data, OVERLAP).groupby("dataset", sort=False, observed=True):
        yield _sample(str(name), part, data.bootstrap)


class SparsitySamples(NamedTuple):
    """Mean sparsity of one data set's maps in one layer, by one measure, over resamples of its images."""

    dataset: str
    images: int
    layer: int  # of the latent decoder, from 1; 0 in tables that hold one layer without its number
    shown: bool  # the layer whose maps are compared with masks
    source: str
    measure: str  # of `MEASURES`
    samples: np.ndarray  # (1 + r, t), point estimate first

    @property
    def sparser(self) -> np.ndarray:
        """Return (1 + r,) how much sparser the maps become: the rise of the Gini index, the fall of the entropy."""
        return total_rise(self.samples if self.measure == "gini" else -self.samples)

    @property
    def labels(self) -> dict[str, Any]:
        """Columns `SPARSITY_LABELS`."""
        held = self._asdict() | {"label": SOURCES[self.source]}
        return {name: held[name] for name in SPARSITY_LABELS}


def total_rise(samples: np.ndarray) -> np.ndarray:
    """Return (1 + r,) the rise of samples (1 + r, t) from the first of t iterations to the last along a fitted line."""
    return trend(samples) * (samples.shape[1] - 1)


def sample_sparsity(data: StudyData) -> Iterator[SparsitySamples]:
    """Yield the sparsity of each data set with masks, by layer, source and measure.

    Raises:
        NotMeasurable: no maps were measured.
    """
    table = _measured(data, SPARSITY)
    if "layer" not in table:  # measured before all layers were
        table = table.assign(layer=0, shown=True)
    for _, rows in table.groupby(["dataset", "layer", "source"], sort=False, observed=True):
        about: dict[str, Any] = {name: rows[name].iloc[0] for name in ("dataset", "layer", "shown", "source")}
        for measure in MEASURES:
            values = rows.pivot(index="image_id", columns="iteration", values=measure).to_numpy(np.float64)
            samples = resampled_means(values, data.bootstrap.resamples, data.bootstrap.seed)
            yield SparsitySamples(**about, images=len(values), measure=measure, samples=samples)


def overlap_by_iteration(data: StudyData) -> pd.DataFrame:
    """Return mIoU in per cent, per data set, rule, source of maps and iteration; columns `OVERLAP_COLUMNS`."""
    try:
        parts = [
            interval_table(part.samples, data.bootstrap.confidence, **_describe(part)) for part in sample_overlap(data)
        ]
    except NotMeasurable:
        return pd.DataFrame(columns=OVERLAP_COLUMNS)
    return pd.concat(parts, ignore_index=True)


def overlap_above_controls(data: StudyData) -> pd.DataFrame:
    """Return mIoU of the latents' maps minus that of each control, last iteration, in points; `OVERLAP_COLUMNS`."""
    parts = []
    try:
        for part in sample_overlap(data):
            described = pd.DataFrame(_describe(part)).rename_axis("column").reset_index()
            last = described.loc[described["iteration"] == part.iterations[-1]]
            own, controls = last.loc[last["source"] == "latents"], last.loc[last["source"].isin(CONTROLS)]
            pairs = controls.merge(own, on=["rule", "share"], suffixes=("", "_own"))
            gain = part.samples[:, pairs["column_own"]] - part.samples[:, pairs["column"]]
            labels = {name: pairs[name] for name in SETTING_COLUMNS}
            parts.append(interval_table(gain, data.bootstrap.confidence, **labels))
    except NotMeasurable:
        return pd.DataFrame(columns=OVERLAP_COLUMNS)
    return pd.concat(parts, ignore_index=True)


def sparsity_by_iteration(data: StudyData) -> pd.DataFrame:
    """Return means of entropy and Gini index per data set, layer, source and iteration; columns `SPARSITY_COLUMNS`."""
    try:
        parts = [
            interval_table(
                part.samples,
                data.bootstrap.confidence,
                **part.labels,
                iteration=np.arange(1, part.samples.shape[1] + 1),
            )
            for part in sample_sparsity(data)
        ]
    except NotMeasurable:
        return pd.DataFrame(columns=SPARSITY_COLUMNS)
    return pd.concat(parts, ignore_index=True).reindex(columns=SPARSITY_COLUMNS)


def sparser_by_layer(data: StudyData) -> pd.DataFrame:
    """Return how much sparser maps become, per data set, layer, source and measure; columns `SPARSER_COLUMNS`."""
    try:
        parts = [
            interval_table(part.sparser[:, None], data.bootstrap.confidence, **part.labels)
            for part in sample_sparsity(data)
            if part.samples.shape[1] > 1
        ]
    except NotMeasurable:
        parts = []
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SPARSER_COLUMNS)


def attention_examples(data: StudyData) -> pd.DataFrame:
    """Return the example maps as measured; docs/studies/attention.md describes the columns."""
    return data.tables.get(EXAMPLES, pd.DataFrame(columns=EXAMPLE_COLUMNS))


def halting_by_iteration(data: StudyData) -> pd.DataFrame:
    """Return what halting masks and changes, per data set, measure of `HALTING_MEASURES` and iteration, in per cent.

    Changes are of the mean over images, halting against none; columns `HALTING_COLUMNS`. Empty without a measurement.
    """
    parts = []
    for name, part in _halting(data):
        for measure, label in HALTING_MEASURES.items():
            if measure in ("l1", "open_error"):
                plain, halting = (_means(data, part, column) for column in (measure, f"{measure}_halting"))
                values = 100 * (np.divide(halting, plain, out=np.ones_like(plain), where=plain != 0) - 1)
            else:
                values = 100 * _means(data, part, measure)
            labels = {"dataset": name, "images": part["image_id"].nunique(), "measure": measure, "label": label}
            steps = np.arange(1, values.shape[1] + 1)
            parts.append(interval_table(values, data.bootstrap.confidence, **labels, iteration=steps))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=HALTING_COLUMNS)


def halting_lengths(data: StudyData) -> pd.DataFrame:
    """Return the mean tokens that L1 below a threshold takes with and without halting, for the profile's thresholds.

    An image that no length satisfies takes the longest. `value`, `low` and `high` are the difference, halting minus
    none; columns `LENGTH_COLUMNS`. Empty without a measurement.
    """
    parts = []
    thresholds = np.array(data.settings.l1_thresholds)
    for name, part in _halting(data):
        lengths = np.array(sorted(set(part["length"])))
        tokens = []
        for column in ("l1", "l1_halting"):
            first = first_satisfying(_by_iteration(part, column), "below", thresholds)
            tokens.append(lengths[np.minimum(first, len(lengths) - 1)].astype(np.float64))
        without, halting = (resampled_means(each, data.bootstrap.resamples, data.bootstrap.seed) for each in tokens)
        labels = {"dataset": name, "images": len(tokens[0]), "threshold": thresholds}
        both = {"without": without[0], "halting": halting[0]}
        parts.append(interval_table(halting - without, data.bootstrap.confidence, **labels, **both))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=LENGTH_COLUMNS)


def halted_examples(data: StudyData) -> pd.DataFrame:
    """Return the masks of the example images as measured; docs/studies/attention.md describes the columns."""
    return data.tables.get(HALTED, pd.DataFrame(columns=HALTED_COLUMNS))


def _halting(data: StudyData) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the measurements with and without halting, by data set."""
    table = data.tables.get(HALTING, pd.DataFrame(columns=["dataset"]))
    for name, part in table.groupby("dataset", sort=False, observed=True):
        yield str(name), part


def _by_iteration(part: pd.DataFrame, column: str) -> np.ndarray:
    return part.pivot(index="image_id", columns="iteration", values=column).to_numpy(np.float64)


def _means(data: StudyData, part: pd.DataFrame, column: str) -> np.ndarray:
    """Return bootstrap samples (1 + r, t) of the mean over images at each iteration."""
    return resampled_means(_by_iteration(part, column), data.bootstrap.resamples, data.bootstrap.seed)


def _measured(data: StudyData, name: str) -> pd.DataFrame:
    if name not in data.tables:
        reason = data.why_not_measured("attention", "there is no table of attention maps; run: dvc repro measure")
        raise NotMeasurable(reason)
    return data.tables[name]


def _sample(name: str, table: pd.DataFrame, bootstrap: BootstrapConfig) -> OverlapSamples:
    # The share that fitted an image best differs between images: it is no setting.
    keyed = table.assign(share=np.where(table["rule"] == "best", 0.0, table["share"]))
    keys = ["rule", "share", "source", "iteration"]
    values = keyed.pivot(index="image_id", columns=keys, values="miou")
    values = values[list(keyed[keys].drop_duplicates().itertuples(index=False, name=None))]  # in the table's order
    samples = resampled_means(100 * values.to_numpy(np.float64), bootstrap.resamples, bootstrap.seed)
    return OverlapSamples(name, len(values), values.columns.to_frame(index=False), samples)


def _describe(part: OverlapSamples) -> dict[str, Any]:
    """Return the columns `SETTING_COLUMNS` of a data set's scores."""
    described = part.settings.assign(
        dataset=part.dataset,
        images=part.images,
        setting=[rule_label(*each) for each in part.settings[["rule", "share"]].itertuples(index=False)],
        label=[SOURCES[source] for source in part.settings["source"]],
    )
    return {name: described[name] for name in SETTING_COLUMNS}
