"""Damaged files for the readers of pictures, arrays, tables, settings, token files and checkpoints.

Run as a script, tens of thousands of them:

    python tests/helpers/fuzz_readers.py --inputs 400000

Whatever the damage, a reader answers with the documented error or with something that still checks out. Ends with 1 and
the seeds of the inputs that did anything else.
"""

import argparse
import hashlib
import io
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image, features
from published_names import published_name
from safetensors.torch import load, save, save_file
from tiny import images, tokenizer, tokenizer_config
from tqdm import tqdm

from alit import AdaptiveTokenizer, load_published
from alit.analysis.study_data import read_table
from alit.data.decoding import decode
from alit.data.imageset import COLUMNS, read_manifest
from alit.data.prepare import DataConfig
from alit.data.sources.folder import savoias_source
from alit.data.sources.packed import PackedSource
from alit.data.sources.paired import read_inverse_depth
from alit.errors import AlitError
from alit.inputs import read_path_list
from alit.settings import read_section
from alit.tokenizer.code_model import CARD_FILE, COUNTS_FILE, CodeModel, count_ids
from alit.tokenizer.tokens import DIGEST_BYTES, pack, unpack

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
ODD_VALUES = [b"0", b"-1", b"1", b"7", b"65536", b"99999999999999999999", b"1e999", b"null", b'"x"', b"[]", b"{}"]
SECONDS_EACH = 30  # a reader that takes longer hangs


def mutate(content: bytes, generator: np.random.Generator) -> bytes:
    """Return content with one to four of the changes below."""
    for _ in range(generator.integers(1, 5)):
        change = CHANGES[generator.integers(len(CHANGES))]
        content = change(content, generator) or b"\0"
    return content


def replace_bytes(content: bytes, generator: np.random.Generator) -> bytes:
    """Overwrite up to eight bytes, near the front half of the time: that is where headers are."""
    spoiled = bytearray(content)
    end = min(len(content), 512) if generator.random() < 0.5 else len(content)
    for place in generator.integers(0, end, generator.integers(1, 9)):
        spoiled[place] = generator.integers(256)
    return bytes(spoiled)


def overwrite_word(content: bytes, generator: np.random.Generator) -> bytes:
    """Overwrite a 64-bit word with an extreme one: sizes and offsets are words."""
    place = int(generator.integers(0, max(1, min(len(content), 512) - 8)))
    word = int(generator.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62])).to_bytes(8, "little")
    return content[:place] + word + content[place + 8 :]


def replace_number(content: bytes, generator: np.random.Generator) -> bytes:
    """Replace a number written in digits by an odd value: that is what JSON headers consist of."""
    numbers = list(NUMBER.finditer(content[:4096]))
    if not numbers:
        return content
    found = numbers[generator.integers(len(numbers))]
    return content[: found.start()] + ODD_VALUES[generator.integers(len(ODD_VALUES))] + content[found.end() :]


def insert_bytes(content: bytes, generator: np.random.Generator) -> bytes:
    """Insert up to sixteen bytes."""
    place = int(generator.integers(0, len(content) + 1))
    return content[:place] + generator.bytes(int(generator.integers(1, 17))) + content[place:]


def remove_slice(content: bytes, generator: np.random.Generator) -> bytes:
    """Remove a stretch."""
    first, last = sorted(generator.integers(0, len(content) + 1, 2).tolist())
    return content[:first] + content[last:]


def repeat_slice(content: bytes, generator: np.random.Generator) -> bytes:
    """Repeat a short stretch."""
    first = int(generator.integers(0, len(content)))
    return content[: first + 32] + content[first:]


def cut(content: bytes, generator: np.random.Generator) -> bytes:
    """Keep only a beginning."""
    return content[: int(generator.integers(0, len(content) + 1))]


CHANGES = (replace_bytes, replace_bytes, overwrite_word, replace_number, insert_bytes, remove_slice, repeat_slice, cut)


def mutate_and_sign(content: bytes, generator: np.random.Generator) -> bytes:
    """Give a damaged token file the checksum that fits, so that the damage is read."""
    body = mutate(content[:-DIGEST_BYTES], generator)
    return body + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def misshape(content: bytes, generator: np.random.Generator) -> bytes:
    """Remove, rename or misshape up to three tensors of a safetensors file that is whole otherwise."""
    tensors = load(content)
    for _ in range(generator.integers(1, 4)):
        name = str(generator.choice(sorted(tensors)))
        tensor = tensors.pop(name)
        flat = tensor.flatten()
        shapes = [tensor, flat, flat[:0], flat[:1], tensor[None], tensor.reshape(tensor.shape[::-1]), tensor.long()]
        renamed = ["", name, name, name[: generator.integers(len(name))], re.sub(r"\d+", "99", name)]
        if new_name := str(generator.choice(renamed)):
            tensors[new_name] = shapes[generator.integers(len(shapes))].contiguous().clone()
    return save(tensors)


class Reader(NamedTuple):
    """Something that reads files, undamaged files for it, and how they are damaged."""

    name: str
    originals: list[bytes]
    spoil: Callable[[bytes, np.random.Generator], bytes]
    read: Callable[[bytes], object]


