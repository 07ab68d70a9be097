"""Where data sets lie, how many images a whole one has, and how to get it: data/README.md has a recipe for each."""

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alit.data.listing import list_images
from alit.errors import DataError


class Fetch(NamedTuple):
    """A data set that a user has to fetch: what it is, its home page and its size."""

    what: str
    home: str
    size: str
    recipe: str = ""  # the command of data/README.md, where one does most of the work


# By the beginning of the path below $ALIT_DATA or data/; the longest that fits counts.
FETCH = {
    "imagenette": Fetch(
        "Imagenette, the 160 px or 320 px release, with train/ and val/",
        "https://github.com/fastai/imagenette",
        "about 100 MB (160 px) or 330 MB (320 px)",
    ),
    "savoias": Fetch("SAVOIAS, the whole repository", "https://github.com/esaraee/Savoias-Dataset", "1,420 images"),
    "imagenet1k": Fetch(
        "ImageNet-1k (ILSVRC 2012), as train/<wnid>/ and val/<wnid>/",
        "https://www.image-net.org/download.php",
        "about 150 GB",
    ),
    "imagenet100": Fetch(
        "the ImageNet-100 classes of ImageNet-1k, as train/<wnid>/ and val/<wnid>/",
        "https://www.image-net.org/download.php",
        "about 17 GB",
        "python -m experiments.link_imagenet100 IMAGENET1K data/imagenet100",
    ),
    "imagenet-s": Fetch(
        "ImageNet-S, masks for ImageNet images",
        "https://github.com/LUSSeg/ImageNet-S",
        "masks only; the images are ImageNet-1k's",
    ),
    "coco": Fetch("COCO 2017 images with panoptic annotations", "https://cocodataset.org/#download", "about 20 GB"),
    "wit": Fetch(
        "5,000 images of WIT (Wikipedia-based Image Text) as files in val/",
        "https://huggingface.co/datasets/wikimedia/wit_base",
        "about 150 MB of it",
    ),
    "depth": Fetch(
        "images with depth, laid out as data/README.md says: photographs with the answers of MiDaS v2, or NYU Depth V2",
        "https://github.com/isl-org/MiDaS or https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
        "NYU: about 3 GB",
    ),
}

# Images of the whole set, by path below $ALIT_DATA or data/ and split, as their publishers state them.
WHOLE = {
    "imagenet100": {"train": 126_689, "val": 5_000},
    "imagenet1k": {"train": 1_281_167, "val": 50_000},
    "imagenet-s/imagenets919": {"validation": 12_419, "test": 27_423},
    "coco": {"train2017": 118_287, "val2017": 5_000},
    "imagenette": {"train": 9_469, "val": 3_925},
    "savoias": {
        "art": 420,
        "scenes": 200,
        "objects": 200,
        "advertisement": 200,
        "interior_design": 100,
        "suprematism": 100,
        "visualizations": 200,
    },
}


def data_roots(project: Path) -> tuple[Path, ...]:
    """Return the folders that may hold data sets, first choice first: `$ALIT_DATA`, then `<project>/data`."""
    named = os.environ.get("ALIT_DATA")
    return (*([Path(named)] if named else []), project / "data")


def locate_data(path: str, roots: tuple[Path, ...]) -> Path:
    """Return the first `<root>/<path>` that exists.

    Raises:
        DataError: there is none; the message names what to fetch, from where, how large, and where to put it.
    """
    for root in roots:
        if (root / path).exists():
            return root / path
    searched = " or ".join(str(root / path) for root in roots)
    raise DataError(f"expected data at {searched}, found none; {how_to_get(path, roots)}")


def how_to_get(path: str, roots: tuple[Path, ...]) -> str:
    """Return what to do for a data set that is missing at `path`, or not whole there: half a sentence."""
    first = PurePosixPath(path).parts[0].lower()
    beginnings = [name for name in FETCH if first.startswith(name)]
    if not beginnings:
        return "put it there, or set ALIT_DATA to its parent"
    fetch = FETCH[max(beginnings, key=len)]
    command = f"; of ImageNet-1k: {fetch.recipe}" if fetch.recipe else ""
    return (
        f"fetch {fetch.what} ({fetch.size}) from {fetch.home} and put it at {roots[-1] / path}, or set ALIT_DATA to "
        f"the folder that holds {path} (data/README.md has the steps{command})"
    )


def whole_size(path: str, split: str) -> int | None:
    """Return how many images the whole of a known set has; None for a set or split that is not known."""
    return _splits(path).get(split)


def count_images(root: Path, path: str, split: str) -> int:
    """Return how many image files the source `folder` would find in `root`, without reading any.

    A known set that lacks the folder of this split, but has that of another, has no image: `root` itself would give
    the other split's.
    """
    base = root / split
    if not base.is_dir():
        if any((root / other).is_dir() for other in _splits(path)):
            return 0
        base = root
    return len(list_images(base))


def _splits(path: str) -> dict[str, int]:
    name = PurePosixPath(path).as_posix().lower()
    return WHOLE.get("imagenette" if name.startswith("imagenette") else name, {})
