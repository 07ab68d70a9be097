"""How much of what tokens can do for a task a selection criterion realises, between uniform and oracle."""

from textwrap import wrap

import pandas as pd
from matplotlib.figure import Figure

from alit.plots.style import GREY, MARKERS, PALETTE, note_figure, panel_title, panels, style
from alit.plots.tables import distinct, groups, most, numbers, reach, rows, word

NOTHING = "not measurable here: no task has anything to gain from choosing lengths"


def realised_gains(gains: pd.DataFrame) -> Figure:
    """Draw the share of each criterion, one panel per task; lines at 0 (uniform) and 1 (oracle), bars 95 % intervals.

    Args:
        gains: columns tsc, tsc_label, toi, toi_label, own (drawn as a square), images, possible, value, low, high.
    """
    if gains.empty:
        return note_figure(NOTHING)
    criteria = list(dict.fromkeys(gains["tsc_label"]))
    with style():
        count = distinct(gains, "toi")
        figure, axes = panels(count, columns=2, height=0.8 + 0.38 * len(criteria), sharex=True, sharey=True)
        for panel, (_, part) in zip(axes, groups(gains, "toi"), strict=True):
            for end in (0, 1):
                panel.axvline(end, color=GREY, lw=0.8, ls="-" if end == 0 else (0, (1, 1)))
            for own, dots in groups(part, "own"):
                places = [-criteria.index(label) for label in dots["tsc_label"]]
                look = {"fmt": MARKERS[int(own)], "color": PALETTE[int(own)], "lw": 1, "markersize": 4}
                panel.errorbar(numbers(dots, "value"), places, xerr=reach(dots), **look)
            labels = ["\n".join(wrap(label, 25, break_long_words=False)) for label in criteria]
            panel.set_yticks([-place for place in range(len(criteria))], labels=labels)
            panel_title(panel, f"TOI: {word(part, 'toi_label')}")
        figure.supxlabel(
            f"share of the possible gain (n = {most(gains, 'images')})\n"
            "0: same length for all; 1: oracle\n"
            "square: chosen by the task itself"
        )
    return figure


def realised_gains_alt(gains: pd.DataFrame) -> str:
    """Say for each task what its own criterion realises and which criterion realises most."""
    if gains.empty:
        return f"{NOTHING.capitalize()}."
    words = []
    for _, part in groups(gains, "toi"):
        best = part.iloc[int(numbers(part, "value").argmax())]
        own = rows(part, part["own"])
        says = f"its own criterion {numbers(own, 'value')[0]:.0%}, " if len(own) else ""
        words.append(f"{word(part, 'toi_label')}: {says}most {best['tsc_label']} with {best['value']:.0%}")
    return f"Share of the possible gain over the same length for all that is realised, {'; '.join(words)}."
