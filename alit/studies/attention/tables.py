"""Token attention: overlap with segments beside controls, and sparsity, per iteration (paper, section 5, Tab. 2).

Images are resampled; everything on one data set shares the resamples, so that differences between iterations and
between sources of maps are paired.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.curves import BootstrapConfig
from alit.analysis.study_data import StudyData

OVERLAP, SPARSITY, EXAMPLES = "attention_overlap", "attention_sparsity", "attention_examples"
SOURCES = {
    "latents": "latents",
    "first_latents": "first iteration's latents",
    "shuffled": "latents, another image's maps",
    "clusters": "k-means on base features",
    "placed_blobs": "blobs at random places",
    "centered_blobs": "blobs in the center",
    "random": "random maps",
    "masks": "the masks themselves",  # the most that any map can reach
}
CONTROLS = ("shuffled", "clusters", "placed_blobs", "centered_blobs", "random")
MEASURES = {"entropy": "entropy (share of the maximum)", "gini": "Gini index"}
SETTING_COLUMNS = ["dataset", "images", "rule", "share", "setting", "source", "label", "iteration"]
OVERLAP_COLUMNS = [*SETTING_COLUMNS, "value", "low", "high"]
SPARSITY_COLUMNS = ["dataset", "images", "source", "label", "measure", "iteration", "value", "low", "high"]


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

    @property
    def pixel_shares(self) -> list[float]:
        """The shares of the pixels that are kept of a map, the paper's rule."""
        return sorted(set(self.settings["share"][self.settings["rule"] == "pixels"]))

    @property
    def iterations(self) -> list[int]:
        """The iterations, first to last."""
        return sorted(set(self.settings["iteration"]))


def rule_label(rule: str, share: float) -> str:
    """Say how a segment is cut out of a map."""
    return RULES[rule].format(share)


def sample_overlap(data: StudyData) -> Iterator[OverlapSamples]:
    """Yield the overlap of each data set with masks; none where the study has not been run."""
    table = data.tables.get(OVERLAP)
    for name, part in () if table is None else table.groupby("dataset", sort=False, observed=True):
        yield _sample(str(name), pd.DataFrame(part), data.bootstrap)


def overlap_by_iteration(data: StudyData) -> pd.DataFrame:
    """Mean IoU in per cent, per data set, rule, source of maps and iteration; columns `OVERLAP_COLUMNS`."""
    parts = []
    for part in sample_overlap(data):
        low, high = interval(part.samples, data.bootstrap.confidence)
        parts.append(_describe(part).assign(value=part.samples[0], low=low, high=high)[OVERLAP_COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=OVERLAP_COLUMNS)


def overlap_above_controls(data: StudyData) -> pd.DataFrame:
    """Mean IoU of the latents' maps minus that of each control, last iteration, in points; `OVERLAP_COLUMNS`."""
    parts = []
    for part in sample_overlap(data):
        described = _describe(part)
        last = described[described["iteration"] == part.iterations[-1]].rename_axis("column").reset_index()
        controls = last[last["source"].isin(CONTROLS)]
        pairs = controls.merge(last[last["source"] == "latents"], on=["rule", "share"], suffixes=("", "_own"))
        gain = part.samples[:, pairs["column_own"]] - part.samples[:, pairs["column"]]
        low, high = interval(gain, data.bootstrap.confidence)
        parts.append(pairs.assign(value=gain[0], low=low, high=high)[OVERLAP_COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=OVERLAP_COLUMNS)


def sparsity_by_iteration(data: StudyData) -> pd.DataFrame:
    """Mean entropy and Gini index of maps per data set, source and iteration; columns `SPARSITY_COLUMNS`."""
    parts = []
    for name, images, source, measure, samples in sample_sparsity(data):
        low, high = interval(samples, data.bootstrap.confidence)
        about = {"dataset": name, "images": images, "source": source, "label": SOURCES[source], "measure": measure}
        steps = {"iteration": np.arange(1, samples.shape[1] + 1), "value": samples[0], "low": low, "high": high}
        parts.append(pd.DataFrame({**about, **steps})[SPARSITY_COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SPARSITY_COLUMNS)


def sample_sparsity(data: StudyData) -> Iterator[tuple[str, int, str, str, np.ndarray]]:
    """Yield (data set, images, source, measure, samples (1 + r, iterations)), point estimate first."""
    table = data.tables.get(SPARSITY)
    for name, part in () if table is None else table.groupby("dataset", sort=False, observed=True):
        for source, here in part.groupby("source", sort=False, observed=True):
            for measure in MEASURES:
                values = here.pivot(index="image_id", columns="iteration", values=measure).to_numpy(np.float64)
                samples = resampled_means(values, data.bootstrap.resamples, data.bootstrap.seed)
                yield str(name), len(values), str(source), measure, samples


def attention_examples(data: StudyData) -> pd.DataFrame:
    """The example maps as measured; docs/studies/attention.md describes the columns."""
    return data.tables.get(EXAMPLES, pd.DataFrame())


def _sample(name: str, table: pd.DataFrame, bootstrap: BootstrapConfig) -> OverlapSamples:
    # The share that fitted an image best differs between images: it is no setting.
    keyed = table.assign(share=np.where(table["rule"] == "best", 0.0, table["share"]))
    keys = ["rule", "share", "source", "iteration"]
    values = keyed.pivot(index="image_id", columns=keys, values="miou")
    values = values[list(keyed[keys].drop_duplicates().itertuples(index=False, name=None))]  # in the table's order
    samples = resampled_means(100 * values.to_numpy(np.float64), bootstrap.resamples, bootstrap.seed)
    return OverlapSamples(name, len(values), values.columns.to_frame(index=False), samples)


def _describe(part: OverlapSamples) -> pd.DataFrame:
    """Add the data set and words for the settings."""
    settings = zip(part.settings["rule"], part.settings["share"], strict=True)
    return part.settings.assign(
        dataset=part.dataset,
        images=part.images,
        setting=[rule_label(rule, share) for rule, share in settings],
        label=[SOURCES[source] for source in part.settings["source"]],
    )
