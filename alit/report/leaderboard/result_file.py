"""The result of one tokenizer, as a leaderboard compares it: the file that a run writes and others send in.

docs/leaderboard.md describes the file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, PositiveInt, model_validator

from alit.analysis.bootstrap import Estimate
from alit.errors import DataError
from alit.files import read_json, write_whole
from alit.settings import Settings, parse_settings

FORMAT = 1


class Number(Settings):
    """A measured value with its interval; without one where none was computed."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, found: Estimate) -> "Number":
        """Take an estimate."""
        return cls(value=found.value, low=found.low, high=found.high)


Reason = Annotated[str, Field(min_length=3)]  # why there is no number


class LengthResult(Settings):
    """One length: means over the images."""

    length: int = Field(ge=0)
    tokens: float | None  # of an image; null for a code without any
    bits: float = Field(gt=0)  # of an image, as stored
    entropy_bits: float | None  # of an image, entropy-coded; null where the sweep did not ask
    scores: dict[str, Number]  # columns of the sweep table


class BudgetResult(Settings):
    """Scores at exactly so many bits, interpolated linearly over the logarithm of the mean bits."""

    bits: PositiveInt
    scores: dict[str, Number]


class ResultFile(Settings):
    """The result of one tokenizer on one set of images."""

    format: Literal[1]
    tokenizer: str = Field(pattern=r"^[\w][\w .()+-]*$")  # its name in the table
    kind: Literal["own", "baseline", "another training", "sent in"]
    version: str
    checkpoint: str = Field(pattern=r"^([0-9a-f]{12,64})?$")  # sha256 of the weights, or its first digits; codecs: ""
    command: str = Field(min_length=3)  # that makes the file again
    dataset: str
    images: PositiveInt  # with all scores
    image_size: PositiveInt | None
    image_ids: str = Field(pattern=r"^[0-9a-f]{64}$")  # sha256 of the ids of all swept, see `hash_of_images`
    judges: dict[str, str]  # task model -> sha256 of its weights
    rate: Literal["bits", "entropy_bits"]  # what `budgets` are of
    lengths: tuple[LengthResult, ...] = Field(min_length=1)
    budgets: tuple[BudgetResult, ...]
    measures: dict[str, Number | Reason]  # see `MEASURES` in `alit.report.leaderboard.page`

    @model_validator(mode="after")
    def _lengths_ascend(self) -> "ResultFile":
        found = [each.length for each in self.lengths]
        if found != sorted(set(found)):
            raise ValueError("lengths: expected ascending lengths, each once")
        if self.rate == "entropy_bits" and any(each.entropy_bits is None for each in self.lengths):
            raise ValueError("lengths: expected entropy_bits of each, since rate is entropy_bits")
        return self

    def rate_of(self, length: LengthResult) -> float:
        """Return the bits that the tokenizer is compared by."""
        return float(length.entropy_bits or length.bits) if self.rate == "entropy_bits" else length.bits


def read_result(path: Path) -> ResultFile:
    """Read a result file.

    Raises:
        DataError: it is missing or no JSON.
        ConfigError: a key is unknown, missing or of the wrong kind.
    """
    try:
        content = read_json(path)
    except DataError as error:
        raise DataError(f"expected a result file at {path}, found none that can be read: {error}") from error
    return parse_settings(ResultFile, content, source=str(path))


def write_result(result: ResultFile, path: Path) -> None:
    """Write a result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(result.model_dump(mode="json"), indent=1) + "\n").encode())


def tidy(results: Sequence[ResultFile]) -> pd.DataFrame:
    """Return every number of the results, one a row.

    Returns:
        Columns tokenizer, kind, checkpoint, dataset, images, rate, at ("length", "bits" or "": the whole), setting
        (the length, or the bits), measure, value, low, high, reason (why there is no value).
    """
    rows = [
        (each.tokenizer, each.kind, each.checkpoint[:12], each.dataset, each.images, each.rate, *row)
        for each in results
        for row in _numbers(each)
    ]
    names = ["tokenizer", "kind", "checkpoint", "dataset", "images", "rate", "at", "setting", "measure"]
    return pd.DataFrame(rows, columns=[*names, "value", "low", "high", "reason"])


def _numbers(result: ResultFile) -> Iterator[tuple[object, ...]]:
    for length in result.lengths:
        rates = {"tokens": length.tokens, "bits": length.bits, "entropy_bits": length.entropy_bits}
        for name, value in rates.items():
            if value is not None:
                yield "length", length.length, name, value, None, None, ""
        for name, number in length.scores.items():
            yield "length", length.length, name, number.value, number.low, number.high, ""
    for budget in result.budgets:
        for name, number in budget.scores.items():
            yield "bits", budget.bits, name, number.value, number.low, number.high, ""
    for name, found in result.measures.items():
        numbers = (None, None, None, found) if isinstance(found, str) else (found.value, found.low, found.high, "")
        yield "", None, name, *numbers


def require_comparable(sent: ResultFile, own: ResultFile, taken: Mapping[str, object], source: str) -> None:
    """Check that a result that was sent in is about the images and the judges of a run.

    Raises:
        DataError: the images or a judge are others, the name is taken, or it names no checkpoint and is no codec.
    """
    if sent.tokenizer in taken:
        raise DataError(f"{source}: expected a name that is not taken, found {sent.tokenizer}; change `tokenizer`")
    facts = {
        "the data set": (own.dataset, sent.dataset),
        "images with the ids": (own.image_ids[:12], sent.image_ids[:12]),
        "images of the size": (own.image_size, sent.image_size),
    }
    facts |= {
        f"weights of the judge {name}": (own.judges[name][:12], sent.judges[name][:12])
        for name in own.judges
        if name in sent.judges
    }
    for what, (expected, found) in facts.items():
        if expected is not None and found != expected:
            raise DataError(
                f"{source}: expected {what} {expected} as in the run, found {found}; sweep the run's images"
            )
    if not sent.checkpoint and any(each.tokens is not None for each in sent.lengths):
        raise DataError(f"{source}: expected the sha256 of the weights as `checkpoint`, found none")
