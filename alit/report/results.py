"""RESULTS.md: a profile's verdicts and errors as text, from its tables and ledger."""

from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from alit.analysis.claims.ledger import Claim
from alit.report.differences import Difference
from alit.report.pages import VERDICTS, mean_errors
from alit.report.site import format_interval, format_number


def results_text(
    profile: str,
    *,
    claims: Sequence[Claim],
    table: pd.DataFrame,
    order: Sequence[str],
    differences: Sequence[Difference],
    figures: Sequence[str],
    notes: str,
) -> str:
    """Return the text.

    Args:
        profile: its name.
        claims: the ledger.
        table: the sweep table's columns dataset, length and l1.
        order: names of the sets, in the order to show them.
        differences: from the paper's settings.
        figures: paths of the kept plots.
        notes: what a person has to say about it, Markdown.
    """
    environment = Environment(
        loader=PackageLoader("alit.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=format_number, interval=format_interval)
    return environment.get_template("results.md").render(
        profile=profile,
        claims=claims,
        counts={verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS},
        errors=mean_errors(table, order),
        images=table[table["length"] == 0].groupby("dataset", observed=True).size(),
        differences=differences,
        figures=figures,
        notes=notes,
    )
