"""What users bring beside checkpoints: pictures, arrays, tables, settings, data sets, results; each with its reader."""

import contextlib
import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from mutations import Reader, mutate, mutate_json
from PIL import Image, features
from synthetic_report import synthetic_claims
from synthetic_tables import synthetic_table
from tiny import images, tokenizer, tokenizer_config

from alit.analysis.ledger import ledger_from_json, ledger_to_json
from alit.analysis.loading import load_study_data
from alit.analysis.sweep_folder import find_sweep, read_table
from alit.config import parse_profile
from alit.data.decoding import decode, read_pixels
from alit.data.imageset import COLUMNS, read_card, read_manifest
from alit.data.prepare import DataConfig
from alit.data.sources import ImageSource
from alit.data.sources.folder import savoias_source
from alit.data.sources.packed import PackedSource
from alit.data.sources.paired import read_inverse_depth
from alit.data.sources.parquet import parquet_source
from alit.data.sources.webdataset import webdataset_source
from alit.errors import DataError
from alit.inputs import read_path_list
from alit.report.leaderboard.result_file import read_result
from alit.settings import read_section, read_yaml
from alit.tokenizer.parquet import PartCard, TokenRows, write_part
from alit.tokenizer.pictures import EncodedPicture, FinishedPictures
from alit.tokenizer.tokens import read_tokens


def readers_of_data(folder: Path) -> list[Reader]:
    """Return the readers of what users bring: pictures, arrays, tables and settings."""
    folder.mkdir()
    through, shards = folder.joinpath, folder / "shards"
    shards.mkdir()
    return [
        Reader("picture", pictures(), mutate, lambda content: decode(io.BytesIO(content))),
        Reader("mask", pictures()[6:7], mutate, lambda content: read_pixels(io.BytesIO(content))),
        Reader("npz", [arrays(folder / "whole.npz")], mutate, read_whole(through("x.npz"), read_packed)),
        Reader("npy", [arrays(folder / "whole.npy")], mutate, read_whole(through("x.npy"), read_packed)),
        Reader("inverse depth", [depth_map()], mutate, read_whole(through("d.npy"), read_inverse_depth)),
        Reader("scores.csv", [SCORES], mutate, read_whole(through("scores.csv"), read_scores)),
        Reader("manifest", [MANIFEST], mutate, read_whole(through("manifest.csv"), read_manifest)),
        Reader(
            "set.json", [SET_CARD], mutate_json, read_whole(through("set.json"), lambda path: read_card(path.parent))
        ),
        Reader("profile", [PROFILE], mutate, read_whole(through("p.yaml"), read_data_section)),
        Reader("profile values", profiles(), mutate_json, read_profile),
        Reader("path list", [PATHS], mutate, read_list),
        Reader("Parquet of pictures", [pictures_table()], mutate, read_whole(through("p.parquet"), read_parquet)),
        Reader("shard", [shard()], mutate, read_whole(shards / "a.tar", read_shard)),
    ]


def readers_of_results(folder: Path) -> list[Reader]:
    """Return the readers of what commands and stages have written: token parts, sweeps, ledgers."""
    folder.mkdir()
    table = parquet(synthetic_table(3, ("val",)))
    (folder / "table.parquet").write_bytes(table)
    return [
        Reader("table", [parquet(TABLE), table], mutate, read_whole(folder / "t.parquet", read_table)),
        Reader("tokenized part", parts(folder), mutate, read_whole(folder / "p.parquet", read_tokens)),
        Reader("unfinished tokens", [unfinished(folder / "f")], mutate, read_whole(folder / "f", read_unfinished)),
        Reader("record of a sweep", [RECORD], mutate_json, read_whole(folder / "config.json", read_sweep)),
        Reader("result file", [RESULT], mutate_json, read_whole(folder / "result.json", read_result)),
        Reader("claims.json", [ledger_to_json(synthetic_claims()).encode()], mutate_json, read_ledger),
    ]


