"""Tokenize a data set: images of any source in, Parquet parts out, by processes that each take whole parts.

A part is a run of consecutive images and the unit of work: it is written aside and renamed when it is whole, so that a
run that was stopped, however, goes on after the parts that are there. What a part holds depends on its images, the
tokenizer and the number of tokens asked for, not on who writes it: one process, several, or actors of a Ray cluster.

A budget needs the losses of all images before the first length is chosen. Every image is therefore encoded at all
lengths first, into parts below `_candidates/`; the lengths are then chosen, and the parts written from there.
"""

import csv
import hashlib
import io
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from alit.data.images import batch_of, center_view
from alit.data.sources import ImageSource
from alit.errors import ConfigError, DataError, require
from alit.files import plain_text, write_whole
from alit.tokenizer.batch import PREDICTED, EncodeConfig, check_rule, encode_batch, rule_settings
from alit.tokenizer.budget import allocate_budget
from alit.tokenizer.encoding import Encoded
from alit.tokenizer.parquet import (
    PartCard,
    TokenRows,
    is_finished,
    part_file,
    read_card,
    read_columns,
    read_rows,
    write_part,
)
from alit.tokenizer.tokenizer import AdaptiveTokenizer, checked_batches
from alit.tokenizer.tokens import TokenSet

# Readers that take a folder of Parquet files for one table pass over names that begin with an underscore.
RECORD_FILE = "_tokenize.json"
REJECTED_FILE = "_rejected.csv"
CANDIDATES = "_candidates"  # folder of every image's tokens at all lengths, until a budget is spent


class TokenizeConfig(EncodeConfig):
    """How many tokens an image of a data set gets, and how the work is cut."""

    images_per_part: PositiveInt = 1000
    readers: PositiveInt = 4  # threads that decode pictures, in each process


Rejected = tuple[str, str]  # id of an image that could not be read, and the reason
Advance = Callable[[int], object]  # takes how many more images have been read


