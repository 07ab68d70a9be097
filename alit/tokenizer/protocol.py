"""What a tokenizer must offer to be measured: reconstructions at its lengths, cheapest first."""

import hashlib
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from alit.errors import ConfigError, DataError

SAME = 1e-2  # mean absolute difference below which two reconstructions of an image count as the same


class Reconstruction(NamedTuple):
    """A batch of images rebuilt from `length` tokens each."""

    length: int
    bits: Tensor  # (b,) float32, size of each image's code
    images: Tensor  # (b, 3, h, w) float32 in [0, 1]
    ids: Tensor | None = None  # (b, k) integers below `codebook_size`, the code itself; None where it is no ids


@runtime_checkable
class Tokenizer(Protocol):
    """A variable-length image tokenizer, as the sweep sees it; one file is enough to implement it.

    Three members more are read where a tokenizer has them: `codebook_size`, the number of codes that `ids` of its
    reconstructions are among; `token_ids(images)`, yielding (length, ids) at every length without the reconstructions,
    which costs less; and `entropy_coded`, true where `bits` are those of a code that is entropy-coded already.
    """

    @property
    def name(self) -> str:
        """Short name used in tables and figures."""
        ...

    @property
    def image_size(self) -> int:
        """Pixels per side of the square images it takes."""
        ...

    @property
    def lengths(self) -> tuple[int, ...]:
        """Token counts it can produce for one image, shortest first."""
        ...

    @property
    def base_tokens(self) -> int:
        """Tokens of one image that capacities are given as a share of (paper, section 4)."""
        ...

    def reconstructions(self, images: Tensor) -> Iterator[Reconstruction]:
        """Yield one `Reconstruction` per length for images (b, 3, h, w) in [0, 1]; no gradients."""
        ...


MEMBERS = tuple(name for name in vars(Tokenizer) if not name.startswith("_"))


