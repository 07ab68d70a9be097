"""Encode picture files batch by batch, and go on where a command was stopped, however it was.

What is done is kept beside the token file until that is written: one hidden file, a record for each batch. A picture is
known by the SHA-256 of its file, so that a changed one is encoded again, whatever its name and date; a record by the
tokenizer, by how many tokens were asked for and by the version of this package. Batches are cut as without a stop.
"""

import hashlib
import io
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from alit import __version__
from alit.data.decoding import describe_fault
from alit.data.images import batch_of, center_view, read_image
from alit.errors import DataError
from alit.files import is_open_file, is_special, name_to_text
from alit.progress import ProgressBar
from alit.tokenizer.batch import EncodeConfig, check_rule, encode_batch, rule_settings
from alit.tokenizer.budget import allocate_budget
from alit.tokenizer.encoding import Encoded
from alit.tokenizer.tokenizer import AdaptiveTokenizer
from alit.tokenizer.tokens import TokenSet

_HEAD = struct.Struct("<Q16s")  # of a record: bytes behind it, and their digest


class EncodedPicture(NamedTuple):
    """What is kept of one picture."""

    values: np.ndarray  # (k,) ids or (k, z) codes; for a budget those of all lengths, one behind the other
    satisfied: bool
    losses: np.ndarray  # (lengths,) float64, the L1 of each, for a budget; else empty


