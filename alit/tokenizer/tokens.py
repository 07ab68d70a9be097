"""`TokenSet`, the ragged result of encoding, and its file: a damaged file never becomes a wrong image.

The latents of different lengths are different encodings of an image (each iteration rewrites the tokens before), so the
length belongs to the tokens: cutting a sequence short does not give the image's shorter encoding.

A token file is little-endian, in this order::

    8 bytes   magic b"ALIT-TOK"
    2 bytes   version: 1, or 2 where ids are entropy-coded
    4 bytes   h, bytes of the header
    h bytes   header, UTF-8 JSON: images, codebook_size (null: continuous), code_size (null: ids), length_bits, model,
              names (null, or one string per image, such as its file's name)
    ...       lengths, `length_bits` bits each; one bit per image, whether it met its criterion; then the tokens:
              ids of ceil(log2 codebook_size) bits each, but of one at least, or float32 numbers of 32 bits each. One
              bit stream, most significant bit first, padded with zero bits to a whole byte
    16 bytes  BLAKE2b digest of everything before

In version 2 the header has code_model, the sha256 of the code model that the ids are coded by and that alone can decode
them, and the bit stream ends after the images' bits; ids follow as words of 32 bits (`alit.tokenizer.entropy_coding`).
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

from alit.errors import DataError, TokenFileError
from alit.files import write_whole
from alit.tokenizer.code_model import CodeModel
from alit.tokenizer.entropy_coding import WORD_BITS, check_codable, decode_ids, encode_ids
from alit.tokenizer.parquet import part_files, read_rows
from alit.tokenizer.protocol import bits_per_id


@dataclass(frozen=True, eq=False)
class TokenSet:
    """Tokens of b images: ids of a codebook of m codes, or continuous codes of z numbers.

    Attributes:
        lengths: (b,) int64, tokens of each image.
        values: (sum of lengths,) int64 ids, or (sum of lengths, z) float32 codes; image after image.
        satisfied: (b,) bool, whether the image met its criterion; all true for a fixed length or a budget.
        codebook_size: m, or None when values are continuous codes.
        model: fingerprint of the tokenizer that made them and that alone can decode them.
    """

    lengths: Tensor
    values: Tensor
    satisfied: Tensor
    codebook_size: int | None
    model: str

    def __post_init__(self) -> None:
        total = int(self.lengths.sum())
        if len(self.values) != total or len(self.satisfied) != len(self.lengths):
            raise DataError(
                f"expected {total} tokens and {len(self.lengths)} flags for the lengths given, "
                f"found {len(self.values)} and {len(self.satisfied)}"
            )

    @property
    def is_continuous(self) -> bool:
        """Whether values are codes rather than ids."""
        return self.codebook_size is None

    @property
    def bits_per_token(self) -> int:
        """`bits_per_id` for ids, 32 z for continuous codes."""
        if self.codebook_size is None:
            return 32 * self.values.shape[1]
        return bits_per_id(self.codebook_size)

    @property
    def bits(self) -> Tensor:
        """Size of each image's tokens (b,), int64, without container overhead."""
        return self.lengths * self.bits_per_token

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator["TokenSet"]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "TokenSet":
        """Return the tokens of one image, a range, a list of places or a mask, as a `TokenSet` in that order."""
        rows = _rows(index, len(self))
        stops = self.lengths.cumsum(0)[rows].tolist()
        lengths = self.lengths[rows].tolist()
        chosen = [self.values[stop - length : stop] for stop, length in zip(stops, lengths, strict=True)]
        values = torch.cat(chosen) if chosen else self.values[:0]
        return TokenSet(self.lengths[rows], values, self.satisfied[rows], self.codebook_size, self.model)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenSet):
            return NotImplemented
        return (
            (self.codebook_size, self.model) == (other.codebook_size, other.model)
            and torch.equal(self.lengths, other.lengths)
            and torch.equal(self.values, other.values)
            and torch.equal(self.satisfied, other.satisfied)
        )

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def concatenate(parts: Sequence["TokenSet"]) -> "TokenSet":
        """Join token sets of one tokenizer, in order.

        Raises:
            DataError: there are none, or they come from different tokenizers.
        """
        if not parts:
            raise DataError("expected at least one token set to concatenate, found none")
        makers = {(part.model, part.codebook_size) for part in parts}
        if len(makers) > 1:
            raise DataError(f"expected token sets of one tokenizer, found {len(makers)}: encode them with the same one")
        return TokenSet(
            torch.cat([part.lengths for part in parts]),
            torch.cat([part.values for part in parts]),
            torch.cat([part.satisfied for part in parts]),
            parts[0].codebook_size,
            parts[0].model,
        )

    def save(self, path: str | Path, *, entropy: CodeModel | None = None) -> None:
        """Write a compact, self-describing file; `alit.tokenizer.tokens` has the format.

        Args:
            path: of the file.
            entropy: codes the ids with fewer bits. The file names the model, which `load` needs again.

        Raises:
            DataError: the code model is another tokenizer's, or there are no ids.
            MissingPackageError: ids are to be entropy-coded, and the extra `entropy` is not installed.
        """
        write_whole(Path(path), pack(self, entropy=entropy))

    @staticmethod
    def load(path: str | Path, *, entropy: CodeModel | None = None) -> "TokenSet":
        """Read what `save` wrote, or what `alit tokenize` wrote: a folder of Parquet parts, or one of them.

        Args:
            path: of the file or folder.
            entropy: the code model by which the ids were coded, where they were.

        Raises:
            TokenFileError: the file is missing, not a token file, truncated or damaged, or its ids are coded by another
                code model; or a part of a folder is damaged.
        """
        return read_tokens(Path(path), entropy).tokens


