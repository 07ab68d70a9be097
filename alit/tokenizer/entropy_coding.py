"""Range coding of token ids under a code model, by the `constriction` library (extra `entropy`).

All images of one length are coded together, one place after the other, so that a place's distribution is built once.
The coder works with probabilities in steps of 2^-24 and ends on a whole word of 32 bits.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from alit.errors import DataError, require
from alit.tokenizer.code_model import CodeModel

WORD_BITS = 32
SLACK = 0.99  # of the least bits that ids can take: the coder rounds probabilities


def check_codable(model: CodeModel, lengths: np.ndarray, codebook_size: int | None) -> None:
    """Refuse ids that a code model knows nothing of.

    Raises:
        DataError: they are continuous, of another codebook, or of a length that it was not fitted for.
    """
    if codebook_size is None:
        raise DataError("expected ids to be entropy-coded, found continuous codes; save them without a code model")
    for length in np.unique(lengths).tolist():
        if length not in model.counts:
            known = ", ".join(map(str, model.counts))
            raise DataError(f"expected lengths {known}, which the code model was fitted for, found {length} tokens")
        if model.counts[length].shape != (length, codebook_size):
            places, codes = model.counts[length].shape
            raise DataError(
                f"expected a code model of {length} ids of {codebook_size} codes, found {places} of {codes}; "
                "it is another tokenizer's"
            )


def encode_ids(model: CodeModel, lengths: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the words (w,) uint32 of ids (sum of lengths,) of images of lengths (b,), image after image."""
    encoder = _library().queue.RangeEncoder()
    for length, places in _places(lengths):
        columns = ids[places].astype(np.int32)
        for column, distribution in zip(columns.T, _distributions(model, length), strict=False):
            encoder.encode(np.ascontiguousarray(column), distribution)
    return np.asarray(encoder.get_compressed(), dtype=np.uint32)


def decode_ids(model: CodeModel, lengths: np.ndarray, words: np.ndarray) -> np.ndarray | None:
    """Return the ids (sum of lengths,) int64 of words (w,) uint32; None where these do not fit lengths (b,)."""
    if SLACK * least_bits(model, lengths) > WORD_BITS * (len(words) + 1):
        return None  # so few words do not hold so many ids, and no time is spent on them
    decoder = _library().queue.RangeDecoder(np.ascontiguousarray(words, dtype=np.uint32))
    ids = np.zeros(int(lengths.sum()), dtype=np.int64)
    for length, places in _places(lengths):
        for column, distribution in zip(places.T, _distributions(model, length), strict=False):
            ids[column] = decoder.decode(distribution, len(column))
    return ids if decoder.maybe_exhausted() else None


def least_bits(model: CodeModel, lengths: np.ndarray) -> float:
    """Return the fewest bits that ids of images of lengths (b,) may cost."""
    found, counts = np.unique(lengths, return_counts=True)
    each = [-np.log2(model.probabilities(length)[1].max(axis=1)).sum() for length in found.tolist()]
    return float(counts @ np.array(each)) if len(found) else 0.0


def _places(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each length and where the ids (images, length) of its images lie."""
    starts = np.cumsum(lengths) - lengths
    for length in np.unique(lengths).tolist():
        yield length, starts[lengths == length][:, None] + np.arange(length)


def _library() -> Any:
    """Return the stream coders of `constriction`, a compiled module that type checkers do not see into."""
    require("constriction")
    import constriction

    return constriction.stream  # type: ignore[attr-defined]


def _distributions(model: CodeModel, length: int) -> Iterator[object]:
    """Yield the distribution of each place by position; none where there is one code only, which costs nothing."""
    make = _library().model.Categorical
    by_position = model.probabilities(length)[1].astype(np.float32)
    if by_position.shape[1] > 1:
        for probabilities in by_position:
            yield make(probabilities, perfect=False)
