"""The claims page's picture: every claim's effects with their intervals against the bound, in both columns."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alit.analysis.claims import Claim
from alit.analysis.measurements import COLUMNS, Column, Measurement
from alit.analysis.numbers import format_estimate
from alit.analysis.verdicts import SYMBOLS, marked
from alit.plots.style import EDGE, GRAY, WIDE, Plot, style

ROW, TITLE, HEAD, FOOT = 0.37, 0.27, 0.42, 0.5  # inches: of a claim, a section's heading, the top, the bottom
WORDS = 50  # characters in a line of a claim's sentence
NUMBERS = 25  # characters that an effect and its interval have room for
PANEL, NEXT, FIRST = 0.13, 0.31, 0.39  # shares of the width: a panel of intervals, column to column, left of the first
LEGEND = """\
Every line has a scale of its own. Vertical: the bound; right of it is as claimed. Thick: the effect in one number,
with its interval; thin: each measurement that decides. Gray band: effects too small to count; blue band: where a
claim that things are alike wants them. Counts: ● supported, ✖ contradicted, = too small to count, ○ inconclusive."""
COLORS: Mapping[str, str] = {  # of verdicts and outcomes; blue and orange are told apart by everyone
    "supported": "#0072B2",
    "partly supported": "#0072B2",
    "mixed": "#8C5A9E",
    "contradicted": "#C04A00",
    "equivalent": "#C04A00",
}
OPEN = "#5F6770"  # of everything else


class Position(NamedTuple):
    """A measurement on the scale of the picture: 0 the bound, right of it as claimed, 1 its farthest end."""

    value: float
    low: float
    high: float
    margin: float  # 0 where none is set


def position(part: Measurement) -> Position | None:
    """Scale a measurement to its own farthest end from the bound; None where it has no bound or no interval."""
    if part.bound is None or not part.has_interval:
        return None
    sign = -1.0 if part.side == "below" and part.expects == "difference" else 1.0
    value, *ends = (sign * (each - part.bound) for each in (part.value, part.low, part.high))
    margin = part.margin or 0.0
    scale = max(abs(value), *map(abs, ends), 1.2 * margin) or 1.0
    return Position(value / scale, min(ends) / scale, max(ends) / scale, margin / scale)


def claims_overview(sections: Mapping[str, Sequence[Claim]]) -> Plot:
    """Draw a line per claim and a panel per column: thin, each deciding measurement; thick, the effect in one number.

    Args:
        sections: claims by the heading that they stand under, in order.
    """
    claims = [claim for group in sections.values() for claim in group]
    total = HEAD + sum(TITLE + ROW * len(group) for group in sections.values()) + FOOT
    with style():
        figure = Figure(figsize=(WIDE, total))
        places = dict(_places(sections, total))
        for number, (column, title) in enumerate(COLUMNS.items()):
            left = FIRST + NEXT * number
            panel = figure.add_axes((left, 0.0, PANEL, 1.0))
            _frame(panel, figure, title.capitalize(), left, total)
            for claim in claims:
                _cell(panel, figure, claim, column, places[claim.id], left + PANEL + 0.008, total)
        for heading, group in sections.items():
            top = places[group[0].id] + (ROW / 2 + TITLE / 2) / total
            figure.text(0.008, top - 0.02 / total, heading, weight="bold", va="center", size=8, backgroundcolor="white")
        for claim in claims:
            words = textwrap.fill(claim.sentence, WORDS, max_lines=3, placeholder=" …")
            figure.text(0.008, places[claim.id], claim.id, va="center", size=7, weight="bold", color=EDGE)
            figure.text(0.05, places[claim.id], words, va="center", size=6.2, linespacing=1.1)
        figure.text(0.008, 0.2 / total, LEGEND, va="center", size=6.2, color=EDGE, linespacing=1.3)
    return Plot(figure, describe(claims))


def _places(sections: Mapping[str, Sequence[Claim]], total: float) -> Iterator[tuple[str, float]]:
    """Yield the height of each claim's row in the figure, as a share."""
    down = HEAD
    for group in sections.values():
        down += TITLE
        for claim in group:
            yield claim.id, 1 - (down + ROW / 2) / total
            down += ROW


