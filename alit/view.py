"""`alit view`: a contact sheet of a token file, each reconstruction beside its original where that is at hand."""

import math
import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from alit.commands import load_onto, make_room, open_tokens, require_device, writing
from alit.data.images import read_view, to_pixels, to_png
from alit.data.listing import chosen_indices
from alit.errors import DataError
from alit.files import is_standard_output, name_to_text, require_free, write_whole
from alit.inputs import find_images
from alit.progress import ProgressBar
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.tokenizer.tokens import TokenFile

TILE, LARGEST_TILE = 128, 256  # pixels per side: smaller pictures are enlarged by a whole number, larger ones shrunk
WIDTH = 1200  # pixels of a sheet, about
GAP, TEXT_SIZE, LINE = 12, 13, 18  # pixels
PAPER, INK, EMPTY, WARNING = "#FFFFFF", "#1F2933", "#E4E7EB", "#A61B1B"


class Cell(NamedTuple):
    """One image of the sheet."""

    name: str
    rebuilt: np.ndarray  # uint8 (h, w, 3)
    original: np.ndarray | None  # uint8 (h, w, 3); None where it is not at hand
    length: int
    satisfied: bool

    @property
    def words(self) -> str:
        """What stands below the pictures: the tokens, and the L1 of the pictures as they are shown, in [0, 1]."""
        tokens = f"{self.length} tokens"
        if self.original is None:
            return tokens
        return f"{tokens}, L1 {np.abs(self.rebuilt / 255 - self.original / 255).mean():.3f}"


def view(arguments: Namespace) -> None:
    """Write a contact sheet; where originals were named, one that is missing is marked and ends it with status 2."""
    require_device(arguments.device)
    file, output = open_tokens(arguments.tokens), arguments.output
    if not len(file.tokens):
        raise DataError(f"expected images in {arguments.tokens}, found none")
    paths = None if arguments.originals is None else find_images(arguments.originals)
    make_room(output)
    if not arguments.force:
        inputs = [arguments.tokens, *(paths or ())]
        require_free(output, inputs, lambda head: head.startswith(b"\x89PNG"), kind="a PNG picture")
    rows = chosen_indices(len(file.tokens), arguments.most)
    tokenizer = load_onto(arguments.model, arguments.device)
    with ProgressBar(len(rows), shown=arguments.progress) as bar:
        cells, missing = read_cells(file, rows, paths, tokenizer, arguments.batch_size, bar)
    images = f"{len(rows)} images" if len(rows) == len(file.tokens) else f"{len(rows)} of {len(file.tokens)} images"
    with writing(output):
        write_whole(output, to_png(draw_sheet(cells, images, pairs=paths is not None)))
    hint = "" if paths is not None else "; without originals, which --originals names"
    stream = sys.stderr if is_standard_output(output) else sys.stdout
    print(f"{images} of {arguments.tokens}: {output}{hint}", file=stream)
    if missing:
        found = len(rows) - len(missing)
        raise DataError(
            f"expected originals of {len(rows)} images, found {found}; {output} marks the others: {'; '.join(missing)}"
        )


def read_cells(
    file: TokenFile,
    rows: Sequence[int],
    paths: Sequence[Path] | None,
    tokenizer: AdaptiveTokenizer,
    batch_size: int,
    bar: ProgressBar,
) -> tuple[list[Cell], list[str]]:
    """Decode some images of a token file and read their originals; also return why which original is missing."""
    names = [printable(name) or f"image {row}" for row, name in enumerate(file.names or [""] * len(file.tokens))]
    originals, missing = read_originals(file.names or names, rows, paths, tokenizer.image_size)
    cells = []
    for part in torch.tensor(rows).split(batch_size):
        tokens = file.tokens[part]
        for row, rebuilt, each in zip(part.tolist(), to_pixels(tokenizer.decode(tokens)), tokens, strict=True):
            cells.append(Cell(names[row], rebuilt, originals.get(row), int(each.lengths), bool(each.satisfied)))
        bar.update(len(part))
    return cells, [f"{names[row]}: {reason}" for row, reason in missing.items()]


