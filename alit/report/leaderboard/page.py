"""The page of the leaderboard: its tables, their cells and what they say."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from alit.analysis.grid import metric_info
from alit.analysis.numbers import format_interval, format_number
from alit.report.leaderboard.compute import SHARE
from alit.report.leaderboard.figure import rate_distortion, rate_points
from alit.report.leaderboard.result_file import Number, ResultFile, tidy
from alit.report.site import Site

PAGE, TABLE, FOLDER = "leaderboard.html", "leaderboard.csv", "leaderboard"
PICTURE = "rate_distortion"


class Measure(NamedTuple):
    """A column of the leaderboard: what it says, and whether less or more of it is better."""

    label: str
    about: str
    better: str  # "lower", "higher", or "" where neither is


MEASURES = {
    "adaptive_l1": Measure(
        "L1 saved by adapting",
        "Share by which the mean L1 is lower with lengths by an L1 threshold than with the same length for all, at "
        f"{SHARE:.0%} of the cost of the longest length, or the nearest share that lengths can cost (adaptivity, A1). "
        "Below 0: adapting costs quality.",
        "higher",
    ),
    "adaptive_saved": Measure(
        "cost saved by adapting",
        "Share of the longest length's cost that the same length for all needs on top to promise the same L1 to 19 of "
        "20 images (adaptivity, A3).",
        "higher",
    ),
    "complexity_human": Measure(
        "length ~ complexity",
        "Spearman correlation of the length under an L1 threshold with the complexity that people gave the images.",
        "",
    ),
    "complexity_jpeg": Measure(
        "length ~ JPEG bytes",
        "The same with the size of the untouched image as a JPEG file, on the images of this page.",
        "",
    ),
    "prefix": Measure(
        "prefix kept",
        "Share of the shortest code's ids that the longest code has at the same places (codebook); 1 is a prefix code.",
        "higher",
    ),
    "encode_ms": Measure("encode, ms", "One image to the longest length, median over rounds (cost).", "lower"),
    "decode_ms": Measure("decode, ms", "The same of decoding.", "lower"),
    "both_ms": Measure("both, ms", "Encoding and decoding together, where they were not timed apart.", "lower"),
}


class Cell(NamedTuple):
    """What stands in a cell, and what it is sorted by; None sorts last either way."""

    text: str
    detail: str = ""
    value: float | None = None


class Column(NamedTuple):
    """A column of a table on the page."""

    label: str
    about: str
    better: str


class Board(NamedTuple):
    """A table of the page: a row per tokenizer."""

    title: str
    note: str
    columns: list[Column]
    rows: list[tuple[ResultFile, list[Cell]]]


def write_leaderboard(site: Site, results: Sequence[ResultFile]) -> None:
    """Write the page, its picture and the table of all its numbers."""
    tidy(results).to_csv(site.folder / TABLE, index=False, float_format="%.6g", lineterminator="\n")
    columns = shared_scores(results)
    plot = rate_distortion(rate_points(results, columns)).save(site.folder / FOLDER, PICTURE)
    own = next((each for each in results if each.kind == "own"), results[0])
    site.write(
        PAGE,
        PAGE,
        title="Leaderboard",
        command=site.command,
        own=own,
        boards=[whole_board(results, columns), *equal_bits_boards(results, columns)],
        figure=f"{FOLDER}/{PICTURE}",
        alt=plot.alt,
        table=TABLE,
        sent=[each for each in results if each.kind == "sent in"],
    )


def shared_scores(results: Sequence[ResultFile]) -> list[str]:
    """Return the score columns that at least two of the tokenizers have, in the order of the first that has them."""
    found = [name for each in results for name in each.lengths[0].scores]
    needed = min(2, len(results))
    return [name for name in dict.fromkeys(found) if found.count(name) >= needed]


def whole_board(results: Sequence[ResultFile], scores: Sequence[str]) -> Board:
    """Return the main table: rate, reconstruction and tasks at the longest length, and the measures of the studies."""
    measures = {
        name: about
        for name, about in MEASURES.items()
        if any(isinstance(each.measures.get(name), Number) for each in results)
    }
    coded = any(length.entropy_bits is not None for each in results for length in each.lengths)
    columns = [
        Column("tokens", "Of an image, shortest to longest length; a codec has none.", ""),
        Column("bits", "Of an image as stored, mean over images, shortest to longest length.", ""),
        *(
            [Column("entropy-coded", "Bits of the same codes, entropy-coded with a model of training images.", "")]
            * coded
        ),
        *(
            Column(each.short, f"{each.label}, at the longest length.", each.better)
            for each in map(metric_info, scores)
        ),
        *(Column(*about) for about in measures.values()),
    ]
    rows = []
    for each in results:
        last = each.lengths[-1]
        cells = [
            _range([length.tokens for length in each.lengths]),
            _range([length.bits for length in each.lengths]),
            *([_range([length.entropy_bits for length in each.lengths])] * coded),
            *(_cell(last.scores.get(name)) for name in scores),
            *(_cell(each.measures.get(name)) for name in measures),
        ]
        rows.append((each, cells))
    note = "Scores are those at the longest length of each, so that rows differ in rate: compare at equal bits below."
    return Board("All tokenizers", note, columns, rows)


def equal_bits_boards(results: Sequence[ResultFile], scores: Sequence[str]) -> Iterator[Board]:
    """Yield a table per score, with a column for each number of bits that at least two tokenizers span."""
    counts = [budget.bits for each in results for budget in each.budgets]
    shown = [bits for bits in sorted(set(counts)) if counts.count(bits) >= 2]
    for name in scores if shown else ():
        described = metric_info(name)
        rows = []
        for each in results:
            found = {budget.bits: budget.scores.get(name) for budget in each.budgets}
            rows.append((each, [_cell(found.get(bits)) for bits in shown]))
        columns = [Column(f"{bits:,} bits", "", described.better) for bits in shown]
        compared = [(result, cells) for result, cells in rows if any(cell.text for cell in cells)]
        if len(compared) >= 2:
            yield Board(f"{described.label} at equal bits", "", columns, compared)


def _cell(found: Number | str | None) -> Cell:
    if found is None:
        return Cell("")
    if isinstance(found, str):
        return Cell("–", found)
    return Cell(format_number(found.value), format_interval(found.low, found.high), found.value)


def _range(values: Sequence[float | None]) -> Cell:
    known = [value for value in values if value is not None]
    if not known:
        return Cell("")
    low, high = (f"{value:,.0f}" for value in (known[0], known[-1]))
    return Cell(low if low == high else f"{low} – {high}", "", known[-1])
