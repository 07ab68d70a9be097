"""Rules for choosing lengths against the same length for all, at equal cost."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alit.analysis.selection import own_column
from alit.plots.card import CardFigure, line_card, no_card
from alit.plots.style import (
    BAND,
    DASHES,
    EDGE,
    GRAY,
    Plot,
    arrow_of,
    looks_of_series,
    note,
    panel_title,
    panels,
    sample_size,
    style,
)

NOTHING = "not measurable here: one length only, or too few images"
# What a rule is to the task of a panel; the order gives each its look.
THRESHOLD, OWN, BUDGET, PREDICTED_BUDGET, ORACLE, CROSSED, RETRAINED = ROLES = (
    "L1 < threshold",
    "threshold on the task itself",
    "budget by L1",
    "budget by predicted L1",
    "oracle: budget by the task itself",
    "oracle of another network",
    "oracle of other trainings",
)
PROMISE_RULES: dict[str, str] = {
    "l1": THRESHOLD,
    "budget": BUDGET,
    "predicted_budget": PREDICTED_BUDGET,
    "predicted_l1": "predicted L1 < threshold",
}
LOOKS = dict(zip(map(str, ROLES), looks_of_series(), strict=False))  # in all figures; of no two in one panel the same
LOOKS |= {RETRAINED: (EDGE, "X", DASHES[2]), "predicted L1 < threshold": LOOKS[OWN]}
MIDDLE = 0.6


def means_by_share(rules: pd.DataFrame) -> Plot:
    """Draw how much better than the same length for all each rule is in the mean, one panel per score.

    Args:
        rules: columns cost, share, rule, kind, column, column_label, better, unit, images, advantage, low, high.
    """
    means = rules.loc[(rules["kind"] == "mean") & (rules["rule"] != "uniform")]
    if means.empty:
        return note(NOTHING)
    found = []
    with style():
        figure, axes = panels(len(means["column"].unique()), height=2.2, sharex=True)
        for panel, (column, part) in zip(axes, means.groupby("column", sort=False), strict=True):
            lines = _by_role(part, str(column))
            for role, line in lines.items():
                _line(panel, line, LOOKS[role], role)
            unit, label = part["unit"].iat[0], part["column_label"].iat[0]
            _finish(panel, part, f"mean {label}{arrow_of(part['better'].iat[0])}")
            best = {role: _at(line) for role, line in lines.items()}
            words = ", ".join(f"{role} {_amount(value, unit)}" for role, value in best.items())
            found.append(f"{label}: {words}")
        _legend(figure, axes)
        figure.supylabel("better than the same length for all by")
        figure.suptitle(sample_size(means))
    share = _middle(means)
    return Plot(
        figure, f"Advantage over the same length for all at {share:.0%} of the {_cost(means)}: {'; '.join(found)}."
    )


def promises_by_share(rules: pd.DataFrame, savings: pd.DataFrame) -> Plot:
    """Draw what a threshold is for: images that keep a promised L1, the worst losses, and what the same promise costs.

    Args:
        rules: see `means_by_share`; its rows of kind "kept" and "tail".
        savings: columns cost, share, rule, images, value, low, high.
    """
    kept, tail = (rules.loc[(rules["kind"] == kind) & (rules["rule"] != "uniform")] for kind in ("kept", "tail"))
    if kept.empty or savings.empty:
        return note(NOTHING)
    saved = savings.assign(advantage=savings["value"], unit="share")
    titles = ("images that keep the promised L1", "L1 that one image in twenty exceeds", "tokens for that promise")
    found = []
    with style():
        figure, axes = panels(3, height=2.6, sharex=True)
        for panel, title, part in zip(axes, titles, (kept, tail, saved), strict=True):
            lines = {role: part.loc[part["rule"] == rule] for rule, role in PROMISE_RULES.items()}
            for role, line in lines.items():
                _line(panel, line, LOOKS[role], role)
            _finish(panel, part, title)
            unit = part["unit"].iat[0]
            words = ", ".join(f"{role} {_amount(_at(line), unit)}" for role, line in lines.items())
            found.append(f"{title}: {words}")
        _legend(figure, axes)
        figure.supylabel("better than the same length for all by")
        figure.suptitle(sample_size(kept))
    share = _middle(kept)
    return Plot(
        figure, f"Advantage over the same length for all at {share:.0%} of the {_cost(kept)}: {'; '.join(found)}."
    )


def tokens_by_group(spread: pd.DataFrame) -> Plot:
    """Draw whom each rule gives tokens, and what a token brings there.

    Args:
        spread: columns rule, group, loss, gain, length, images.
    """
    if spread.empty:
        return note(NOTHING)
    uniform = pd.DataFrame(spread.loc[spread["rule"] == "uniform"])
    total, last = int(uniform["images"].to_numpy().sum()), int(uniform["group"].to_numpy().max())
    with style():
        figure, (lengths, gains) = panels(2, columns=2, height=2.8)
        lengths.plot(uniform["group"], uniform["length"], color=GRAY, marker="x", label="same length for all")
        ends = []
        for rule, role in PROMISE_RULES.items():
            line = spread.loc[spread["rule"] == rule]
            color, marker, dash = LOOKS[role]
            lengths.plot(line["group"], line["length"], color=color, marker=marker, ls=dash, label=role)
            ends.append(f"{role} {line['length'].iat[0]:.3g} and {line['length'].iat[-1]:.3g}")
        gains.plot(uniform["group"], uniform["gain"], color=EDGE, marker="o")
        gains.set_ylim(bottom=min(0.0, float(uniform["gain"].to_numpy().min())))
        for panel, title in ((lengths, "mean tokens"), (gains, "fall of L1 per token, near that length")):
            panel_title(panel, title, 46)
            panel.set_xlabel(f"images by L1 at the shortest length\n(1 lowest, {last} highest)")
        figure.legend(*lengths.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        figure.suptitle(f"n = {total:,}")
    brings = f"a token brings {uniform['gain'].iat[0]:.2g} and {uniform['gain'].iat[-1]:.2g} of L1"
    words = f"Tokens for the images of lowest and of highest L1: {', '.join(ends)}; {brings} there."
    return Plot(figure, words)


def card(rules: pd.DataFrame) -> CardFigure:
    """Draw by how much rules that know L1 alone lower its mean at the same cost, for the study's card.

    Args:
        rules: see `means_by_share`.
    """
    rows = rules.loc[(rules["kind"] == "mean") & (rules["column"] == "l1") & rules["rule"].isin(list(PROMISE_RULES))]
    if rows.empty:
        return no_card(NOTHING)
    lines = rows.assign(series=rows["rule"].map(PROMISE_RULES), value=rows["advantage"])
    found = [f"{name} {_amount(_at(lines.loc[lines['series'] == name]), 'share')}" for name in (BUDGET, THRESHOLD)]
    at = f"at {_middle(lines):.0%} of the {_cost(lines)}"
    return line_card(
        f"Gain in mean L1 over the same length for all {at}: {', '.join(found)}.",
        lines,
        series="series",
        across="share",
        x=f"share of the most {_cost(lines)} ({sample_size(rows)})",
        y="gain in mean L1 over the same length for all",
        shares="xy",
    )


def _by_role(part: pd.DataFrame, column: str) -> Mapping[str, pd.DataFrame]:
    """Return the rows of each role that some rule has for a task; a task's own criterion is L1 for L1 itself."""
    own = own_column(column)
    names = {"l1": THRESHOLD, "budget": BUDGET, "predicted_budget": PREDICTED_BUDGET}
    names |= {f"oracle_{column}": ORACLE, f"crossed_{column}": CROSSED, f"retrained_{column}": RETRAINED}
    names |= {} if own == "l1" else {own: OWN}
    found = {role: part.loc[part["rule"] == rule] for rule, role in names.items()}
    return {role: found[role] for role in ROLES if role in found and len(found[role])}


