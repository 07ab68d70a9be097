"""Pictures that the stage `examples` keeps, of composed scenes, which anyone may be shown: which of them go where."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from alit.analysis.sweep_folder import SweepFolder, read_table
from alit.paths import RunPaths

COLUMNS = (
    "kind",  # own, baseline or variant
    "tokenizer",  # "own", or the name of the baseline or the variant
    "dataset",
    "image_id",
    "complexity",  # 0 to 100, as the generator set it
    "length",  # 0: the original
    "bits",
    "l1",
    "picture",  # a PNG file
)


def read_pictures(sweep: SweepFolder) -> pd.DataFrame:
    """Return the pictures of a sweep's run, columns `COLUMNS`; empty where there are none to show."""
    if sweep.root is not None:
        path = RunPaths(sweep.root, sweep.profile).pictures
        if path.is_file():
            return read_table(path)
    return pd.DataFrame(columns=list(COLUMNS))


def shown_by_complexity(pictures: pd.DataFrame, images: int, lengths: int) -> pd.DataFrame:
    """Return the profile's own pictures of a few images, the simplest first: the original, then ever more tokens.

    Args:
        pictures: columns `COLUMNS`.
        images: at most so many, evenly over the order of complexity.
        lengths: at most so many, evenly, both ends included.

    Returns:
        Columns `COLUMNS`, row and column: where a picture goes in a figure, in words.
    """
    own = _spread_images(pictures.loc[pictures["kind"] == "own"], images)
    shown = own.loc[own["length"].isin([0, *_spread(own["length"], lengths)])]
    return _placed(shown, _complexities(shown), _tokens(shown))


def shown_beside_baselines(pictures: pd.DataFrame, images: int, lengths: int) -> pd.DataFrame:
    """Return pictures of the profile's tokenizer at a few lengths, then of each baseline in about as many bits.

    Args:
        pictures: columns `COLUMNS`.
        images: at most so many, evenly over the order of complexity, the most complex first.
        lengths: of the profile's own, at most so many; a baseline has the one whose bits are nearest those of the most.

    Returns:
        As `shown_by_complexity`.
    """
    own = shown_by_complexity(pictures, images, lengths)
    if own.empty:
        return own
    most = own.loc[own["length"] == own["length"].max(), "bits"].mean()
    parts = [own]
    others = pictures.loc[(pictures["kind"] == "baseline") & (pictures["length"] > 0)]
    for name, part in others.groupby("tokenizer", sort=False):
        bits = part.groupby("length")["bits"].mean()
        nearest = (np.log(bits) - np.log(most)).abs().idxmin()
        shown = part.loc[(part["length"] == nearest) & part["image_id"].isin(own["image_id"])]
        parts.append(_placed(shown, _complexities(shown), f"{name}, {bits.loc[nearest]:.0f} bits"))
    return pd.concat(parts).sort_values("complexity", ascending=False, kind="stable").reset_index(drop=True)


def shown_of_variants(pictures: pd.DataFrame, variants: Sequence[str], images: int, lengths: int) -> pd.DataFrame:
    """Return pictures of some variants, in their order, at a few of the lengths that all have, then the original.

    Args:
        pictures: columns `COLUMNS`.
        variants: names; those without pictures are left out.
        images: at most so many, evenly over the order of complexity.
        lengths: at most so many.

    Returns:
        As `shown_by_complexity`; a row for each image and length.
    """
    found = [pictures.loc[(pictures["kind"] == "variant") & (pictures["tokenizer"] == name)] for name in variants]
    found = [_spread_images(part, images) for part in found if len(part)]
    if not found:
        return _placed(pictures.iloc[:0], "", "")
    chosen = _spread(set.intersection(*(set(part["length"]) for part in found)), lengths)
    originals = found[0].loc[found[0]["length"] == 0].assign(tokenizer="original")
    rebuilt = [part.loc[part["length"].isin(chosen)] for part in found]
    shown = pd.concat([*rebuilt, *(originals.assign(length=length) for length in chosen)], ignore_index=True)
    shown = shown.sort_values(["complexity", "length"], kind="stable")
    rows = _complexities(shown) + ", " + _tokens(shown)
    return _placed(shown, rows, pd.Series(list(shown["tokenizer"]), shown.index, dtype=object))


def _placed(pictures: pd.DataFrame, row: pd.Series | str, column: pd.Series | str) -> pd.DataFrame:
    return pictures.assign(row=row, column=column).reset_index(drop=True)


def _complexities(pictures: pd.DataFrame) -> pd.Series:
    return pd.Series([f"complexity {value:.0f}" for value in pictures["complexity"]], pictures.index, dtype=object)


def _tokens(pictures: pd.DataFrame) -> pd.Series:
    words = [f"{length} tokens" if length else "original" for length in pictures["length"]]
    return pd.Series(words, pictures.index, dtype=object)


def _spread_images(pictures: pd.DataFrame, count: int) -> pd.DataFrame:
    ordered = pictures.sort_values(["complexity", "image_id", "length"], kind="stable")
    names = ordered["image_id"].unique()
    return ordered.loc[ordered["image_id"].isin([names[place] for place in _places(len(names), count)])]


def _spread(lengths: Iterable[int], count: int) -> list[int]:
    different = sorted({int(length) for length in lengths if length > 0})
    return [different[place] for place in _places(len(different), count)]


def _places(total: int, count: int) -> list[int]:
    """Return at most `count` of `total` places, evenly, both ends included."""
    if total == 0:
        return []
    return sorted({int(place) for place in np.linspace(0, total - 1, min(count, total)).round()})