def readers(folder: Path) -> list[Reader]:
    """Return the readers with tiny originals; files are written into `folder`."""
    token_files = token_originals()
    weights, config = own_checkpoint(folder / "ours")
    pickled, tensors = published_checkpoints(folder)
    own, theirs, spoiled_codes = folder / "spoiled", folder / "x.safetensors", folder / "spoiled_codes"
    model, coded = coded_originals()
    card, counts = code_model_files(folder / "codes", model)
    return [
        *readers_of_data(folder / "data"),
        Reader("token file", token_files, mutate, lambda content: unpack(content, source="x")),
        Reader("signed token file", token_files, mutate_and_sign, lambda content: unpack(content, source="x")),
        Reader("coded token file", coded, mutate, lambda content: unpack(content, source="x", entropy=model)),
        Reader("signed coded file", coded, mutate_and_sign, lambda content: unpack(content, source="x", entropy=model)),
        Reader("code_model.json", [card], mutate, lambda content: read_code_model(spoiled_codes, content, counts)),
        Reader(
            "code_model.safetensors", [counts], mutate, lambda content: read_code_model(spoiled_codes, card, content)
        ),
        Reader("published pth", [pickled], mutate, lambda content: read_published(folder / "x.pth", content)),
        Reader("published safetensors", [tensors], mutate, lambda content: read_published(theirs, content)),
        Reader("published tensors", [tensors], misshape, lambda content: read_published(theirs, content)),
        Reader("model.safetensors", [weights], mutate, lambda content: read_own(own, content, config)),
        Reader("own tensors", [weights], misshape, lambda content: read_own(own, content, config)),
        Reader("config.json", [config], mutate, lambda content: read_own(own, weights, content)),
    ]


