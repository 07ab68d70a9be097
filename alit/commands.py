"""What the subcommands of `alit` do; `alit.cli` parses their arguments and imports this when one is run."""

import os
import re
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch

from alit.data.images import to_pixels, to_png
from alit.data.sources.opening import open_source
from alit.describe import describe_parts, describe_tokenizer, describe_tokens, to_json
from alit.errors import ConfigError, DataError
from alit.files import is_special, is_standard_output, is_utf8, require_free, write_whole
from alit.inputs import find_images
from alit.models.weights import CONFIG_FILE, WEIGHTS_FILE
from alit.progress import ProgressBar
from alit.tokenizer.batch import EncodeConfig
from alit.tokenizer.cost import LengthCost, measure_lengths
from alit.tokenizer.dataset import RECORD_FILE, REJECTED_FILE, TokenizeConfig, TokenizeJob
from alit.tokenizer.dataset import tokenize as tokenize_set
from alit.tokenizer.engines import here, processes, ray_actors
from alit.tokenizer.length_predictor import PredictedLoss
from alit.tokenizer.opening import open_file
from alit.tokenizer.origin import ORIGIN_FILE, Origin, write_origin
from alit.tokenizer.pictures import encode_files, finished_pictures
from alit.tokenizer.published import published_config
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.tokenizer.tokens import MAGIC, TokenFile, pack, read_stream, read_tokens

STEM_CHARACTERS = 100  # of a picture's own name; file systems allow about 255 bytes, some 143
STEM_BYTES = 120
LICENSE = "The authors published these weights without a license; the code that reads them is Apache-2.0."
HEADINGS = ("tokens", "bits", "encode ms", "decode ms", "encode GFLOP", "decode GFLOP", "images/s", "peak MiB")


def encode(arguments: Namespace) -> None:
    """Encode every readable picture; unreadable ones are named, left out, and end the command with status 2."""
    rule = lengths_by(arguments)
    require_device(arguments.device)
    paths = find_images(arguments.images)
    make_room(arguments.output)
    if not arguments.force:
        require_free(arguments.output, paths, lambda head: head.startswith(MAGIC), kind="a token file")
    tokenizer = load_onto(arguments.model, arguments.device)
    config = EncodeConfig(**rule, budget=arguments.mean_length, batch_size=arguments.batch_size)
    with writing(arguments.output):
        finished = finished_pictures(arguments.output, tokenizer, config)
        if finished:
            print(f"{arguments.output}: goes on after {len(finished)} pictures that are done", file=sys.stderr)
        try:
            with ProgressBar(len(paths), shown=arguments.progress) as bar:
                encoded = encode_files(paths, tokenizer, config, finished, bar=bar, strict=arguments.strict)
        except KeyboardInterrupt as error:
            if finished.path is None or not finished:
                raise
            done = f"{len(finished)} pictures are done, run the same command again to continue"
            raise KeyboardInterrupt(done) from error
        write_whole(arguments.output, pack(encoded.tokens, encoded.names))
        finished.remove()
    print(describe_tokens(encoded.tokens), file=sys.stderr if is_standard_output(arguments.output) else sys.stdout)
    if encoded.unreadable:
        raise DataError(
            f"{len(encoded.unreadable)} of {len(paths)} pictures could not be read and are not in {arguments.output}: "
            f"{'; '.join(encoded.unreadable)}"
        )


def lengths_by(arguments: Namespace) -> dict[str, Any]:
    """Return what says how many tokens a picture gets, but for a mean: settings of `EncodeConfig`.

    Raises:
        ConfigError: a confidence without a predicted length, or one that nothing can promise.
    """
    found = {name: getattr(arguments, name) for name in ("length", "until_l1", "until_predicted_l1")}
    if arguments.until_predicted_l1 is None and arguments.confidence is not None:
        raise ConfigError("--confidence goes with --until-predicted-l1")
    if arguments.until_predicted_l1 is None:
        return found
    confidence = PredictedLoss.confidence if arguments.confidence is None else arguments.confidence
    return found | {"confidence": PredictedLoss(arguments.until_predicted_l1, confidence).confidence}


