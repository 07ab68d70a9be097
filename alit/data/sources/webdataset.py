"""Images in WebDataset shards: tar files in which the files of a sample follow each other and share a key.

A key is a member's path up to the first dot of its name, the rest is the kind: `.jpg` (or another picture), `.cls` (the
number or name of a class), `.txt` (a caption), `.json` (`label`, `class_name`, `caption`; the others come first). The
tars are walked once, for the manifest: an image's origin, `<shard>@<offset>+<size>`, then says where its bytes lie, so
that any image can be read at any time. A stream, as the `webdataset` package reads it, could not be resumed there.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from alit.data.listing import IMAGE_SUFFIXES, find_files
from alit.data.sources import Record, number_classes
from alit.data.sources.folder import RecordedSource
from alit.errors import DataError
from alit.files import name_to_text, named_file, read_text

CLASSES_FILE = "classes.txt"  # beside the shards: the name of class 0, 1, ..., one a line
_MEMBER = re.compile(r"((?s:.*/)?[^./]+)\.([^/]+)")  # key, kind
_ORIGIN = re.compile(r"(.+)@(\d+)\+(\d+)")


class Member(NamedTuple):
    """A file in a shard."""

    key: str
    kind: str  # in lower case, without the first dot
    origin: str
    content: bytes  # of the small files; empty for pictures


def webdataset_source(name: str, root: Path, split: str) -> RecordedSource:
    """Find the images of the shards in `root/<split>/`, or of those in `root` whose names have the split as a word.

    An image's id is `<shard>/<key>`. Classes that are numbers take their names from `classes.txt` or from the samples'
    `class_name`, else they are named by their numbers; labels stay as they are.

    Raises:
        DataError: there are no such shards, one is damaged, or a label is no class.
    """
    shards = _find_shards(root, split)
    samples = [sample for shard in tqdm(shards, f"index: {name}", unit="shard") for sample in _samples(shard, root)]
    if not samples:
        raise DataError(f"expected samples with a picture in {len(shards)} shards of {root}, found none")
    described = [_describe(sample) for sample in samples]
    labels, class_names = _classes(described, shards[0].parent / CLASSES_FILE)
    records = tuple(
        Record(
            image_id=f"{Path(sample[0].origin.rpartition('@')[0]).stem}/{sample[0].key}",
            origin=next(member.origin for member in sample if _is_picture(member.kind)),
            label=label,
            class_name=None if label is None else class_names[label],
            split=split,
            complexity=None,
            caption=description.caption,
            objects=None,
        )
        for sample, description, label in zip(samples, described, labels, strict=True)
    )
    return RecordedSource(name, records, class_names, partial(open_member, root))


def open_member(root: Path, origin: str) -> BinaryIO:
    """Return a file of a shard below `root`, by its origin, in memory.

    Raises:
        DataError: the shard is missing or shorter than it was.
    """
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        raise DataError(f"expected <shard>@<offset>+<size>, found {origin}")
    shard, offset, size = found[1], int(found[2]), int(found[3])
    try:
        with named_file(root, shard).open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise DataError(f"the shard cannot be read: {error.strerror}") from error
    if len(content) < size:
        raise DataError(f"the shard ends {size - len(content)} bytes too early")
    return io.BytesIO(content)


def list_shards(folder: Path) -> list[Path]:
    """Return the shards in a folder, not in those below it."""
    return find_files(folder, (".tar",), deep=False).paths


def _find_shards(root: Path, split: str) -> list[Path]:
    folder = root / split
    if folder.is_dir():
        shards = list_shards(folder)
    else:
        word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(split)}(?![A-Za-z0-9])")
        shards = [path for path in list_shards(root) if word.search(path.stem)]
    if not shards:
        raise DataError(f"expected shards {folder}/*.tar, or {root}/*{split}*.tar with the split as a word, found none")
    return shards


def _samples(shard: Path, root: Path) -> Iterator[list[Member]]:
    """Yield the members of each sample that has a picture."""
    for _, members in groupby(
        _members(shard, name_to_text(shard.relative_to(root).as_posix())), key=lambda member: member.key
    ):
        sample = list(members)
        if any(_is_picture(member.kind) for member in sample):
            yield sample


def _members(shard: Path, name: str) -> Iterator[Member]:
    try:
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                found = _MEMBER.fullmatch(info.name)
                if found is None or not info.isfile() or info.issparse():
                    continue
                key, kind = name_to_text(found[1]), found[2].lower()
                file = tar.extractfile(info) if kind in ("cls", "txt", "json") else None
                content = b"" if file is None else file.read()
                yield Member(key, kind, f"{name}@{info.offset_data}+{info.size}", content)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"expected a tar file of samples in {shard}, found a damaged one ({error})") from error


def _is_picture(kind: str) -> bool:
    return f".{kind}" in IMAGE_SUFFIXES


class _Description(NamedTuple):
    """What the small files of a sample say."""

    label: str | int | None
    class_name: str | None
    caption: str | None


def _describe(sample: list[Member]) -> _Description:
    texts = {member.kind: member.content.decode("utf-8", errors="replace").strip() for member in sample}
    try:
        known = json.loads(texts.get("json") or "{}")
    except json.JSONDecodeError as error:
        raise DataError(f"{sample[0].origin}: sample {sample[0].key} has a .json that is none: {error}") from error
    known = known if isinstance(known, dict) else {}
    label = texts.get("cls") or known.get("label")
    class_name, caption = known.get("class_name"), texts.get("txt") or known.get("caption")
    if isinstance(label, str) and label.removeprefix("-").isdecimal():
        label = int(label)
    if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
        raise DataError(f"{sample[0].origin}: expected a number or a name as label of {sample[0].key}, found {label!r}")
    if isinstance(label, int) and label < 0:
        label = None  # unknown, as in other layouts
    return _Description(label, None if class_name is None else str(class_name), caption and str(caption))


def _classes(described: list[_Description], listing: Path) -> tuple[list[int | None], tuple[str, ...]]:
    """Return labels and class names; names that stand without a number are numbered in their order."""
    if any(isinstance(each.label, str) for each in described) or all(each.label is None for each in described):
        return number_classes([str(each.label) if each.label is not None else each.class_name for each in described])
    labels = [each.label for each in described]
    count = 1 + max(label for label in labels if isinstance(label, int))
    names = {each.label: each.class_name for each in described if each.class_name is not None}
    class_names = [names.get(number) or str(number) for number in range(count)]
    if listing.is_file():
        try:
            class_names = read_text(listing).split("\n")
        except OSError as error:
            raise DataError(f"cannot read {listing}: {error.strerror}") from error
        class_names = [line.strip() for line in class_names if line.strip()]
        if len(class_names) < count:
            raise DataError(f"expected the names of {count} classes in {listing}, found {len(class_names)}")
    return labels, tuple(class_names)  # type: ignore[return-value]
