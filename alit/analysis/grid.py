"""The sweep table in wide form: images x lengths arrays, built once, that every analysis indexes.

The table itself is long, one row per image x length (docs/sweep-table.md). A question such as "the smallest length
whose L1 is below 0.07" is a reduction along lengths, so the long form is pivoted once, and checked on the way. What a
score column means (its label, and which way is better) is described here, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from einops import rearrange

from alit.errors import DataError

Better = Literal["lower", "higher"]


class Metric(NamedTuple):
    """A score column, its label, and whether lower or higher values are better."""

    column: str
    label: str
    better: Better
    short: str  # the label without the network that measures it

    @property
    def sign(self) -> float:
        """+1 where higher is better, -1 where lower is."""
        return 1.0 if self.better == "higher" else -1.0


_EXACT: dict[str, tuple[str, Better]] = {
    "l1": ("L1 error", "lower"),
    "l2": ("L2 error", "lower"),
    "psnr": ("PSNR (dB)", "higher"),
    "ssim": ("SSIM", "higher"),
    "bits": ("bits", "lower"),
    "entropy_bits": ("entropy-coded bits", "lower"),
    "entropy_bits_by_position": ("bits, entropy-coded by position", "lower"),
    "frechet_fid": ("FID", "lower"),  # no other network than the reference Inception may be called fid
    "frechet_infinity_fid": ("FID of infinitely many images", "lower"),
    "kernel_fid": ("KID", "lower"),
    "kernel_centered_fid": ("KID of centered features", "lower"),
    "frechet_vgg16": ("Fréchet distance on VGG16 features", "lower"),  # the paper's "FID using VGG16 features"
}
_FAMILIES: dict[str, tuple[str, str, Better]] = {
    "top1_in_set_": ("top-1 accuracy among the set's classes", "of {}", "higher"),
    "top1_": ("top-1 accuracy", "of {}", "higher"),
    "class_rank_in_set_": ("rank of the true class among the set's", "for {}", "lower"),
    "class_rank_": ("rank of the true class", "for {}", "lower"),
    "depth_true_error_": ("relative depth error", "of {} (exact depth)", "lower"),
    "depth_rank_agreement_": ("rank agreement", "of {}'s depth with known depth", "higher"),
    "depth_error_": ("relative depth error", "of {}", "lower"),
    "perceptual_": ("perceptual distance", "on {}", "lower"),
    "caption_score_": ("caption score", "of {}", "higher"),
    "caption_true_score_": ("caption score", "of {} (reference caption)", "higher"),
    "frechet_infinity_": ("Fréchet distance of infinitely many images", "on {}", "lower"),
    "frechet_": ("Fréchet distance", "on {}", "lower"),
    "kernel_centered_": ("centered kernel distance", "on {}", "lower"),
    "kernel_": ("kernel distance", "on {}", "lower"),
}


def metric_info(column: str) -> Metric:
    """Describe a score column of the sweep table; a column of no known family is named as it is, lower is better."""
    if column in _EXACT:
        label, better = _EXACT[column]
        return Metric(column, label, better, label)
    for prefix, (short, network, better) in _FAMILIES.items():
        if column.startswith(prefix):
            return Metric(column, f"{short} {network.format(column.removeprefix(prefix))}", better, short)
    return Metric(column, column, "lower", column)


def criterion_label(column: str) -> str:
    """Name the token-selection criterion that thresholds `column`, as on the axes of the paper's Fig. 5, 6, 14, 15."""
    if column.startswith("class_rank_in_set_"):
        return f"top-X of the set's classes by {column.removeprefix('class_rank_in_set_')}"
    if column.startswith("class_rank_"):
        return f"top-X class of {column.removeprefix('class_rank_')}"
    if column.startswith("depth_error_"):
        return f"depth error of {column.removeprefix('depth_error_')} < threshold"
    described = metric_info(column)
    return f"{described.label} {'<' if described.better == 'lower' else '>'} threshold"


CODEC_LABELS = {"jpeg_bytes": "JPEG bytes", "webp_bytes": "WebP bytes"}  # column with an image's file size -> label


KEY = ("dataset", "split", "image_id")
CONTRAST = "rms_contrast"  # standard deviation of an image's luminance
IMAGE_COLUMNS = ("label", "complexity", CONTRAST, *CODEC_LABELS)  # one value per image, repeated over lengths
TRAINING_DISTANCE = "training_distance_"  # begins such columns too, one for each extractor of features


