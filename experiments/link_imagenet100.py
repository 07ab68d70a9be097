"""Link ImageNet-100 out of ImageNet-1k: the 100 classes of data/imagenet100.txt, without a copy of any image."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from alit.cli import path
from alit.data.locate import count_images, whole_size
from alit.errors import DataError, run_command
from alit.paths import project_root

LIST = Path("data/imagenet100.txt")
SPLITS = ("train", "val")


def main(argv: Sequence[str] | None = None) -> None:
    """Write OUT/train/<wnid> and OUT/val/<wnid>, links to the class folders of IMAGENET."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("imagenet", type=path, metavar="IMAGENET", help="holds train/<wnid>/ and val/<wnid>/")
    parser.add_argument("out", type=path, metavar="OUT", help="such as data/imagenet100")
    arguments = parser.parse_args(argv)
    ids = (project_root() / LIST).read_text(encoding="utf-8").split()
    link_classes(arguments.imagenet, arguments.out, ids)
    for split in SPLITS:
        found, whole = count_images(arguments.out, "imagenet100", split), whole_size("imagenet100", split)
        print(f"{arguments.out / split}: {len(ids)} classes, {found:,} images; the whole set has {whole:,}")


def link_classes(imagenet: Path, out: Path, ids: Sequence[str]) -> None:
    """Link the class folders `ids` of both splits into `out`; links that are there already stay.

    Raises:
        DataError: a class folder is missing, or something else has the place of a link.
    """
    missing = [imagenet / split / one for split in SPLITS for one in ids if not (imagenet / split / one).is_dir()]
    if missing:
        raise DataError(
            f"expected {len(ids)} class folders in train/ and val/ of {imagenet}, {len(missing)} missing, the first "
            f"is {missing[0]}; val/ of the download is flat: sort it into class folders first (data/README.md)"
        )
    for split in SPLITS:
        (out / split).mkdir(parents=True, exist_ok=True)
        for one in ids:
            link, target = out / split / one, (imagenet / split / one).resolve()
            if not link.is_symlink() and link.exists():
                raise DataError(f"expected no file or a link at {link}, found something else; name another folder")
            if link.is_symlink() and link.resolve() != target:
                link.unlink()
            if not link.is_symlink():
                os.symlink(target, link, target_is_directory=True)


if __name__ == "__main__":
    run_command(main)
