"""SAVOIAS: pictures with human complexity scores from 0 to 100 (Saraee, Jalal and Betke, arXiv:1810.01771).

Two layouts are read. The compact one has a folder per category and one `scores.csv` (file, category,
complexity). The public repository has `Images/<Category>/<number>.jpg` and, per category,
`Ground truth/csv/global_ranking_<category>.csv`, whose column `gt` holds the scores in the order of the
numbers.
"""

import csv
from pathlib import Path

from alit.data.sources.folder import FileSource
from alit.data.sources.source import Record, list_images
from alit.errors import DataError

# Category -> folder below Images/ and suffix of the ranking file in the public repository.
CATEGORIES = {
    "art": ("Art", "art"),
    "scenes": ("Scenes", "scenes"),
    "objects": ("Objects", "objects"),
    "advertisement": ("Advertisement", "ad"),
    "interior_design": ("Interior Design", "interior_design"),
    "suprematism": ("Suprematism", "sup"),
    "visualizations": ("Visualizations", "vis"),
}
_TRUTH_FOLDERS = ("Ground truth", "GroundTruth")  # both spellings are in circulation


def savoias_source(name: str, root: Path, category: str) -> FileSource:
    """Find the images of one category below `root`, in either layout, with their complexity scores.

    Raises:
        DataError: neither layout is there, the category is unknown or empty, or scores and images differ.
    """
    scores = _compact_scores(root, category) if (root / "scores.csv").is_file() else _public_scores(root, category)
    records = tuple(
        Record(
            image_id=origin,
            origin=origin,
            label=None,
            class_name=None,
            split=category,
            complexity=complexity,
            caption=None,
            objects=None,
        )
        for origin, complexity in scores
    )
    return FileSource(name, root, records, ())


def _compact_scores(root: Path, category: str) -> list[tuple[str, float]]:
    """Return (path, complexity) of each image of a category as `scores.csv` lists them."""
    rows = _rows(root / "scores.csv", ("file", "category", "complexity"))
    scores = [
        (row["file"], _number(row["complexity"], root / "scores.csv")) for row in rows if row["category"] == category
    ]
    if not scores:
        known = ", ".join(sorted({row["category"] for row in rows}))
        raise DataError(f"{root / 'scores.csv'} has no category {category}; set split to one of: {known}")
    return scores


def _public_scores(root: Path, category: str) -> list[tuple[str, float]]:
    """Return (path, complexity) of each image of a category of the public repository."""
    if category not in CATEGORIES:
        raise DataError(f"SAVOIAS has no category {category}; set split to one of: {', '.join(CATEGORIES)}")
    folder, suffix = CATEGORIES[category]
    images = _numbered_images(root / "Images" / folder)
    table = f"csv/global_ranking_{suffix}.csv"
    truths = [root / truth / table for truth in _TRUTH_FOLDERS if (root / truth / table).is_file()]
    if not images or not truths:
        raise DataError(
            f"expected scores.csv, or Images/{folder}/ and '{_TRUTH_FOLDERS[0]}/{table}', in {root}, "
            "found neither; fetch the data set again"
        )
    scores = [_number(row["gt"], truths[0]) for row in _rows(truths[0], ("gt",))]
    if len(scores) != len(images):
        raise DataError(f"{truths[0]} has {len(scores)} scores for {len(images)} images; fetch the data set again")
    return [(path.relative_to(root).as_posix(), score) for path, score in zip(images, scores, strict=True)]


def _numbered_images(folder: Path) -> list[Path]:
    """Return the images whose names are numbers, in the order of the numbers."""
    return sorted((path for path in list_images(folder) if path.stem.isdecimal()), key=lambda path: int(path.stem))


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file that must have these columns."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{path} lacks the column {sorted(missing)[0]}; expected {', '.join(columns)}")
        return list(reader)


def _number(text: str, path: Path) -> float:
    """Read a score."""
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{path}: expected a number as complexity, found {text!r}") from error