def read_originals(
    names: Sequence[str], rows: Sequence[int], paths: Sequence[Path] | None, size: int
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Read the originals of some images as the tokenizer saw them.

    Args:
        names: of all images, as the token file has them.
        rows: the images.
        paths: where originals are; None where nobody asks for any.
        size: of the view, in pixels.

    Returns:
        uint8 (size, size, 3) by row; and by row why one that is asked for is missing.
    """
    if paths is None:
        return {}, {}
    found: dict[int, np.ndarray] = {}
    missing: dict[int, str] = {}
    pairs = pair_with_originals(names, paths)
    for row in rows:
        if row not in pairs:
            missing[row] = "no picture of this name, or several"
            continue
        try:
            found[row] = read_view(pairs[row], size)
        except DataError as error:
            missing[row] = str(error)
    return found, missing


def pair_with_originals(names: Sequence[str], paths: Sequence[Path]) -> dict[int, Path]:
    """Return the picture of each image, by row, where its name tells which it is.

    A name is that of a file, or its path below the folder that was encoded. Where a name stands for several images,
    its pictures are theirs in order if there are as many: the order is that in which `alit encode` takes them.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_name[name_to_text(path.name)].append(path)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[name].append(row)
    pairs: dict[int, Path] = {}
    for name, of_name in rows.items():
        parts = tuple(name.split("/"))
        candidates = by_name.get(parts[-1], [])
        found = [path for path in candidates if tuple(map(name_to_text, path.parts[-len(parts) :])) == parts]
        if len(found) == len(of_name):
            pairs |= dict(zip(of_name, found, strict=True))
    return pairs


def printable(name: str) -> str:
    """Return a name from a file as one line that can be drawn and printed."""
    return "".join(character if character.isprintable() else "?" for character in name)


def draw_sheet(cells: Sequence[Cell], heading: str, *, pairs: bool) -> np.ndarray:
    """Draw a contact sheet, uint8 (h, w, 3), row after row.

    Args:
        cells: the images.
        heading: what they are.
        pairs: leave room for an original on the left of each.
    """
    side = tile_side(cells[0].rebuilt.shape[0])
    width = 2 * side + GAP // 3 if pairs else side
    height = side + 2 * LINE
    columns = min(len(cells), max(1, (WIDTH - GAP) // (width + GAP)))
    lines = math.ceil(len(cells) / columns)
    font = ImageFont.load_default(TEXT_SIZE)
    heading = f"{heading}; left the original, right the reconstruction" if pairs else heading
    least = math.ceil(font.getlength(heading))
    size = (max(columns * (width + GAP), least + GAP) + GAP, lines * (height + GAP) + 2 * GAP + LINE)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), heading, INK, font)
    for number, cell in enumerate(cells):
        line, column = divmod(number, columns)
        left, top = GAP + column * (width + GAP), 2 * GAP + LINE + line * (height + GAP)
        right = left + width - side
        if pairs and cell.original is None:
            draw.rectangle((left, top, left + side - 1, top + side - 1), EMPTY)
            draw.text((left + side / 2, top + side / 2), "no original", INK, font, anchor="mm")
        elif cell.original is not None:
            sheet.paste(to_tile(cell.original, side), (left, top))
        sheet.paste(to_tile(cell.rebuilt, side), (right, top))
        draw.text((left, top + side + 2), shortened(cell.name, font, width), INK, font)
        draw.text((left, top + side + 2 + LINE), cell.words, INK, font)
        if not cell.satisfied:
            draw.text((left + width, top + side + 2 + LINE), "not met", WARNING, font, anchor="ra")
    return np.array(sheet)


def tile_side(side: int) -> int:
    """Return the side at which pictures of a side are shown, in pixels."""
    return min(max(1, TILE // side) * side, LARGEST_TILE)


def to_tile(pixels: np.ndarray, side: int) -> Image.Image:
    """Return a picture, uint8 (h, w, 3), at a side; pixels of enlarged ones stay squares."""
    method = Image.Resampling.NEAREST if side >= len(pixels) else Image.Resampling.BOX
    return Image.fromarray(pixels).resize((side, side), method)


def shortened(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: float) -> str:
    """Return a text that is at most so many pixels wide, without its middle if need be."""
    if font.getlength(text) <= width:
        return text
    for kept in range(min(len(text), 200) - 1, 0, -1):
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= width:
            return short
    return "…"