class TokenizeJob(NamedTuple):
    """All that a process needs; it travels to others by pickle."""

    source: ImageSource
    model: str  # folder or hub id of the checkpoint
    out: Path
    config: TokenizeConfig

    @property
    def parts(self) -> int:
        """Number of parts of the whole set."""
        return -(-len(self.source) // self.config.images_per_part)

    @property
    def target(self) -> Path:
        """Folder that processes write parts to."""
        return self.out if self.config.budget is None else self.out / CANDIDATES

    def images_of(self, part: int) -> range:
        """Return the places of a part's images in the source."""
        start = part * self.config.images_per_part
        return range(start, min(start + self.config.images_per_part, len(self.source)))


class PartEncoder:
    """Reads, encodes and writes parts; one lives in each process."""

    def __init__(self, job: TokenizeJob, tokenizer: AdaptiveTokenizer) -> None:
        self._job, self._tokenizer = job, tokenizer

    @staticmethod
    def load(job: TokenizeJob, device: str) -> "PartEncoder":
        """Load the tokenizer onto a device."""
        return PartEncoder(job, AdaptiveTokenizer.from_pretrained(job.model).to(torch.device(device)).eval())

    def __call__(self, part: int, advance: Advance) -> list[Rejected]:
        """Write a part, and return which of its images could not be read.

        Raises:
            ConfigError: a batch does not fit the device's memory.
        """
        names: list[str] = []
        rejected: list[Rejected] = []
        tokens, losses = self._encode(self._batches(part, names, rejected, advance))
        card = PartCard(
            model=tokens.model,
            codebook_size=tokens.codebook_size,
            code_size=tokens.values.shape[1] if tokens.is_continuous else None,
            part=part,
            parts=self._job.parts,
            rejected=tuple(rejected),
        )
        rows = TokenRows(names, tokens.lengths.numpy(), tokens.values.numpy(), tokens.satisfied.numpy())
        write_part(self._job.target, card, rows, tokens.bits_per_token, _loss_column(losses))
        return rejected

    def _encode(self, batches: Iterator[Tensor]) -> tuple[TokenSet, np.ndarray | None]:
        """Return tokens; for a budget those of all lengths in one run, and the L1 (images, lengths) of each."""
        config, tokenizer = self._job.config, self._tokenizer
        encoded: list[Encoded] = []
        losses: list[np.ndarray] = []
        checked = checked_batches(
            batches, size=tokenizer.image_size, batch_size=config.batch_size, device=tokenizer.device
        )
        for images in checked:
            of_batch, losses_of_batch = encode_batch(tokenizer, images, config)
            encoded += of_batch
            losses.append(losses_of_batch)
        if config.budget is None:
            return tokenizer.token_set(encoded), None
        return tokenizer.token_set(encoded), np.concatenate([np.empty((0, len(tokenizer.lengths))), *losses])

    def _batches(self, part: int, names: list[str], rejected: list[Rejected], advance: Advance) -> Iterator[Tensor]:
        """Yield images (b, 3, h, w) of a part, and note each picture as named or as rejected."""
        size, views = self._tokenizer.image_size, self._views(self._job.images_of(part))
        while group := list(islice(views, self._job.config.batch_size)):
            good = [view for _, view in group if isinstance(view, np.ndarray)]
            names += [name for name, view in group if isinstance(view, np.ndarray)]
            rejected += [(name, view) for name, view in group if isinstance(view, str)]
            if good:
                yield batch_of(good, size)
            advance(len(group))

    def _views(self, indices: range) -> Iterator[tuple[str, np.ndarray | str]]:
        """Yield the id of each image and its center view, or the reason why there is none, reading ahead on threads."""
        config = self._job.config
        ahead: deque[Future[tuple[str, np.ndarray | str]]] = deque()
        with ThreadPoolExecutor(config.readers) as pool:
            for index in indices:
                ahead.append(pool.submit(self._view, index))
                if len(ahead) > 2 * config.batch_size:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _view(self, index: int) -> tuple[str, np.ndarray | str]:
        source = self._job.source
        name = _id(source, index)
        try:
            return name, center_view(source.read(index), self._tokenizer.image_size)
        except DataError as error:
            return name, str(error)


def _loss_column(losses: np.ndarray | None) -> dict[str, Any]:
    if losses is None:
        return {}
    import pyarrow

    return {"losses": pyarrow.FixedSizeListArray.from_arrays(losses.reshape(-1), losses.shape[1])}


Engine = Callable[[TokenizeJob, Sequence[int], Advance], Iterator[list[Rejected]]]  # see `alit.tokenizer.engines`


def tokenize(
    job: TokenizeJob, tokenizer: AdaptiveTokenizer, engine: Engine, *, rejected_share: float, advance: Advance
) -> list[Rejected]:
    """Write all parts of a data set that are not there yet, and the list of images that could not be read.

    Args:
        job: what to encode, and where the parts go.
        tokenizer: that of `job.model`.
        engine: encodes the parts that it is given.
        rejected_share: most unreadable images, as a share of the whole set, before the run ends.
        advance: is told how many images are done, those of earlier runs first.

    Returns:
        id and reason of each image that could not be read, also by earlier runs.

    Raises:
        ConfigError: the tokenizer has no such length, or the folder holds the parts of another run.
        DataError: more images than allowed could not be read.
    """
    require("pyarrow")
    check_rule(job.config, tokenizer)
    _claim(job, tokenizer)
    most = rejected_share * len(job.source)
    finished = {card.part: card.rejected for card in map(read_card, _encoded_parts(job))}
    rejected = [each for part in sorted(finished) for each in finished[part]]
    advance(sum(len(job.images_of(part)) for part in finished))
    _check_share(rejected, most, job)
    open_parts = [part for part in range(job.parts) if part not in finished]
    if open_parts:
        job.target.mkdir(exist_ok=True)
        for found in engine(job, open_parts, advance):
            rejected += found
            _check_share(rejected, most, job)
    if job.config.budget is not None:
        _spend_budget(job, tokenizer)
    return _list_rejected(job)


def _claim(job: TokenizeJob, tokenizer: AdaptiveTokenizer) -> None:
    """Note what the parts of a folder are made of, or compare with what is noted there."""
    config = job.config
    record = {
        "format": 1,
        "tokenizer": tokenizer.fingerprint,
        "view": f"short side resized (bicubic, antialiased), center crop of {tokenizer.image_size} px",
        **rule_settings(config, tokenizer),
        "images_per_part": config.images_per_part,
        "images": len(job.source),
        "ids_sha256": _ids_sha256(job.source),
    }
    path = job.out / RECORD_FILE
    if not path.is_file():
        if job.out.exists() and any(job.out.iterdir()):
            raise ConfigError(f"expected {job.out} to be empty or begun by alit tokenize, found other files there")
        job.out.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps({**record, "checkpoint": job.model}, indent=2) + "\n").encode())
        return
    try:
        found = dict.fromkeys(PREDICTED) | json.loads(path.read_text())
        differing = next((name for name in record if found[name] != record[name]), None)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: remove {job.out} or choose another folder") from error
    if differing is not None:
        raise ConfigError(
            f"{job.out} holds parts of another run, with {differing} {found[differing]}, and this one has "
            f"{record[differing]}; give the same settings to go on with it, or choose another folder"
        )