def _line(panel: Axes, line: pd.DataFrame, look: tuple[str, str, object], label: str) -> None:
    color, marker, dash = look
    line = line.sort_values("share")
    panel.plot(line["share"], line["advantage"], color=color, marker=marker, ls=dash, markersize=3.5, label=label)
    panel.fill_between(line["share"], line["low"], line["high"], color=color, alpha=BAND, lw=0)


def _finish(panel: Axes, part: pd.DataFrame, title: str) -> None:
    panel.axhline(0, color=GRAY, lw=0.8)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if part["unit"].iat[0] == "share":
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel_title(panel, title, 26)  # beside a label of all panels
    panel.set_xlabel(f"share of the most {_cost(part)}")


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    handles = {}
    for panel in axes:
        handles |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)


def _middle(part: pd.DataFrame) -> float:
    """Return the share that is nearest 60 %."""
    shares = part["share"].to_numpy(dtype=float)
    return float(shares[abs(shares - MIDDLE).argmin()])


def _at(line: pd.DataFrame) -> float:
    return float(line.loc[line["share"] == _middle(line), "advantage"].iat[0])


def _amount(value: float, unit: str) -> str:
    return f"{value:+.1%}" if unit == "share" else f"{value:+.3f}"


def _cost(part: pd.DataFrame) -> str:
    return str(part["cost"].iat[0]).replace("_", " ")