def readers_of_data(folder: Path) -> list[Reader]:
    """Return the readers of what users bring: pictures, arrays, tables and settings."""
    folder.mkdir()

    def through(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def read_content(content: bytes) -> object:
            (folder / name).write_bytes(content)
            return read(folder / name)

        return read_content

    return [
        Reader("picture", pictures(), mutate, lambda content: decode(io.BytesIO(content))),
        Reader("npz", [arrays(folder / "whole.npz")], mutate, through("x.npz", read_packed)),
        Reader("npy", [arrays(folder / "whole.npy")], mutate, through("x.npy", read_packed)),
        Reader("inverse depth", [depth_map()], mutate, through("d.npy", read_inverse_depth)),
        Reader("scores.csv", [SCORES], mutate, through("scores.csv", read_scores)),
        Reader("manifest", [MANIFEST], mutate, through("manifest.csv", read_manifest)),
        Reader("profile", [PROFILE], mutate, through("p.yaml", lambda path: read_section(path, "data", DataConfig))),
        Reader("table", [parquet()], mutate, through("t.parquet", read_table)),
        Reader("path list", [PATHS], mutate, read_list),
    ]


SCORES = b"file,category,complexity\na.png,art,10\nb.png,art,20.5\nc.png,sup,30\n"
PATHS = "a.png\r\nb/c d.png\n\ncafé.png\n".encode()
ROW = ("a.png", "a.png", "0", "cat", "val", "1.5", "", "", "0" * 64)
MANIFEST = f"{','.join(COLUMNS)}\n{','.join(ROW)}\n".encode()
PROFILE = b"""data:
  image_size: 64
  rejected_share: 0.01
  flip: true
  crop_scale: 0.5
  sets:
  - {name: a, role: train, source: folder, path: a, variant: base, split: "", images: null, pack: false}
"""


def pictures() -> list[bytes]:
    """Return a small picture in each format that is read, and TIFF in each compression."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    found = []
    for image_format in ("BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP", "AVIF"):
        options = {"exif": exif} if image_format in ("JPEG", "PNG", "WEBP", "TIFF") else {}
        if image_format != "AVIF" or features.check("avif"):
            image.save(target := io.BytesIO(), image_format, **options)
            found.append(target.getvalue())
    for compression in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate", "group4"):
        mode = "1" if compression == "group4" else "RGB"
        image.convert(mode).save(target := io.BytesIO(), "TIFF", compression=compression)
        found.append(target.getvalue())
    return found


def arrays(path: Path) -> bytes:
    """Return packed images with all that may stand beside them, or the images alone."""
    pixels = np.zeros((2, 4, 5, 3), np.uint8)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        beside = {"labels": np.array([0, 1]), "class_names": np.array(["a", "b"]), "captions": np.array(["c", "d"])}
        maps = {"depth": np.ones((2, 4, 5), np.float32), "masks": np.zeros((2, 4, 5), np.uint8)}
        np.savez(path, images=pixels, complexity=np.array([1.0, 2.0]), **beside, **maps)
    return path.read_bytes()


def depth_map() -> bytes:
    """Return a map of relative inverse depth."""
    np.save(target := io.BytesIO(), np.arange(20, dtype=np.float32).reshape(4, 5))
    return target.getvalue()


def parquet() -> bytes:
    """Return a table of numbers and text."""
    pd.DataFrame({"l1": np.arange(9.0), "dataset": ["a"] * 9}).to_parquet(target := io.BytesIO())
    return target.getvalue()


def read_packed(path: Path) -> object:
    """Read a file as packed images."""
    return PackedSource("s", path, "")


def read_scores(path: Path) -> object:
    """Read a table of scores."""
    return savoias_source("s", path.parent, "art")


def read_list(content: bytes) -> object:
    """Read bytes as the paths on standard input."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content))
    try:
        return read_path_list()
    finally:
        sys.stdin = before


def token_originals() -> list[bytes]:
    """Return token files of ids, of continuous codes, with names, and of nothing."""
    ids, codes = tokenizer(), tokenizer(tokenizer_config(quantize=False))
    tokens = ids.encode(images(3), budget=4.0)
    return [
        pack(tokens),
        pack(tokens, ["a.png", "b.png", "c.png"]),
        pack(codes.encode(images(2), length=4)),
        pack(tokens[:0]),
    ]


def coded_originals() -> tuple[CodeModel, list[bytes]]:
    """Return a code model, and entropy-coded token files of several lengths, with names, and of nothing."""
    ids = tokenizer()
    known = {length: found.numpy() for length, found in ids.token_ids(images(8, seed=1))}
    assert ids.codebook_size is not None
    model = CodeModel({length: count_ids(found, ids.codebook_size) for length, found in known.items()})
    tokens = ids.encode(images(3), budget=4.0)
    return model, [
        pack(tokens, entropy=model),
        pack(tokens, ["a.png", "b.png", "c.png"], entropy=model),
        pack(tokens[:0], entropy=model),
    ]


def code_model_files(folder: Path, model: CodeModel) -> tuple[bytes, bytes]:
    """Return code_model.json and code_model.safetensors."""
    folder.mkdir()
    model.save(folder, {"images": 8})
    return (folder / CARD_FILE).read_bytes(), (folder / COUNTS_FILE).read_bytes()


def read_code_model(folder: Path, card: bytes, counts: bytes) -> CodeModel:
    """Read bytes as a code model."""
    folder.mkdir(exist_ok=True)
    (folder / CARD_FILE).write_bytes(card)
    (folder / COUNTS_FILE).write_bytes(counts)
    return CodeModel.load(folder)


def own_checkpoint(folder: Path) -> tuple[bytes, bytes]:
    """Return model.safetensors and config.json of a tiny tokenizer."""
    tokenizer().save_pretrained(folder)
    return (folder / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes()


def published_checkpoints(folder: Path) -> tuple[bytes, bytes]:
    """Return the same tokenizer under the authors' names, pickled and as safetensors."""
    config = tokenizer_config()
    tensors = {published_name(name, config): tensor.contiguous() for name, tensor in tokenizer().state_dict().items()}
    torch.save({"ema": tensors, "epoch": 3, "args": argparse.Namespace(lr=1e-4)}, folder / "m.pth")
    save_file(tensors, folder / "m.safetensors")
    return (folder / "m.pth").read_bytes(), (folder / "m.safetensors").read_bytes()


def read_published(path: Path, content: bytes) -> AdaptiveTokenizer:
    """Read bytes as one of the authors' checkpoints."""
    path.write_bytes(content)
    return load_published(path, heads=2)


def read_own(folder: Path, weights: bytes, config: bytes) -> AdaptiveTokenizer:
    """Read bytes as a checkpoint folder."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_bytes(config)
    return AdaptiveTokenizer.from_pretrained(folder)


def outcome(reader: Reader, seed: int) -> str:
    """Return "read", "refused", or the type of an error that no reader may raise."""
    generator = np.random.default_rng(seed)
    content = reader.spoil(reader.originals[generator.integers(len(reader.originals))], generator)
    try:
        reader.read(content)
    except AlitError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:120]
    return "read"


def main() -> None:
    """Damage, read and count."""
    warnings.simplefilter("ignore")  # torch's, about pickles of damaged names
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=50_000, help="files, shared evenly by the readers")
    parser.add_argument("--seed", type=int, default=0, help="of the first input of each reader")
    parser.add_argument("--only", nargs="*", help="names of readers; all by default")
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, _hangs)
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        everything = [one for one in readers(Path(folder)) if not arguments.only or one.name in arguments.only]
        each = -(-arguments.inputs // len(everything))
        for reader in everything:
            counts: Counter[str] = Counter()
            for seed in tqdm(range(arguments.seed, arguments.seed + each), desc=reader.name, disable=None):
                signal.alarm(SECONDS_EACH)
                result = outcome(reader, seed)
                signal.alarm(0)
                if result not in ("read", "refused") and not counts[result]:
                    print(f"{reader.name}, seed {seed}: {result}", flush=True)
                counts[result] += 1
            print(f"{reader.name}: {dict(counts)}", flush=True)
            faults += each - counts["read"] - counts["refused"]
    sys.exit(1 if faults else 0)


def _hangs(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS_EACH} seconds")


if __name__ == "__main__":
    main()