def read_whole(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return a reader of bytes from one of the file at a path."""

    def read_content(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return read_content


SCORES = b"file,category,complexity\na.png,art,10\nb.png,art,20.5\nc.png,sup,30\n"
PATHS = "a.png\r\nb/c d.png\n\ncafé.png\n".encode()
ROW = ("a.png", "a.png", "0", "cat", "val", "1.5", "", "", "0" * 64)
MANIFEST = f"{','.join(COLUMNS)}\n{','.join(ROW)}\n".encode()
SET_CARD = (
    b'{"name": "a", "role": "train", "source": "folder", "path": null, "variant": "base", '
    b'"split": "", "image_size": 64, "packed": false, '
    b'"class_names": ["cat"], "position": 0, "rejected_share": 0.01}'
)
RECORD = (
    b'{"tokenizer": {"name": "alit", "image_size": 64, "lengths": [4, 8], "base_tokens": 64, "weights_sha256": null}, '
    b'"images": [{"dataset": "val", "images": 3, "class_names": [], "seen_in_training": {"net": 0}}], "seed": null, '
    b'"tasks": [{"kind": "reconstruction"}], "extractors": [{"name": "net"}], "sweep": {"chunk_size": 4}}'
)
RESULT = json.dumps(
    {
        **{"format": 1, "tokenizer": "mine", "kind": "sent in", "version": "1", "checkpoint": "0" * 12},
        **{"command": "python me.py", "dataset": "val", "images": 3, "image_size": 64, "image_ids": "0" * 64},
        **{"judges": {"net": "0" * 64}, "rate": "bits", "measures": {"reused": "not measured", "gflop": {"value": 1}}},
        "lengths": [{"length": 4, "tokens": 4.0, "bits": 16, "entropy_bits": None, "scores": {"l1": {"value": 0.1}}}],
        "budgets": [{"bits": 16, "scores": {"l1": {"value": 0.1, "low": 0.0, "high": 0.2}}}],
    }
).encode()
TABLE = pd.DataFrame({"l1": np.arange(9.0), "dataset": ["a"] * 9})
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


def parquet(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet."""
    table.to_parquet(target := io.BytesIO())
    return target.getvalue()


def pictures_table() -> bytes:
    """Return coded pictures as other tools write them."""
    return parquet(
        pd.DataFrame({"image": [{"bytes": content, "path": None} for content in pictures()[:3]], "id": list("abc")})
    )


def shard() -> bytes:
    """Return a shard of two pictures with class, caption and other facts."""
    members = {
        "a.png": pictures()[6],
        "a.cls": b"1",
        "a.txt": b"a cat",
        "b.png": pictures()[6],
        "b.json": b'{"label": 0}',
    }
    with tarfile.open(fileobj=(target := io.BytesIO()), mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def profiles() -> list[bytes]:
    """Return all profiles of the checkout, as JSON."""
    files = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    return [json.dumps(read_yaml(file)).encode() for file in files]


def parts(folder: Path) -> list[bytes]:
    """Return parts of `alit tokenize` of ids and of continuous codes."""
    found = []
    for model in (tokenizer(), tokenizer(tokenizer_config(quantize=False))):
        tokens = model.encode(images(3), length=4)
        size = tokens.values.shape[1] if tokens.is_continuous else None
        card = PartCard(
            model=tokens.model,
            codebook_size=tokens.codebook_size,
            code_size=size,
            part=0,
            parts=1,
            rejected=(("d.png", "not an image"),),
        )
        rows = TokenRows(list("abc"), tokens.lengths.numpy(), tokens.values.numpy(), tokens.satisfied.numpy())
        write_part(folder, card, rows, tokens.bits_per_token)
        found.append((folder / "part-000000.parquet").read_bytes())
    return found


def unfinished(path: Path) -> bytes:
    """Return what a stopped `alit encode` leaves: three batches."""
    finished = FinishedPictures(path, "settings")
    for name in "abc":
        finished.add({name: EncodedPicture(np.arange(4), True, np.ones(3))})
    return path.read_bytes()


def read_packed(path: Path) -> object:
    """Read a file as packed images."""
    return PackedSource("s", path, "")


def read_every(source: ImageSource) -> object:
    """Read each picture of a source; those that cannot be are none of its faults."""
    for row in range(len(source)):
        with contextlib.suppress(DataError):
            source.read(row)
    return source


def read_parquet(path: Path) -> object:
    """Read a Parquet file of pictures."""
    return read_every(parquet_source("s", path, ""))


def read_shard(path: Path) -> object:
    """Read a folder of one shard."""
    return read_every(webdataset_source("s", path.parent, ""))


def read_data_section(path: Path) -> object:
    """Read a section of a profile."""
    return read_section(path, "data", DataConfig)


def read_profile(content: bytes) -> object:
    """Read JSON as a profile: only what the values of keys are."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON, which is no fault of the profile's reader") from error
    return parse_profile(values, source="p")


def read_unfinished(path: Path) -> object:
    """Read what a stopped command has left."""
    return FinishedPictures(path, "settings")


def read_sweep(path: Path) -> object:
    """Read the record of a sweep beside a table."""
    return load_study_data(find_sweep(path.parent))


def read_ledger(content: bytes) -> object:
    """Read claims."""
    return ledger_from_json(content.decode("utf-8", "replace"))


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