def _rows(index: int | slice | Sequence[int] | Tensor, count: int) -> Tensor:
    everything = torch.arange(count, device="cpu")
    if isinstance(index, int):
        if not -count <= index < count:
            raise IndexError(f"image {index} of a token set of {count}")
        return everything[index].reshape(1)
    if isinstance(index, slice):
        return everything[index]
    chosen = torch.as_tensor(index, device="cpu")
    return everything[chosen if chosen.numel() or chosen.dtype == torch.bool else chosen.long()]


MAGIC = b"ALIT-TOK"
VERSION, CODED_VERSION = 1, 2
DIGEST_BYTES = 16
_HEADER_KEYS = {"images", "codebook_size", "code_size", "length_bits", "model", "names"}
_PREFIX = struct.Struct("<8sHI")


class TokenFile(NamedTuple):
    """What a token file holds."""

    tokens: TokenSet
    names: tuple[str, ...] | None  # one per image


def read_tokens(path: Path, entropy: CodeModel | None = None) -> TokenFile:
    """Read a token file, or what `alit tokenize` wrote: a folder of Parquet parts, or one of them.

    Raises:
        TokenFileError: see `TokenSet.load`, also for `entropy`.
    """
    if path.is_dir() or path.suffix == ".parquet":
        return _read_parts(path)
    if not path.exists():
        raise TokenFileError(f"expected a token file at {path}, found none")
    try:
        with path.open("rb") as file:
            return read_stream(file, source=str(path), entropy=entropy)
    except OSError as error:
        raise TokenFileError(f"cannot read {path}: {error.strerror}") from error


def read_stream(file: BinaryIO, *, source: str, entropy: CodeModel | None = None) -> TokenFile:
    """Read a token file that is open; of what is none, which may have no end, no more than the beginning.

    Raises:
        TokenFileError: see `unpack`.
    """
    head = file.read(len(MAGIC))
    return unpack(head + file.read() if head == MAGIC else head, source=source, entropy=entropy)