def tokenize(arguments: Namespace) -> None:
    """Encode a data set into Parquet parts; unreadable pictures are listed, left out, and end it with status 2."""
    require_device("cpu" if arguments.engine == "ray" else arguments.device)
    config = TokenizeConfig(
        **lengths_by(arguments),
        budget=arguments.budget,
        images_per_part=arguments.images_per_part,
        batch_size=arguments.batch_size,
        readers=arguments.readers,
    )
    if Path(arguments.source).is_dir() and arguments.output.resolve().is_relative_to(Path(arguments.source).resolve()):
        raise ConfigError(
            f"expected an output outside of {arguments.source}, found {arguments.output}: the next run would take its "
            "parts for the data set"
        )
    make_room(arguments.output / RECORD_FILE)
    folder = Path(arguments.model)  # other processes may start in another place
    model = str(folder.absolute()) if folder.is_dir() else arguments.model
    source = open_source(arguments.source, arguments.split)
    if source.skipped:
        print(f"{arguments.source}: {source.skipped}", file=sys.stderr)
    job = TokenizeJob(source, model, arguments.output.absolute(), config)
    elsewhere = arguments.engine == "ray" or arguments.devices > 1
    tokenizer = load_onto(arguments.model, "cpu" if elsewhere else arguments.device)
    if arguments.engine == "ray":
        engine = ray_actors(arguments.device, arguments.devices)
    else:
        engine = processes(arguments.device, arguments.devices) if elsewhere else here(tokenizer)
    with ProgressBar(len(job.source), shown=arguments.progress) as bar, writing(arguments.output):
        share, advance = arguments.rejected_share, advance_after_start(bar)
        rejected = tokenize_set(job, tokenizer, engine, rejected_share=share, advance=advance)
    print(describe_parts(arguments.output))
    if rejected:
        raise DataError(
            f"{len(rejected)} of {len(job.source)} pictures could not be read and are not in {arguments.output}: "
            f"{REJECTED_FILE} there lists them; to take them in, mend them, remove their parts and run this again"
        )


def advance_after_start(bar: ProgressBar) -> Callable[[int], object]:
    """Return what moves a bar on by images; the first call tells those of earlier runs."""
    moves = chain([bar.skip], repeat(bar.update))
    return lambda images: next(moves)(images)


def decode(arguments: Namespace) -> None:
    """Write each image of a token file as PNG, under its number and its picture's name."""
    require_device(arguments.device)
    file = open_tokens(arguments.tokens)
    names = file.names or [""] * len(file.tokens)
    if not arguments.force:
        for row, name in enumerate(names):
            place = arguments.output / file_name(row, name)
            require_free(place, [arguments.tokens], lambda head: head.startswith(b"\x89PNG"), kind="a PNG picture")
    tokenizer = load_onto(arguments.model, arguments.device)
    with writing(arguments.output), ProgressBar(len(names), shown=arguments.progress) as bar:
        arguments.output.mkdir(parents=True, exist_ok=True)
        for rows in torch.arange(len(names)).split(arguments.batch_size):
            for row, pixels in zip(rows.tolist(), to_pixels(tokenizer.decode(file.tokens[rows])), strict=True):
                write_whole(arguments.output / file_name(row, names[row]), to_png(pixels))
            bar.update(len(rows))


def file_name(row: int, name: str) -> str:
    """Return the PNG name of a row of a token file: names from a file are not trusted to be names of files."""
    stem = re.sub(r"[^\w. -]", "_", Path(name.replace("\0", "_")).stem)[:STEM_CHARACTERS]
    stem = stem.encode("utf-8", "replace")[:STEM_BYTES].decode("utf-8", "ignore")
    return f"{row:05d}-{stem}".rstrip("-") + ".png"


def info(arguments: Namespace) -> None:
    """Print what a token file or a checkpoint folder holds: lengths in tokens, sizes in bits, bytes and parameters."""
    if (arguments.path / RECORD_FILE).is_file() or arguments.path.suffix == ".parquet":
        found = describe_parts(arguments.path)
    elif arguments.path.is_dir():
        found = describe_tokenizer(load_onto(str(arguments.path), "cpu"))
    else:
        found = describe_tokens(open_tokens(arguments.path).tokens)
    print(to_json(found) if arguments.json else found)


def convert(arguments: Namespace) -> None:
    """Write a published checkpoint as model.safetensors, config.json and a model card; each tensor is checked."""
    if not is_utf8(arguments.output):
        raise ConfigError(f"expected an output whose name is UTF-8, found {arguments.output}; choose another")
    if not arguments.force:
        require_own_folder(arguments.output, arguments.checkpoint)
    opened = open_file(arguments.checkpoint, heads=arguments.heads)
    tokenizer = opened.tokenizer
    card = {
        "source": str(arguments.output),
        "license_text": LICENSE,
        "notes": f"Converted from the authors' `{arguments.checkpoint.name}`.",
    }
    with writing(arguments.output):
        save_folder(tokenizer, arguments.output, card, opened.origin)
    print(f"wrote {arguments.output}: {describe_tokenizer(tokenizer)}")


