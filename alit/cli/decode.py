"""`alit decode`: a token file to PNG pictures."""

import argparse
import re
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image
from tqdm import tqdm

from alit.cli.arguments import add_device, add_model, load_tokenizer, positive_integer, read_bytes, writing
from alit.tokenizer.tokens import unpack

STEM_CHARACTERS = 100  # of a picture's own name; file systems allow about 255 bytes


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("decode", help="a token file to PNG pictures", description=run.__doc__)
    parser.set_defaults(run=run)
    parser.add_argument("tokens", type=Path, help="the token file to read")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write to")
    add_model(parser)
    parser.add_argument(
        "--batch-size", type=positive_integer, default=16, help="pictures at once (default: %(default)s)"
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write each image of a token file as PNG, under its number and its picture's name."""
    file = unpack(read_bytes(arguments.tokens), source=str(arguments.tokens))
    tokenizer = load_tokenizer(arguments.model, arguments.device)
    names = file.names or [""] * len(file.tokens)
    with writing(arguments.output), tqdm(total=len(names), unit="image", disable=None) as bar:
        arguments.output.mkdir(parents=True, exist_ok=True)
        for rows in torch.arange(len(names)).split(arguments.batch_size):
            images = tokenizer.decode(file.tokens[rows])
            pixels = rearrange((images * 255).round().to(torch.uint8), "b c h w -> b h w c").cpu().numpy()
            for row, picture in zip(rows.tolist(), pixels, strict=True):
                Image.fromarray(picture).save(arguments.output / file_name(row, names[row]))
            bar.update(len(rows))


def file_name(row: int, name: str) -> str:
    """Return the PNG name of a row of a token file: names from a file are not trusted to be names of files."""
    stem = re.sub(r"[^\w. -]", "_", Path(name).stem)[:STEM_CHARACTERS]
    return f"{row:05d}-{stem}".rstrip("-") + ".png"
