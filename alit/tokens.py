"""`TokenSet`: the ragged result of encoding, one variable-length token sequence per image.

The latents of different lengths are different encodings of an image (old tokens are rewritten by each iteration), so
the length belongs to the tokens: cutting a sequence short does not give the image's shorter encoding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alit.errors import DataError, TokenFileError


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
        """ceil(log2 m) for ids, 32 z for continuous codes."""
        if self.codebook_size is None:
            return 32 * self.values.shape[1]
        return max(1, (self.codebook_size - 1).bit_length())

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
        parts = self.values.split(self.lengths.tolist())
        chosen = [parts[row] for row in rows.tolist()]
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

    def save(self, path: str | Path) -> None:
        """Write a compact, self-describing file; see `alit.token_file` for the format."""
        from alit.token_file import pack

        Path(path).write_bytes(pack(self))

    @staticmethod
    def load(path: str | Path) -> "TokenSet":
        """Read what `save` wrote.

        Raises:
            TokenFileError: the file is missing, not a token file, truncated or damaged.
        """
        from alit.token_file import unpack

        path = Path(path)
        if not path.is_file():
            raise TokenFileError(f"expected a token file at {path}, found none")
        return unpack(path.read_bytes(), source=str(path)).tokens


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
