"""Where real data lies on this machine, and what to say when it is missing."""

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alit.errors import DataError


class Fetch(NamedTuple):
    """What a user needs to know to get a data set."""

    what: str
    home: str
    size: str


# By the beginning of the path below $ALIT_DATA or data/; the longest one that fits is meant.
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
    ),
    "imagenet-s": Fetch(
        "ImageNet-S, masks for ImageNet images",
        "https://github.com/LUSSeg/ImageNet-S",
        "masks only; the images are ImageNet-1k's",
    ),
    "coco": Fetch("COCO 2017 images with panoptic annotations", "https://cocodataset.org/#download", "about 20 GB"),
    "depth": Fetch(
        "images with depth, laid out as data/README.md says: photographs with the answers of MiDaS v2, or NYU Depth V2",
        "https://github.com/isl-org/MiDaS or https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
        "NYU: about 3 GB",
    ),
}


def data_roots(project: Path) -> tuple[Path, ...]:
    """Return the folders that may hold data sets, first choice first: `$ALIT_DATA`, then `<project>/data`."""
    named = os.environ.get("ALIT_DATA")
    return (*([Path(named)] if named else []), project / "data")


def locate_data(path: str, roots: tuple[Path, ...]) -> Path:
    """Return the first `<root>/<path>` that exists.

    Raises:
        DataError: there is none; one line says what to fetch, from where, how large, and where to put it.
    """
    for root in roots:
        if (root / path).exists():
            return root / path
    searched = " or ".join(str(root / path) for root in roots)
    beginnings = [name for name in FETCH if PurePosixPath(path).parts[0].lower().startswith(name)]
    if not beginnings:
        raise DataError(f"expected data at {searched}, found none; put it there, or set ALIT_DATA to its parent")
    fetch = FETCH[max(beginnings, key=len)]
    raise DataError(
        f"expected data at {searched}, found none; fetch {fetch.what} ({fetch.size}) from {fetch.home} "
        f"and put it at {roots[-1] / path}, or set ALIT_DATA to the folder that holds {path}"
    )
