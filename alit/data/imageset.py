"""Image sets: folders with a manifest, which later stages read by row, whole or in part."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt, ValidationError

from alit.data.crops import RandomCrop, cut, read_crop
from alit.data.images import center_view, read_image, to_images, to_tensor
from alit.data.listing import chosen_indices
from alit.data.locate import data_roots, locate_data
from alit.data.sources import FACTORS, OpenFile, Record
from alit.data.sources.huggingface import open_rows
from alit.data.sources.webdataset import open_member
from alit.errors import DataError
from alit.files import named_file, plain_text
from alit.settings import FolderName, Settings

if TYPE_CHECKING:
    from torch import Tensor


CARD_FILE = "set.json"
COLUMNS = (*Record._fields, "sha256")
_TYPES = {
    "image_id": "string",
    "origin": "string",
    "label": "Int64",
    "class_name": "string",
    "split": "string",
    "complexity": "Float64",
    "caption": "string",
    "objects": "Int64",
    "sha256": "string",
}


def build_manifest(records: Sequence[Record], digests: Sequence[str]) -> pd.DataFrame:
    """Return one row per record: image_id, origin, label (Int64), class_name, split, complexity, caption,
    objects (Int64), sha256; unknown values are missing.

    Raises:
        DataError: an image stands twice.
    """
    table = pd.DataFrame.from_records([_plain(record) for record in records], columns=list(Record._fields))
    ids = [record.image_id for record in records]
    if len(set(ids)) < len(ids):
        twice = next(one for one, count in Counter(ids).items() if count > 1)
        raise DataError(f"expected each image once, found {twice} again; leave one of the two out")
    return table.assign(sha256=list(digests)).astype(_TYPES)


def _plain(record: Record) -> Record:
    class_name, caption = (None if text is None else plain_text(text) for text in (record.class_name, record.caption))
    return record._replace(class_name=class_name, caption=caption)


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write a manifest as CSV, with the same bytes everywhere."""
    manifest.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest with the column types of `build_manifest`.

    Raises:
        DataError: the file is missing or is not a manifest.
    """
    if not path.is_file():
        raise DataError(f"expected a manifest at {path}, found none; run the data stage")
    try:
        # Only an empty field is missing: a class may well be called "None" or "nan".
        table = pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""])
        if tuple(table.columns) != COLUMNS:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
        manifest = table.astype(_TYPES)
        _check_manifest(manifest)
        return manifest
    except Exception as error:  # pandas and pyarrow raise a dozen classes on damaged files
        raise DataError(f"{path} is not a manifest: {error}; run the data stage again") from error


def _check_manifest(manifest: pd.DataFrame) -> None:
    """Refuse rows that are cut off, numbers out of range, and an image that stands twice."""
    for name in ("image_id", "origin", "sha256"):
        missing = np.flatnonzero(manifest[name].isna().to_numpy(bool))
        if len(missing):
            raise ValueError(f"row {missing[0] + 2} lacks {name}")
    twice = np.flatnonzero(manifest["image_id"].duplicated().to_numpy(bool))
    if len(twice):
        raise ValueError(f"the image {manifest['image_id'].iloc[twice[0]]} stands twice")
    if not np.isfinite(manifest["complexity"].dropna().to_numpy(float)).all():
        raise ValueError("a complexity is no finite number")
    if (manifest["label"].dropna().to_numpy(np.int64) < 0).any():
        raise ValueError("a label is below 0")


Indices: TypeAlias = "Sequence[int] | np.ndarray | Tensor"


class SetDescription(Settings):
    """Name, role and origin of an image set: in a profile, and beside its manifest."""

    name: FolderName
    # evaluate: swept, and every claim is assessed on it; depth_check: swept, for how far depth networks may be trusted
    # alone; study: not swept, read only by the studies that name it; task: read only by the task models that name it
    role: Literal["train", "evaluate", "depth_check", "study", "task"]
    source: str
    path: Annotated[str, Field(min_length=1)] | None  # below $ALIT_DATA or data/; null for scenes
    variant: str | None  # of embedded scenes
    split: str

    @property
    def swept(self) -> bool:
        """Whether the sweep table has its images."""
        return self.role in ("evaluate", "depth_check")

    @property
    def controlled(self) -> bool:
        """Whether its complexity is set by hand, one factor at a time: no sample of images like the other sets."""
        return self.source == "scenes" and self.variant in FACTORS


class SetCard(SetDescription):
    """`set.json`: the name, role and origin of a set."""

    image_size: PositiveInt
    packed: bool
    class_names: tuple[str, ...]
    position: int = 0  # among the sets of its profile
    rejected_share: float = Field(default=0.0, ge=0, le=1)  # of its images that a training may find unreadable


def read_card(folder: Path) -> SetCard:
    """Read the `set.json` of a set.

    Raises:
        DataError: there is none that can be read.
    """
    try:
        return SetCard.model_validate_json((folder / CARD_FILE).read_bytes(), strict=True)
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise DataError(
            f"expected an image set in {folder}, found none that can be read; run the data stage"
        ) from error


def read_cards(data: Path) -> list[SetCard]:
    """Read what the sets of a run are, in the order of its profile; `data` is `runs/<profile>/data`."""
    cards = [read_card(path.parent) for path in sorted(data.glob(f"*/{CARD_FILE}"))]
    return sorted(cards, key=lambda card: card.position)


class ImageSet:
    """Square images with labels, depth, captions and masks where they are known, by row of the manifest.

    A packed set memory-maps `images.npy` (uint8 n h w c), `depth.npy` (float16 n h w, meters) or
    `inverse_depth.npy` (float32 n h w), and `masks.npy` (uint8 n h w); another reads each image's file, which
    `open_file` finds by the image's origin.
    """

    packed = True  # images lie in an array, small and decoded
    rejected_share = 0.0

    def __init__(self, folder: Path, card: SetCard, open_file: OpenFile | None) -> None:
        self.folder = folder
        self.name = card.name
        self.role = card.role
        self.image_size = card.image_size
        self.class_names = card.class_names
        self.rejected_share = card.rejected_share
        self.packed = open_file is None
        self.manifest: pd.DataFrame = read_manifest(folder / "manifest.csv")
        self._open_file = open_file
        if open_file is None and len(self._array("images.npy")) != len(self.manifest):
            raise DataError(f"{folder}: images.npy and manifest.csv differ in length; run the data stage again")

    def __len__(self) -> int:
        return len(self.manifest)

    def images(self, indices: Indices) -> "Tensor":
        """Return float32 images (b, 3, h, w) in [0, 1].

        Raises:
            DataError: a file has become unreadable since the data stage.
        """
        rows = np.asarray(indices, np.int64)
        if self.packed:
            return to_images(self._array("images.npy")[rows])
        return to_images(np.stack([self.view(int(row)) for row in rows]))

    def view(self, row: int, crop: RandomCrop | None = None) -> np.ndarray:
        """Return one image, uint8 (h, w, 3): its center square, or a crop of its file (of a packed set: of the square).

        Raises:
            DataError: the file has become unreadable since the data stage.
        """
        if self._open_file is None:
            square = self._array("images.npy")[row]
            return np.array(square) if crop is None else cut(square, crop, self.image_size)
        origin = str(self.manifest["origin"].iloc[row])
        try:
            file = self._open_file(origin)
            if crop is not None:
                return read_crop(file, crop, self.image_size)
            return center_view(read_image(file), self.image_size)
        except DataError as error:
            fault = f"{self.name}: {origin}: {error}"
            raise DataError(f"{fault}; it was readable before, so run the data stage again") from error

    def labels(self, indices: Indices) -> "Tensor":
        """Return int64 labels (b,) into `class_names`, -1 where unknown."""
        return to_tensor(self._labels[np.asarray(indices, np.int64)])

    def depth(self, indices: Indices) -> "Tensor | None":
        """Return float32 depth (b, h, w) in meters, or None for a set without."""
        rows = self._rows("depth.npy", indices)
        return None if rows is None else to_tensor(rows.astype(np.float32))

    def inverse_depth(self, indices: Indices) -> "Tensor | None":
        """Return relative inverse depth (b, h, w), larger is nearer, or None for a set without; not finite: unknown."""
        rows = self._rows("inverse_depth.npy", indices)
        return None if rows is None else to_tensor(rows)

    def captions(self, indices: Indices) -> list[str | None]:
        """Return the reference caption of each image, None where there is none."""
        rows = self.manifest["caption"].iloc[np.asarray(indices, np.int64)]
        return [None if pd.isna(caption) else str(caption) for caption in rows]

    def masks(self, indices: Indices) -> "Tensor | None":
        """Return the segment of each pixel, uint8 (b, h, w), or None for a set without.

        Segments of an image (instances, or classes) are numbered from 1; 0 is background, 255 unknown.
        """
        rows = self._rows("masks.npy", indices)
        return None if rows is None else to_tensor(rows)

    @cached_property
    def _labels(self) -> np.ndarray:
        return self.manifest["label"].fillna(-1).to_numpy(np.int64)

    def _rows(self, name: str, indices: Indices) -> np.ndarray | None:
        """Copy rows of an optional array."""
        return self._array(name)[np.asarray(indices, np.int64)] if (self.folder / name).is_file() else None

    def _array(self, name: str) -> np.ndarray:
        """Map an array again on each use: a kept map would keep every page that was ever read resident."""
        try:
            return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except Exception as error:
            raise DataError(f"{self.folder / name} is missing or damaged; run the data stage again") from error


def open_set(folder: Path, *, data_root: Path | None = None) -> ImageSet:
    """Open a set that the data stage wrote.

    Args:
        folder: `runs/<profile>/data/<name>`.
        data_root: for a set that is not packed, the folder that its path is relative to; by default
            `$ALIT_DATA`, else `data/` of the checkout that `folder` lies in.

    Raises:
        DataError: the folder is not a set, or the files of an unpacked one are missing.
    """
    card = read_card(folder)
    if card.packed or card.path is None:
        return ImageSet(folder, card, None)
    checkout = folder.resolve().parents[3]  # of <checkout>/runs/<profile>/data/<name>
    roots = (data_root,) if data_root is not None else data_roots(checkout)
    if card.source == "huggingface":
        return ImageSet(folder, card, open_rows(card.path, card.split, roots))
    root = locate_data(card.path, roots)
    return ImageSet(folder, card, partial(open_member if card.source == "webdataset" else named_file, root))


class Subset(ImageSet):
    """At most `limit` images of a set, spread evenly over it."""

    def __init__(self, whole: ImageSet, limit: int | None) -> None:
        self.folder = whole.folder
        self.name = whole.name
        self.role = whole.role
        self.image_size = whole.image_size
        self.class_names = whole.class_names
        self.rejected_share = whole.rejected_share
        self.packed = whole.packed
        self._whole = whole
        self._chosen = np.array(chosen_indices(len(whole), limit), dtype=np.int64)
        self.manifest = whole.manifest.iloc[self._chosen].reset_index(drop=True)

    def images(self, indices: Indices) -> "Tensor":
        """Return float32 images (b, 3, h, w) in [0, 1]."""
        return self._whole.images(self._in_whole(indices))

    def view(self, row: int, crop: RandomCrop | None = None) -> np.ndarray:
        """Return one image, uint8 (h, w, 3), as a center square or a crop."""
        return self._whole.view(int(self._chosen[row]), crop)

    def depth(self, indices: Indices) -> "Tensor | None":
        """Return depth (b, h, w) in meters, or None."""
        return self._whole.depth(self._in_whole(indices))

    def inverse_depth(self, indices: Indices) -> "Tensor | None":
        """Return relative inverse depth (b, h, w), larger is nearer, or None."""
        return self._whole.inverse_depth(self._in_whole(indices))

    def masks(self, indices: Indices) -> "Tensor | None":
        """Return the segment of each pixel, uint8 (b, h, w), or None."""
        return self._whole.masks(self._in_whole(indices))

    def _in_whole(self, indices: Indices) -> np.ndarray:
        return self._chosen[np.asarray(indices, np.int64)]
