"""Images in folders: ImageNet's layout, any nesting of it, one flat folder, and SAVOIAS.

SAVOIAS holds pictures with human complexity scores from 0 to 100 (Saraee, Jalal and Betke, arXiv:1810.01771). Two
layouts of it are read. The compact one has a folder per category and one `scores.csv` (file, category, complexity). The
public repository has `Images/<Category>/<number>.jpg` and, per category,
`Ground truth/csv/global_ranking_<category>.csv`, whose column `gt` holds the scores in the order of the numbers.
"""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from alit.data.images import read_image
from alit.data.listing import find_pictures, list_images
from alit.data.sources import OpenFile, Record, number_classes
from alit.data.tables import read_rows, read_score
from alit.errors import DataError
from alit.files import name_to_text, named_file

Layout = TypeVar("Layout")
_WORDNET_ID = re.compile(r"n\d{8}")


class RecordedSource:
    """Images in files, described by one `Record` each and found by its origin; the base of most layouts."""

    def __init__(
        self, name: str, records: tuple[Record, ...], class_names: tuple[str, ...], open_file: OpenFile
    ) -> None:
        self.name = name
        self.records = records
        self.class_names = class_names
        self.open_file = open_file
        self.skipped = ""  # what else lies among the pictures, in words

    def __len__(self) -> int:
        return len(self.records)

    def record(self, index: int) -> Record:
        """Describe one image."""
        return self.records[index]

    def read(self, index: int) -> np.ndarray:
        """Decode one file into uint8 (h, w, 3)."""
        return read_image(self.open_file(self.records[index].origin))

    def depth(self, index: int) -> np.ndarray | None:
        """Return None: plain image files come without depth."""
        return None

    def inverse_depth(self, index: int) -> np.ndarray | None:
        """Return None: plain image files come without depth."""
        return None

    def masks(self, index: int) -> np.ndarray | None:
        """Return None: plain image files come without masks."""
        return None

    def digest(self, index: int) -> str:
        """Return the sha256 of one file."""
        file = self.open_file(self.records[index].origin)
        content = file.read_bytes() if isinstance(file, Path) else file.read()
        return hashlib.sha256(content).hexdigest()


class FileSource(RecordedSource):
    """Images in files; the origin of each is its path below `root`, as `alit.files.name_to_text` writes it."""

    def __init__(self, name: str, root: Path, records: tuple[Record, ...], class_names: tuple[str, ...]) -> None:
        super().__init__(name, records, class_names, partial(named_file, root))
        self.root = root

    def path(self, index: int) -> Path:
        """Return the file of one image."""
        return named_file(self.root, self.records[index].origin)


class PairedSource(FileSource, Generic[Layout]):
    """Images in files, each with a second file, such as a mask or depth, all of one layout."""

    def __init__(
        self,
        name: str,
        root: Path,
        records: tuple[Record, ...],
        class_names: tuple[str, ...],
        partners: tuple[Path | None, ...],
        layout: Layout,
    ) -> None:
        super().__init__(name, root, records, class_names)
        self.layout = layout
        self._partners = partners

    def partner(self, index: int, absent: str) -> Path:
        """Return the file that belongs to an image.

        Raises:
            DataError: there is none; `absent` is the message.
        """
        path = self._partners[index]
        if path is None:
            raise DataError(absent)
        return path


def folder_source(name: str, root: Path, split: str) -> FileSource:
    """Find the images in `root/<split>`, or in `root` itself when it has no such folder.

    The class of an image is the folder it lies in, however deep, and labels number the sorted class names of
    this split. In one flat folder there are no classes, unless every file is named by a WordNet id
    (`n01440764.jpg`), which then names its class.

    Raises:
        DataError: there is no image.
    """
    base = root / split if (root / split).is_dir() else root
    listing = find_pictures(base)
    if not listing.paths:
        skipped = f" ({listing.describe_skipped()})" if listing.skipped else ""
        raise DataError(f"expected images in {base}, found none{skipped}; it takes class folders or image files")
    records, class_names = describe_files(root, base, listing.paths, split)
    source = FileSource(name, root, records, class_names)
    source.skipped = listing.describe_skipped()
    return source


def describe_files(root: Path, base: Path, paths: list[Path], split: str) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Return a record per image file, with its class as `folder_source` has it, and the sorted class names."""
    classes = [None if found is None else name_to_text(found) for found in _classes(base, paths)]
    labels, class_names = number_classes(classes)
    records = tuple(
        Record(
            image_id=name_to_text(path.relative_to(base).as_posix()),
            origin=name_to_text(path.relative_to(root).as_posix()),
            label=label,
            class_name=class_name,
            split=split,
            complexity=None,
            caption=None,
            objects=None,
        )
        for path, label, class_name in zip(paths, labels, classes, strict=True)
    )
    return records, class_names


def _classes(base: Path, paths: list[Path]) -> list[str | None]:
    """Name the class of each file: its folder, else its WordNet id, else None."""
    if all(path.parent == base for path in paths):
        named = all(_WORDNET_ID.fullmatch(path.stem) for path in paths)
        return [path.stem if named else None for path in paths]
    return [None if path.parent == base else path.parent.name for path in paths]


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
            image_id=name_to_text(origin),
            origin=name_to_text(origin),
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
    rows = read_rows(root / "scores.csv", ("file", "category", "complexity"))
    scores = [
        (row["file"], read_score(row["complexity"], root / "scores.csv")) for row in rows if row["category"] == category
    ]
    if not scores:
        known = ", ".join(sorted({row["category"] for row in rows}))
        raise DataError(f"{root / 'scores.csv'} has no category {category}; set split to one of: {known}")
    files = [file for file, _ in scores]
    for file in files:
        if not file or Path(file).is_absolute() or ".." in Path(file).parts or "\0" in file:
            raise DataError(f"{root / 'scores.csv'}: expected paths below {root}, found {file!r}")
    if len(set(files)) < len(files):
        repeated = next(file for file in files if files.count(file) > 1)
        raise DataError(f"{root / 'scores.csv'}: expected each file once in {category}, found {repeated} again")
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
    scores = [read_score(row["gt"], truths[0]) for row in read_rows(truths[0], ("gt",))]
    if len(scores) != len(images):
        raise DataError(f"{truths[0]} has {len(scores)} scores for {len(images)} images; fetch the data set again")
    return [(path.relative_to(root).as_posix(), score) for path, score in zip(images, scores, strict=True)]


def _numbered_images(folder: Path) -> list[Path]:
    """Return the images whose names are numbers, in the order of the numbers."""
    return sorted((path for path in list_images(folder) if path.stem.isdecimal()), key=lambda path: int(path.stem))
