"""Models of token ids, fitted on training images: what ids cost when they are entropy-coded.

A file of ids at a fixed width takes ceil(log2 m) bits a token, m being the size of the codebook. An entropy coder takes
close to -log2 p of each id under a model that its reader has, too. Every iteration rewrites the ids before it, so that
each length has its own models, of the ids after that iteration:

* order-0, one distribution for all places: p(v) = (n(v) + 1/2) / (n + m / 2), n(v) of the n training ids being v
  (Krichevsky and Trofimov 1981);
* by position, one for each place j, drawn toward the first: p(v | j) = (n(v, j) + c p(v)) / (n(j) + c) (MacKay and Peto
  1995). Of the powers of two, c is the one that predicts the training ids best, each being left out of the counts that
  predict it.

Bits are those of the ids alone, as at a fixed width: neither the length nor the model is counted.
`alit.tokenizer.entropy_coding` is the coder.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from alit.errors import CheckpointError

COUNTS_FILE = "code_model.safetensors"
CARD_FILE = "code_model.json"
SMOOTHING = 0.5  # of the order-0 model: half an id more of every code
# What reading a damaged card, or tensors of other names and kinds, may raise.
DAMAGED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
STRENGTHS = 2.0 ** np.arange(-4, 21)  # c, of which leaving one out chooses


class CodeLengths(NamedTuple):
    """Entropy-coded sizes of the ids of images, in bits."""

    order_0: np.ndarray  # (b,) float64
    by_position: np.ndarray  # (b,) float64


class CodeModel:
    """How often each id stood at each place among the codes of training images, and what ids cost by that.

    Attributes:
        counts: length -> (k, m) int64, how often place j of k held each of m codes; each place as often as any other.
        strengths: length -> c. They are kept: computed again on another machine, a near tie might come out otherwise,
            and what was coded here could not be decoded there.
    """

    def __init__(self, counts: Mapping[int, np.ndarray], strengths: Mapping[int, float] | None = None) -> None:
        self.counts = {length: np.asarray(counts[length], dtype=np.int64) for length in sorted(counts)}
        chosen = {length: strength(each) for length, each in self.counts.items()} if strengths is None else strengths
        self.strengths = {length: float(chosen[length]) for length in self.counts}
        self._surprisal: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def sha256(self) -> str:
        """Digest of counts and strengths, which everything else follows from."""
        digest = hashlib.sha256()
        for length, counts in self.counts.items():
            digest.update(f"{length} {counts.shape} {self.strengths[length]!r}".encode())
            digest.update(np.ascontiguousarray(counts, dtype="<i8").tobytes())
        return digest.hexdigest()

    def probabilities(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of each code at a length, order-0 (m,) and by position (k, m)."""
        return _probabilities(self.counts[length], self.strengths[length])

    def surprisal(self, ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return -log2 p of each of ids (b, k) at a length, order-0 and by position, each (b, k) float64."""
        if length not in self._surprisal:
            order_0, by_position = self.probabilities(length)
            self._surprisal[length] = -np.log2(order_0), -np.log2(by_position)
        order_0, by_position = self._surprisal[length]
        return order_0[ids], by_position[np.arange(ids.shape[1]), ids]

    def bits(self, ids: np.ndarray, length: int) -> CodeLengths:
        """Return what ids (b, k) of a length cost when they are entropy-coded."""
        return CodeLengths(*(bits.sum(axis=1) for bits in self.surprisal(ids, length)))

    def save(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Write the counts, and a card of what they were counted of, into an existing folder."""
        tensors = {str(length): counts.astype(np.int32) for length, counts in self.counts.items()}
        save_file(tensors, folder / COUNTS_FILE)
        strengths = {str(length): found for length, found in self.strengths.items()}
        content = {**card, "sha256": self.sha256, "smoothing": SMOOTHING, "strength_by_length": strengths}
        (folder / CARD_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "CodeModel":
        """Read what `save` wrote.

        Raises:
            CheckpointError: the files are missing or damaged, or do not belong to each other.
        """
        try:
            tensors = load_file(folder / COUNTS_FILE)
            card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            strengths = {int(name): float(found) for name, found in card["strength_by_length"].items()}
            model = cls({int(name): counts for name, counts in tensors.items()}, strengths)
            whole = card["sha256"] == model.sha256
        except (OSError, SafetensorError, *DAMAGED) as error:
            raise CheckpointError(f"expected a code model in {folder}, found none that can be read: {error}") from error
        if not whole:
            raise CheckpointError(f"expected {CARD_FILE} of the counts beside it in {folder}, found that of others")
        return model


def count_ids(ids: np.ndarray, codebook_size: int) -> np.ndarray:
    """Return how often each place of ids (n, k) holds each code: (k, m) int64."""
    places = ids.shape[1]
    flat = (np.arange(places) * codebook_size + ids).ravel()
    return np.bincount(flat, minlength=places * codebook_size).reshape(places, codebook_size)


def strength(counts: np.ndarray) -> float:
    """Return how many ids' worth the order-0 model counts at each place, chosen by leaving out one id of (k, m) counts.

    Each training id is predicted from all others: its own place's and, through the order-0 model, all places'.
    """
    seen = counts > 0
    if not seen.any():
        return 1.0
    own, everywhere = counts[seen].astype(np.float64), counts.sum(axis=0)
    total = everywhere.sum()
    others = np.broadcast_to(everywhere, counts.shape)[seen] - 1 + SMOOTHING
    order_0 = others / (total - 1 + SMOOTHING * counts.shape[1])
    here = np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape)[seen]
    fits = [float(own @ np.log2((own - 1 + c * order_0) / (here - 1 + c))) for c in STRENGTHS]
    return float(STRENGTHS[int(np.argmax(fits))])


def _probabilities(counts: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray]:
    everywhere = counts.sum(axis=0)
    order_0 = (everywhere + SMOOTHING) / (everywhere.sum() + SMOOTHING * counts.shape[1])
    return order_0, (counts + c * order_0) / (counts.sum(axis=1, keepdims=True) + c)