@dataclass(frozen=True)
class SweepGrid:
    """Scores of every image at every length; l lengths, n images.

    Attributes:
        images: one row per image: dataset, split, image_id and those columns of one value per image that the table
            has: of `IMAGE_COLUMNS`, and training distances.
        lengths: (l,) token counts, ascending; the untouched image (length 0) is not among them.
        scores: column -> (n, l) float64, nan where the table holds null. `top1_<model>` (1 where the class rank
            is 0) is derived from each `class_rank_<model>`, and so is `top1_in_set_<model>`.
        clean: column -> (n,) float64, the score of the untouched image, nan where there is none.
        rows: (n, l) row of the long table, and so of its feature arrays.
        clean_rows: (n,) row of the untouched image, or None when the table has no rows of length 0.
    """

    images: pd.DataFrame
    lengths: np.ndarray
    scores: Mapping[str, np.ndarray]
    clean: Mapping[str, np.ndarray]
    rows: np.ndarray
    clean_rows: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets, in the table's order."""
        return tuple(str(name) for name in self.images["dataset"].unique())

    @property
    def longest(self) -> int:
        """The largest token count."""
        return int(self.lengths[-1])

    def score(self, column: str) -> np.ndarray:
        """Return the (n, l) scores of `column`.

        Raises:
            DataError: the table has no such column; the message lists those it has.
        """
        if column not in self.scores:
            raise DataError(f"expected a column {column!r} in the sweep table, found {', '.join(sorted(self.scores))}")
        return self.scores[column]

    def per_image(self, column: str) -> np.ndarray:
        """Return a column of `images` as (n,) float64, nan where it is null or the table lacks it."""
        if column not in self.images:
            return np.full(len(self), np.nan)
        return self.images[column].to_numpy(dtype=np.float64, na_value=np.nan)

    def codecs(self) -> tuple[str, ...]:
        """Return the columns with file sizes that are known for every image; see `CODEC_LABELS`."""
        return tuple(name for name in CODEC_LABELS if np.isfinite(self.per_image(name)).all())

    def columns(self, prefix: str) -> tuple[str, ...]:
        """Names of the score columns that start with `prefix` and hold at least one value, sorted."""
        found = (name for name, values in self.scores.items() if name.startswith(prefix))
        return tuple(sorted(name for name in found if np.isfinite(self.scores[name]).any()))

    def subset(self, keep: np.ndarray) -> "SweepGrid":
        """Return the grid of the images where `keep` (n,) is true, or with the numbers `keep`, in their order."""
        return SweepGrid(
            images=pd.DataFrame(self.images.loc[keep]).reset_index(drop=True),
            lengths=self.lengths,
            scores={name: values[keep] for name, values in self.scores.items()},
            clean={name: values[keep] for name, values in self.clean.items()},
            rows=self.rows[keep],
            clean_rows=None if self.clean_rows is None else self.clean_rows[keep],
        )

    def dataset(self, name: str) -> "SweepGrid":
        """Return the grid of one data set."""
        if name not in self.datasets:
            raise DataError(f"expected data set {name!r} in the sweep table, found {', '.join(self.datasets)}")
        return self.subset((self.images["dataset"] == name).to_numpy(dtype=bool))

    def arranged(self, datasets: Sequence[str]) -> "SweepGrid":
        """Return the grid with its data sets in the given order, those not named after them."""
        order = [*(name for name in datasets if name in self.datasets)]
        order += [name for name in self.datasets if name not in order]
        place = [order.index(name) for name in self.images["dataset"]]
        return self.subset(np.argsort(place, kind="stable"))

    def complete(self, columns: Iterable[str]) -> "SweepGrid":
        """Return the grid of the images whose scores are known in all `columns` at all lengths.

        Curves of different criteria are compared on such a grid, so that each is a mean over the same images.
        """
        known = np.ones(len(self), dtype=bool)
        for column in columns:
            known &= np.isfinite(self.score(column)).all(axis=1)
        return self if known.all() else self.subset(known)