class FinishedPictures:
    """Pictures that are encoded, by the digest of their file, in memory and in a file that outlives a stopped command.

    Records of other settings in that file are passed over, and so are damaged ones.
    """

    def __init__(self, path: Path | None, settings: str) -> None:
        """Read what an earlier command has left.

        Args:
            path: the file; None keeps nothing.
            settings: all that the tokens depend on beside the picture.
        """
        self.path = path
        self._key = hashlib.blake2b(settings.encode(), digest_size=32).digest()
        self._pictures: dict[str, EncodedPicture] = {}
        if path is not None and path.is_file():
            self._read(path)

    def __contains__(self, digest: str) -> bool:
        return digest in self._pictures

    def __getitem__(self, digest: str) -> EncodedPicture:
        return self._pictures[digest]

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, pictures: Mapping[str, EncodedPicture]) -> None:
        """Keep a batch: once this returns, a kill of the process does not lose it.

        Raises:
            OSError: it cannot be written.
        """
        self._pictures.update(pictures)
        if self.path is None:
            return
        values, satisfied, losses = zip(*pictures.values(), strict=True)
        target = io.BytesIO()
        np.savez(
            target,
            digests=np.array(list(pictures)),
            lengths=np.array([len(each) for each in values]),
            values=np.concatenate(values),
            satisfied=np.array(satisfied),
            losses=np.stack(losses),
        )
        body = target.getvalue()
        with self.path.open("ab", buffering=0) as file:
            file.write(_HEAD.pack(len(body), self._digest(body)) + body)

    def remove(self) -> None:
        """Remove the file, after the tokens have been written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        content, place = path.read_bytes(), 0
        while place + _HEAD.size <= len(content):
            size, digest = _HEAD.unpack_from(content, place)
            body = content[place + _HEAD.size : place + _HEAD.size + size]
            if len(body) < size:
                break
            if self._digest(body) == digest:
                self._pictures.update(_pictures_of(body))
            place += _HEAD.size + size
        if place < len(content):  # the kill came while a record was written: the next one follows the last whole one
            os.truncate(path, place)

    def _digest(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._key, digest_size=16).digest()


def _pictures_of(body: bytes) -> Iterator[tuple[str, EncodedPicture]]:
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        starts = np.cumsum(arrays["lengths"])[:-1]
        values = np.split(arrays["values"], starts)
        rows = zip(arrays["digests"].tolist(), values, arrays["satisfied"].tolist(), arrays["losses"], strict=True)
        for digest, tokens, satisfied, losses in rows:
            yield digest, EncodedPicture(tokens, satisfied, losses)


def finished_pictures(output: Path, tokenizer: AdaptiveTokenizer, config: EncodeConfig) -> FinishedPictures:
    """Return what earlier commands have left of a token file; nothing is kept beside a device or a pipe."""
    settings = {
        "format": 1,
        "version": __version__,
        "tokenizer": tokenizer.fingerprint,
        **rule_settings(config, tokenizer),
    }
    return FinishedPictures(None if is_special(output) else unfinished_file(output), json.dumps(settings))


def unfinished_file(output: Path) -> Path:
    """Return where pictures that are done are kept until a token file is written."""
    output = output.resolve()
    name = hashlib.sha256(os.fsencode(output.name)).hexdigest()[:8]
    return output.with_name(f".{output.name[:20]}.{name}.unfinished")


class EncodedFiles(NamedTuple):
    """Tokens of all pictures that could be read, in order."""

    tokens: TokenSet
    names: list[str]
    unreadable: list[str]  # "path: reason"


def encode_files(
    paths: Sequence[Path],
    tokenizer: AdaptiveTokenizer,
    config: EncodeConfig,
    finished: FinishedPictures,
    *,
    bar: ProgressBar,
    strict: bool = False,
) -> EncodedFiles:
    """Encode the center views of picture files; those that are finished, and the second of two equal ones, are not.

    Args:
        paths: the files.
        tokenizer: encodes.
        config: how many tokens a picture gets, and the batch size.
        finished: is added to, batch by batch.
        bar: moves on by what is encoded, and past what need not or cannot be.
        strict: whether a picture that cannot be read ends the run.

    Raises:
        ConfigError: the tokenizer has no such length, or a batch does not fit the device's memory.
        DataError: a picture cannot be read, where `strict`.
        OSError: what is finished cannot be written.
    """
    check_rule(config, tokenizer)
    names: list[str] = []
    digests: list[str] = []
    unreadable: list[str] = []
    batch: dict[str, np.ndarray] = {}  # the next views to encode, by the digest of their file
    for path in paths:
        try:
            with _opened(path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest in finished or digest in batch:
                    bar.skip(1)
                else:
                    batch[digest] = center_view(read_image(file), tokenizer.image_size)
        except (DataError, OSError) as error:
            reason = f"{path}: {describe_fault(error)}"
            if strict:
                raise DataError(reason) from error
            unreadable.append(reason)
            bar.skip(1)
            continue
        names.append(name_to_text(path.name))
        digests.append(digest)
        if len(batch) == config.batch_size:
            finished.add(_encode(batch, tokenizer, config))
            bar.update(len(batch))
            batch = {}
    if batch:
        finished.add(_encode(batch, tokenizer, config))
        bar.update(len(batch))
    encoded = _with_lengths([finished[digest] for digest in digests], tokenizer, config.budget)
    return EncodedFiles(tokenizer.token_set(encoded), names, unreadable)


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader | io.BytesIO]:
    """Open a picture; a pipe only where the shell has opened it, since one that nobody writes to would never answer."""
    if path.exists() and not path.is_file() and not is_open_file(path):
        raise DataError("a folder, pipe or device, no file")
    with path.open("rb") as file:
        yield file if file.seekable() else io.BytesIO(file.read())


def _encode(
    views: Mapping[str, np.ndarray], tokenizer: AdaptiveTokenizer, config: EncodeConfig
) -> dict[str, EncodedPicture]:
    images = batch_of(list(views.values()), tokenizer.image_size).to(tokenizer.device)
    encoded, losses = encode_batch(tokenizer, images, config)
    rows = zip(views, encoded, losses, strict=True)
    return {digest: EncodedPicture(each.values.cpu().numpy(), each.satisfied, loss) for digest, each, loss in rows}


def _with_lengths(
    pictures: Sequence[EncodedPicture], tokenizer: AdaptiveTokenizer, budget: float | None
) -> list[Encoded]:
    """Return the tokens of pictures; of those of all lengths the ones that a budget is spent on."""
    if budget is None or not pictures:
        return [Encoded(torch.from_numpy(picture.values), picture.satisfied) for picture in pictures]
    losses = np.stack([picture.losses for picture in pictures])
    chosen = allocate_budget(losses, tokenizer.lengths, budget * len(pictures))
    stops = np.cumsum(tokenizer.lengths)
    starts = stops - tokenizer.lengths
    return [
        Encoded(torch.from_numpy(picture.values[starts[length] : stops[length]]), True)
        for picture, length in zip(pictures, chosen, strict=True)
    ]