def _ids_sha256(source: ImageSource) -> str:
    digest = hashlib.sha256()
    for index in range(len(source)):
        digest.update(_id(source, index).encode() + b"\n")
    return digest.hexdigest()


def _id(source: ImageSource, index: int) -> str:
    """Return the id of an image as text that UTF-8 can hold: names of files may be any bytes."""
    return source.record(index).image_id.encode(errors="backslashreplace").decode()


def _encoded_parts(job: TokenizeJob) -> list[Path]:
    """Return the files of the parts that need no encoding: the parts themselves, or the candidates of a budget."""
    parts = [part_file(job.out, part) for part in range(job.parts)]
    if job.config.budget is not None and not all(path.is_file() for path in parts):
        parts = [part_file(job.target, part) for part in range(job.parts)]
    return [path for path in parts if path.is_file()]


def _check_share(rejected: list[Rejected], most: float, job: TokenizeJob) -> None:
    if len(rejected) > most:
        name, reason = rejected[-1]
        raise DataError(
            f"{len(rejected)} of {len(job.source)} images could not be read, more than --rejected-share allows; "
            f"the last is {name}: {reason}"
        )


def _spend_budget(job: TokenizeJob, tokenizer: AdaptiveTokenizer) -> None:
    """Choose the length of every image, and write all parts from the candidates, unless that has been done."""
    if not all(is_finished(job.out, part) for part in range(job.parts)):
        candidates = [part_file(job.target, part) for part in range(job.parts)]
        losses = [_losses(path) for path in candidates]
        images = sum(map(len, losses))
        assert job.config.budget is not None
        chosen = allocate_budget(np.concatenate(losses), tokenizer.lengths, job.config.budget * images)
        shares = np.split(chosen, np.cumsum([len(each) for each in losses])[:-1])
        for path, share in zip(candidates, shares, strict=True):
            card, rows = read_rows(path)
            write_part(job.out, card, pick_lengths(rows, tokenizer.lengths, share), tokenizer.bits_per_token)
    shutil.rmtree(job.target, ignore_errors=True)


def _losses(path: Path) -> np.ndarray:
    """Return the L1 (images, lengths) of a part of the candidates."""
    column = read_columns(path, ("losses",))["losses"]
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)


def pick_lengths(rows: TokenRows, lengths: Sequence[int], chosen: np.ndarray) -> TokenRows:
    """Return the tokens of one length of each image, of rows that hold those of all `lengths` one behind the other.

    Args:
        rows: of b images.
        lengths: token counts, in the order of the tokens.
        chosen: (b,) index into `lengths` of each image.
    """
    counts = np.asarray(lengths, np.int64)
    starts = np.arange(len(chosen)) * counts.sum() + (np.cumsum(counts) - counts)[chosen]
    return rows.select(starts, counts[chosen])


def _list_rejected(job: TokenizeJob) -> list[Rejected]:
    """Write which images could not be read, with the part that lacks them, even where there is none."""
    cards = [read_card(part_file(job.out, part)) for part in range(job.parts)]
    rows = [(card.part, each) for card in cards for each in card.rejected]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "reason", "part"))
    for part, (name, reason) in rows:
        writer.writerow((plain_text(name), plain_text(reason), part_file(job.out, part).name))
    write_whole(job.out / REJECTED_FILE, text.getvalue().encode())
    return [each for _, each in rows]