def _read_parts(path: Path) -> TokenFile:
    sets: list[TokenSet] = []
    names: list[str] = []
    for file in part_files(path):
        card, rows = read_rows(file)
        lengths, values, satisfied = map(torch.from_numpy, rows[1:])
        sets.append(TokenSet(lengths, values, satisfied, card.codebook_size, card.model))
        names += rows.ids
    return TokenFile(TokenSet.concatenate(sets), tuple(names))


def pack(tokens: TokenSet, names: Sequence[str] | None = None, *, entropy: CodeModel | None = None) -> bytes:
    """Return the bytes of a token file; `names`, one per image, travel with it. See `TokenSet.save` for `entropy`."""
    assert names is None or len(names) == len(tokens)
    if entropy is not None:
        check_codable(entropy, tokens.lengths.numpy(), tokens.codebook_size)
    length_bits = int(tokens.lengths.max()).bit_length() if len(tokens) else 0
    header = {
        "images": len(tokens),
        "codebook_size": tokens.codebook_size,
        "code_size": tokens.values.shape[1] if tokens.is_continuous else None,
        "length_bits": length_bits,
        "model": tokens.model,
        "names": None if names is None else list(names),
    }
    images = [_to_bits(tokens.lengths.numpy(), length_bits), tokens.satisfied.numpy().astype(np.uint8)]
    if entropy is None:
        values = _to_bits(_as_integers(tokens), 32 if tokens.is_continuous else tokens.bits_per_token)
        return _signed(VERSION, header, np.packbits(np.concatenate([*images, values])).tobytes())
    words = encode_ids(entropy, tokens.lengths.numpy(), tokens.values.numpy())
    content = np.packbits(np.concatenate(images)).tobytes() + words.astype("<u4").tobytes()
    return _signed(CODED_VERSION, header | {"code_model": entropy.sha256}, content)


def _signed(version: int, header: Mapping[str, Any], content: bytes) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    body = _PREFIX.pack(MAGIC, version, len(text)) + text + content
    return body + _digest(body)