def require_protocol(tokenizer: Any, source: str) -> None:
    """Check the members of a tokenizer, without running it.

    Raises:
        ConfigError: one is missing or of another kind.
    """
    missing = [name for name in MEMBERS if not hasattr(tokenizer, name)]
    if missing:
        raise ConfigError(
            f"expected {source} to have all of {', '.join(MEMBERS)} (alit/tokenizer/protocol.py), found none of "
            f"{', '.join(missing)}"
        )
    lengths = tokenizer.lengths
    counts = isinstance(lengths, tuple | list) and all(map(_is_count, lengths))
    if not counts or not lengths or list(lengths) != sorted(set(lengths)):
        raise ConfigError(f"expected lengths of {source} as a tuple of ascending whole numbers, found {lengths!r}")
    for name in ("image_size", "base_tokens"):
        if not _is_count(getattr(tokenizer, name)) or getattr(tokenizer, name) < 1:
            raise ConfigError(f"expected {name} of {source} as a whole number, found {getattr(tokenizer, name)!r}")
    if not isinstance(tokenizer.name, str) or not tokenizer.name:
        raise ConfigError(f"expected name of {source} as text, found {tokenizer.name!r}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def checked_reconstructions(tokenizer: Tokenizer, images: Tensor) -> Iterator[Reconstruction]:
    """Yield what a tokenizer makes of images (b, 3, h, w), lengths as plain numbers.

    Raises:
        DataError: it does not keep to the protocol: the message names what was expected and what was found.
    """
    found: list[int] = []
    for step in tokenizer.reconstructions(images):
        if not isinstance(step, tuple) or len(step) not in (3, len(Reconstruction._fields)):  # ids may be left out
            raise DataError(f"expected a Reconstruction from {tokenizer.name}, found {type(step).__name__}")
        try:
            length = operator.index(step[0])  # also a tensor of one whole number
        except (TypeError, RuntimeError) as error:
            raise DataError(f"expected a whole number as length from {tokenizer.name}, found {step[0]!r}") from error
        _check_images(step[2], images, length, tokenizer.name)
        _check_bits(step[1], len(images), length, tokenizer.name)
        ids = step[3] if len(step) > 3 else None
        ids = None if ids is None else _checked_ids(ids, len(images), length, tokenizer)
        found.append(length)
        yield Reconstruction(length, step[1], step[2], ids)
    if tuple(found) != tuple(tokenizer.lengths):
        expected = tuple(tokenizer.lengths)
        raise DataError(f"expected reconstructions at lengths {expected} from {tokenizer.name}, found {tuple(found)}")


def _check_images(rebuilt: Any, images: Tensor, length: int, name: str) -> None:
    where = f"from {name} at length {length}"
    if not isinstance(rebuilt, Tensor):
        raise DataError(f"expected reconstructions as a tensor {where}, found {type(rebuilt).__name__}")
    if rebuilt.shape != images.shape:
        found = tuple(rebuilt.shape)
        raise DataError(f"expected reconstructions of shape {tuple(images.shape)} {where}, found {found}")
    if not rebuilt.is_floating_point() or rebuilt.device != images.device:
        raise DataError(f"expected floats on {images.device} {where}, found {rebuilt.dtype} on {rebuilt.device}")
    if rebuilt.numel() and not (float(rebuilt.min()) >= 0 and float(rebuilt.max()) <= 1):  # also refuses NaN
        low, high = float(rebuilt.min()), float(rebuilt.max())
        raise DataError(f"expected reconstructions in [0, 1] {where}, found {low:g} to {high:g}; clip them")


def _check_bits(bits: Any, count: int, length: int, name: str) -> None:
    if not isinstance(bits, Tensor) or bits.shape != (count,) or bits.is_complex():
        found = tuple(bits.shape) if isinstance(bits, Tensor) else type(bits).__name__
        raise DataError(f"expected bits ({count},), one per image, from {name} at length {length}, found {found}")
    if count and not (float(bits.min()) >= 0 and float(bits.max()) < float("inf")):
        raise DataError(f"expected finite bits of at least 0 from {name} at length {length}, found {bits.tolist()}")


def codebook_size_of(tokenizer: Tokenizer) -> int | None:
    """Return the number of codes that a tokenizer's ids are among; None where its code is no ids."""
    return getattr(tokenizer, "codebook_size", None)


def ids_of(tokenizer: Tokenizer, images: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (length, ids (b, k)) at every length for images (b, 3, h, w), of a tokenizer with a `codebook_size`.

    Raises:
        DataError: it does not keep to the protocol.
    """
    if hasattr(tokenizer, "token_ids"):
        steps: Iterator[tuple[int, Any]] = tokenizer.token_ids(images)  # type: ignore[attr-defined]
    else:
        steps = ((step.length, step.ids) for step in checked_reconstructions(tokenizer, images))
    for length, ids in steps:
        yield length, _checked_ids(ids, len(images), length, tokenizer)


def _checked_ids(ids: Any, count: int, length: int, tokenizer: Tokenizer) -> Tensor:
    """Return ids (count, k), and refuse those that are not below the codebook size of their tokenizer."""
    where, size = f"from {tokenizer.name} at length {length}", codebook_size_of(tokenizer)
    if size is None:
        raise DataError(f"expected a codebook_size of {tokenizer.name} beside its ids, found none")
    if not isinstance(ids, Tensor) or ids.ndim != 2 or len(ids) != count or ids.is_floating_point():
        found = f"{ids.dtype} {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise DataError(f"expected integer ids ({count}, k) {where}, found {found}")
    if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < size):
        low, high = int(ids.min()), int(ids.max())
        raise DataError(f"expected ids of 0 to {size - 1} {where}, found {low} to {high}")
    return ids


def behavior_of(tokenizer: Tokenizer, images: Tensor) -> str:
    """Return a digest of what a tokenizer makes of images (b, 3, h, w), b one or two, after 8-bit rounding.

    Tokenizers of this package are tested for what is checked here, and are not run: their digest is empty.

    Raises:
        DataError: its answers change from call to call, or with the images beside them: it draws at random.
    """
    if type(tokenizer).__module__.partition(".")[0] == "alit":
        return ""
    digest = hashlib.sha256()
    first, again = (list(checked_reconstructions(tokenizer, images)) for _ in range(2))
    alone = list(checked_reconstructions(tokenizer, images[-1:]))
    for one, two, last in zip(first, again, alone, strict=True):
        changes = float((one.images - two.images).abs().mean()), float((one.images[-1:] - last.images).abs().mean())
        for change, what in zip(changes, ("the same call twice", "an image alone and beside another"), strict=True):
            if change > SAME:
                raise DataError(
                    f"expected the same reconstructions from {tokenizer.name} for {what}, found a mean difference of "
                    f"{change:.3g} at length {one.length}; let it draw nothing, or the same for an image in any batch"
                )
        digest.update(f"{one.length} {one.bits.tolist()}".encode())
        digest.update(b"" if one.ids is None else str(one.ids.tolist()).encode())
        digest.update((one.images * 255).round().to(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()