def save_folder(tokenizer: AdaptiveTokenizer, folder: Path, card: Mapping[str, str], origin: Origin) -> None:
    """Write a checkpoint aside, and rename its files into a folder once all are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert.", dir=folder) as aside:
        tokenizer.save_pretrained(aside, model_card_kwargs=dict(card))
        write_origin(Path(aside), origin)
        for file in sorted(Path(aside).iterdir()):
            os.replace(file, folder / file.name)


def require_own_folder(folder: Path, checkpoint: Path) -> None:
    """Check that converting would write over nothing but an earlier conversion.

    Raises:
        ConfigError: it would.
    """
    known = {
        CONFIG_FILE: b'"distillation"',
        WEIGHTS_FILE: b'"distillation.',
        "README.md": b"alit",
        ORIGIN_FILE: b"sha256",
    }
    for name, mark in known.items():
        kind = "a file of a converted checkpoint"
        require_free(folder / name, [checkpoint], lambda head, mark=mark: mark in head, kind=kind)


def bench(arguments: Namespace) -> None:
    """Print what each length costs, as a table or as JSON."""
    require_device(arguments.device)
    if arguments.model is None:
        tokenizer = to_device(AdaptiveTokenizer(published_config(arguments.size)), arguments.device)
    else:
        tokenizer = load_onto(arguments.model, arguments.device)
    shape = (arguments.batch_size, 3, tokenizer.image_size, tokenizer.image_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(tokenizer.device)
    lengths = measure_lengths(tokenizer, images, rounds=arguments.rounds)
    costs = []
    with ProgressBar(len(tokenizer.lengths), unit="length") as bar:
        for cost in lengths:
            costs.append(cost)
            bar.update()
    settings = {"batch_size": arguments.batch_size, "rounds": arguments.rounds, **describe_machine(tokenizer.device)}
    about = describe_tokenizer(tokenizer)
    if arguments.json:
        what = {"model": arguments.model or f"{arguments.size}, random weights", "tokenizer": about.tokenizer}
        print(to_json({**what, **settings, "lengths": costs}))
        return
    print(about)
    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    print(table(costs))


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what the times depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def table(costs: list[LengthCost]) -> str:
    """Return lengths as lines of right-aligned columns."""
    rows = [HEADINGS, *(tuple(map(_format, cost)) for cost in costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _format(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def load_onto(model: str, device: str) -> AdaptiveTokenizer:
    """Load a checkpoint folder or hub id onto a device."""
    return to_device(AdaptiveTokenizer.from_pretrained(model), device)


def require_device(device: str) -> None:
    """Check that a device is here, before any work.

    Raises:
        ConfigError: it is not.
    """
    try:
        if (found := torch.device(device)).type == "cpu" and found.index:
            raise RuntimeError("there is one CPU")  # torch would take any number for it
        torch.empty(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"expected a torch device of this machine, found {device}: {reason}") from error


def to_device(tokenizer: AdaptiveTokenizer, device: str) -> AdaptiveTokenizer:
    """Move a tokenizer to a device of this machine.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        return tokenizer.to(torch.device(device)).eval()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise ConfigError(f"expected a torch device of this machine, found {device}: {error}") from error


def open_tokens(path: Path) -> TokenFile:
    """Read a token file, what `alit tokenize` wrote, or standard input for -."""
    if str(path) != "-":
        return read_tokens(path)
    if sys.stdin is None:
        raise DataError("expected a token file on standard input, found it closed")
    return read_stream(sys.stdin.buffer, source="standard input")


def make_room(path: Path) -> None:
    """Make the folder of a file that will be written, before any work is done.

    Raises:
        DataError: the file cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if is_special(path):
        return
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise DataError(f"cannot write to {path}: it is a folder or in one without write permission; choose another")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write below into one line that names the place."""
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads any longer, which is no fault
    except OSError as error:
        raise DataError(f"cannot write to {path}: {error.strerror or error}; choose another place") from error


COMMANDS = {"encode": encode, "tokenize": tokenize, "decode": decode, "info": info, "convert": convert, "bench": bench}