def unpack(content: bytes, *, source: str, entropy: CodeModel | None = None) -> TokenFile:
    """Read the bytes of a token file; see `TokenSet.load` for `entropy`.

    Raises:
        TokenFileError: anything but a whole, undamaged token file; the message names `source`.
    """
    header, stream = _open(content, source)
    images, length_bits = header["images"], header["length_bits"]
    lengths_end = images * length_bits
    _require(len(stream) >= lengths_end + images, source, "its lengths are cut off")
    lengths = _from_bits(stream[:lengths_end], length_bits, images)
    satisfied = stream[lengths_end : lengths_end + images].astype(bool)
    codebook_size, code_size = header["codebook_size"], header["code_size"]
    names = None if header["names"] is None else tuple(header["names"])
    if "code_model" in header:
        ids = _decoded(header, lengths, stream[(lengths_end + images + 7) // 8 * 8 :], entropy, source)
        flags, values = torch.from_numpy(satisfied), torch.from_numpy(ids)
        return TokenFile(TokenSet(torch.from_numpy(lengths), values, flags, codebook_size, header["model"]), names)
    bits = 32 if codebook_size is None else bits_per_id(codebook_size)
    count = int(lengths.sum()) * (code_size or 1)
    used = lengths_end + images + count * bits
    _require((used + 7) // 8 * 8 == len(stream), source, "its size does not fit its lengths")
    integers = _from_bits(stream[lengths_end + images : used], bits, count)
    if codebook_size is None:
        values = torch.from_numpy(integers.astype(np.uint32).view(np.float32).reshape(-1, code_size).copy())
    else:
        _require(count == 0 or int(integers.max()) < codebook_size, source, "an id lies outside its codebook")
        values = torch.from_numpy(integers)
    flags = torch.from_numpy(satisfied)
    tokens = TokenSet(torch.from_numpy(lengths), values, flags, codebook_size, header["model"])
    return TokenFile(tokens, names)


def _decoded(
    header: Mapping[str, Any], lengths: np.ndarray, stream: np.ndarray, entropy: CodeModel | None, source: str
) -> np.ndarray:
    """Return the ids of a file of version 2, its stream (bits,) beginning with them."""
    if entropy is None or entropy.sha256 != header["code_model"]:
        found = "none" if entropy is None else f"that of sha256 {entropy.sha256[:16]}..."
        raise TokenFileError(
            f"{source}: its ids are entropy-coded; expected the code model of sha256 {header['code_model'][:16]}..., "
            f"found {found}; load it with alit.tokenizer.code_model.CodeModel and give it to TokenSet.load(entropy=)"
        )
    try:
        check_codable(entropy, lengths, header["codebook_size"])
    except DataError as error:
        raise _fault(source, f"it is damaged ({error})") from error
    _require(len(stream) % WORD_BITS == 0, source, "its size does not fit its lengths")
    words = np.packbits(stream).view("<u4")
    ids = decode_ids(entropy, lengths, words.astype(np.uint32))
    if ids is None:
        raise _fault(source, "its size does not fit its lengths")
    return ids


def _open(content: bytes, source: str) -> tuple[dict[str, Any], np.ndarray]:
    _require(content[: len(MAGIC)] == MAGIC, source, "it is not a token file")
    _require(len(content) >= _PREFIX.size + DIGEST_BYTES, source, "it is truncated")
    _, version, header_bytes = _PREFIX.unpack_from(content)
    known = version in (VERSION, CODED_VERSION)
    _require(known, source, f"its version is {version}, this reads {VERSION} and {CODED_VERSION}")
    body = content[:-DIGEST_BYTES]
    _require(_digest(body) == content[-DIGEST_BYTES:], source, "it is damaged or truncated (checksum)")
    header_end = _PREFIX.size + header_bytes
    _require(header_end <= len(body), source, "its header is cut off")
    try:
        header = json.loads(body[_PREFIX.size : header_end])
    except (ValueError, RecursionError):
        header = None
    if not _is_header(header, version):
        raise _fault(source, "its header is malformed")
    return header, np.unpackbits(np.frombuffer(body[header_end:], dtype=np.uint8))


def _is_header(header: Any, version: int) -> TypeGuard[dict[str, Any]]:
    coded = version == CODED_VERSION
    if not isinstance(header, dict) or set(header) != _HEADER_KEYS | ({"code_model"} if coded else set()):
        return False
    if coded and (header["codebook_size"] is None or not _is_text(header["code_model"])):
        return False
    names = header["names"]
    named = isinstance(names, list) and all(map(_is_text, names)) and len(names) == header["images"]

    def is_count(value: Any, low: int, high: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    continuous = header["codebook_size"] is None
    sizes = is_count(header["code_size"], 1, 2**20) if continuous else is_count(header["codebook_size"], 1, 2**31)
    return (
        sizes
        and (continuous or header["code_size"] is None)
        and is_count(header["images"], 0, 2**40)
        and is_count(header["length_bits"], 0, 32)
        and _is_text(header["model"])
        and (names is None or named)
    )


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be printed: JSON may hold halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _require(condition: bool, source: str, fault: str) -> None:
    if not condition:
        raise _fault(source, fault)


def _fault(source: str, fault: str) -> TokenFileError:
    return TokenFileError(f"{source} cannot be read: {fault}; expected a file that `TokenSet.save` wrote")


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def _as_integers(tokens: TokenSet) -> np.ndarray:
    values = tokens.values.numpy()
    if tokens.is_continuous:
        return np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).reshape(-1).astype(np.int64)
    return values


def _to_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the bits (count * bits,) of non-negative integers, most significant first."""
    shifts = np.arange(bits - 1, -1, -1)
    return ((values[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)


def _from_bits(stream: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Undo `_to_bits`; returns int64 (count,)."""
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    return stream.reshape(count, bits).astype(np.int64) @ weights if bits else np.zeros(count, dtype=np.int64)