def to_grid(table: pd.DataFrame) -> SweepGrid:
    """Pivot a sweep table into a `SweepGrid`; images keep the order of their first row.

    Raises:
        DataError: the table is empty, lacks a column that identifies a row, or an image lacks a length or has
            one twice.
    """
    missing = [name for name in (*KEY, "length", "l1") if name not in table]
    if missing:
        raise DataError(
            f"expected a sweep table with column {missing[0]!r}, found {', '.join(map(str, table.columns))}"
        )
    if table.empty:
        raise DataError("expected a sweep table with rows, found an empty one; run the sweep stage")
    lengths = np.unique(table["length"].to_numpy(dtype=np.int64))
    rows = _rows_per_image(table, lengths)  # n (1 +) l
    first = table.iloc[rows[:, 0]]
    images = first[[*KEY, *filter(_is_of_image, map(str, table))]].reset_index(drop=True)
    has_clean = lengths[0] == 0
    if has_clean and len(lengths) == 1:
        raise DataError("expected reconstructions in the sweep table, found only untouched images (length 0)")
    values = {name: _numbers(table, name)[rows] for name in _score_columns(table)}
    values |= {
        name.replace("class_rank_", "top1_", 1): np.where(np.isnan(ranks), np.nan, ranks < 1)
        for name, ranks in values.items()
        if name.startswith("class_rank_")
    }
    start = int(has_clean)
    return SweepGrid(
        images=images,
        lengths=lengths[start:],
        scores={name: scores[:, start:] for name, scores in values.items()},
        clean={name: scores[:, 0] if has_clean else np.full(len(images), np.nan) for name, scores in values.items()},
        rows=rows[:, start:],
        clean_rows=rows[:, 0] if has_clean else None,
    )


def _rows_per_image(table: pd.DataFrame, lengths: np.ndarray) -> np.ndarray:
    """Return (n, lengths) row numbers, one image a line, each line in the order of `lengths`."""
    image = table.groupby(list(KEY), sort=False, dropna=False).ngroup().to_numpy()
    length = table["length"].to_numpy(dtype=np.int64)
    order = np.arange(len(table))
    if not ((np.diff(image) > 0) | ((np.diff(image) == 0) & (np.diff(length) > 0))).all():
        order = np.lexsort((length, image))
    counts = np.bincount(image)
    if len(table) == len(counts) * len(lengths) and (counts == len(lengths)).all():
        rows = rearrange(order, "(n l) -> n l", l=len(lengths))
        if (length[rows] == lengths).all():
            return rows
    raise DataError(_describe_gap(table, image, length, lengths))


def _describe_gap(table: pd.DataFrame, image: np.ndarray, length: np.ndarray, lengths: np.ndarray) -> str:
    for number in range(int(image.max()) + 1):
        found = np.sort(length[image == number])
        if not np.array_equal(found, lengths):
            row = table.iloc[int(np.argmax(image == number))]
            return (
                f"expected every image once at each length {lengths.tolist()}, found image {row['image_id']} of "
                f"{row['dataset']} at {found.tolist()}; run the sweep stage again"
            )
    raise AssertionError("the table is complete")


def _score_columns(table: pd.DataFrame) -> list[str]:
    skip = {*KEY, "length", *filter(_is_of_image, map(str, table))}
    return [name for name in table if name not in skip and pd.api.types.is_numeric_dtype(table[name])]


def _is_of_image(column: str) -> bool:
    """Whether a column has one value per image, repeated over lengths."""
    return column in IMAGE_COLUMNS or column.startswith(TRAINING_DISTANCE)


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    return table[column].to_numpy(dtype=np.float64, na_value=np.nan)


def complexity_measures(grid: SweepGrid) -> dict[str, str]:
    """Return the columns that say how much an image holds, of those known of every image: column -> label.

    Complexity first, then file sizes, then RMS contrast.
    """
    labels = {"complexity": "complexity", **CODEC_LABELS, CONTRAST: "RMS contrast"}
    return {column: label for column, label in labels.items() if np.isfinite(grid.per_image(column)).all()}


def known_confounds(grid: SweepGrid) -> dict[str, np.ndarray]:
    """Return what a loss may owe its relation to other things to, in words -> (n,): codec bytes and RMS contrast.

    Those alone that are known of every image; L1 grows with contrast as with detail.
    """
    known = complexity_measures(grid)
    return {label: grid.per_image(column) for column, label in known.items() if column != "complexity"}


MIN_IMAGES = 10  # fewer images give no distance between distributions


def every_length(grid: SweepGrid) -> np.ndarray:
    """Return the positions (n, l) that give all images each of the lengths."""
    return np.broadcast_to(np.arange(len(grid.lengths)), grid.rows.shape)