def _frame(panel: Axes, figure: Figure, title: str, left: float, total: float) -> None:
    panel.set_xlim(-1.08, 1.08)
    panel.set_ylim(0, 1)
    panel.axis("off")
    panel.plot([0, 0], [FOOT / total, 1 - HEAD / total], color=GRAY, lw=0.8, zorder=0)
    figure.text(left, 1 - 0.14 / total, title, weight="bold", va="center", size=8.5)
    for x, align, words in ((-1.08, "left", "← against"), (1.08, "right", "claimed →")):
        panel.text(x, 1 - 0.32 / total, words, ha=align, va="center", size=5.8, color=GRAY)


def _cell(panel: Axes, figure: Figure, claim: Claim, column: Column, y: float, x: float, total: float) -> None:
    verdict = claim.verdict_of(column)
    color = COLORS.get(verdict, OPEN)
    parts = [part for part in claim.measurements if part.decides and part.column == column]
    head = _headline(claim, column, parts)
    _intervals(panel, parts, head, y, 0.72 * ROW / total)
    weight = "normal" if verdict in ("no control", "not measurable", "inconclusive") else "bold"
    outcomes = [part.outcome or "not measurable" for part in parts]
    tally = "  ".join(f"{SYMBOLS[name]} {outcomes.count(name)}" for name in SYMBOLS if name in outcomes)
    below = tally if head is None else _estimate(head)
    lift = 0.065 / total if below else 0.0
    figure.text(x, y + lift, marked(verdict), va="center", size=6.8, color=color, weight=weight)
    figure.text(x, y - 0.065 / total, below, va="center", size=5.8, color=EDGE)


def _estimate(part: Measurement) -> str:
    """Write an effect with its interval to three digits, or to two where three have no room."""
    words = format_estimate(part.value, part.low, part.high)
    return words if len(words) <= NUMBERS else format_estimate(part.value, part.low, part.high, digits=2)


def _headline(claim: Claim, column: Column, parts: Sequence[Measurement]) -> Measurement | None:
    """Return the effect that a column shows in one number: the claim's headline, or the only measurement.

    A pooled effect decides nothing and may have no criterion; it is drawn against that of the measurements, if they
    share one.
    """
    head = claim.headline
    if head is None or head.column != column:
        return parts[0] if len(parts) == 1 else None
    shared = {(part.bound, part.side, part.margin, part.expects) for part in parts}
    if head.bound is None and len(parts) > 1 and len(shared) == 1:
        bound, side, margin, expects = shared.pop()
        head = replace(head, bound=bound, side=side, margin=margin, expects=expects)
    return head


def _intervals(panel: Axes, parts: Sequence[Measurement], head: Measurement | None, y: float, room: float) -> None:
    """Draw a claim's intervals in one column, within `room` around `y`."""
    drawn = [(part, found) for part in parts if (found := position(part)) is not None]
    lines = y + np.linspace(room / 2, -room / 2, len(drawn) + 2)[1:-1]
    for (part, found), height in zip(drawn, lines, strict=True):
        tone = COLORS.get(part.outcome or "", OPEN)
        panel.plot([found.low, found.high], [height, height], color=tone, lw=min(1.0, 14 / len(drawn)), alpha=0.55)
    if head is None or (found := position(head)) is None:
        return
    if found.margin:
        tone = COLORS["supported"] if head.expects == "equivalence" else GRAY
        panel.fill_betweenx([y - room / 2, y + room / 2], -found.margin, found.margin, color=tone, alpha=0.2, lw=0)
    panel.plot([found.low, found.high], [y, y], color=EDGE, lw=1.6, solid_capstyle="butt")
    panel.plot([found.value], [y], "o", color=EDGE, markersize=3.2)


def counted(names: Sequence[str]) -> str:
    """Return how often each verdict occurs, in a fixed order."""
    return ", ".join(f"{names.count(name)} {name}" for name in SYMBOLS if name in names)


def describe(claims: Sequence[Claim]) -> str:
    """Return the picture in a sentence: how many claims have which verdict, in each column."""
    parts = (f"{words}: {counted([each.verdict_of(column) for each in claims])}" for column, words in COLUMNS.items())
    return f"{len(claims)} claims; {'; '.join(parts)}."
