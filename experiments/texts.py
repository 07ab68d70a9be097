"""The texts that follow from ledger and statements: RESULTS.md and its like, tables of README.md and docs/claims.md."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from alit.analysis.claims import Claim, Statement
from alit.analysis.measurements import COLUMNS, Measurement
from alit.analysis.numbers import format_estimate, format_interval, format_number
from alit.analysis.verdicts import marked
from alit.errors import DataError
from alit.report.claims_page import by_section, open_questions, verdict_counts
from alit.report.differences import settings_diff


def results_text(
    profile: str,
    *,
    of_record: bool,
    claims: Sequence[Claim],
    table: pd.DataFrame,
    settings: Mapping[str, Any],
    paper: Mapping[str, Any],
    judges: Sequence[str],
    picture: str,
    figures: Sequence[str],
    notes: str,
    tables: Path,
) -> str:
    """Return the text of RESULTS.md, or of the page of another kept run.

    Args:
        profile: its name.
        of_record: whether RESULTS.md is about it.
        claims: the ledger.
        table: the sweep table's columns dataset, length and l1.
        settings: the profile's.
        paper: the published settings.
        judges: what is known of the judges' training images, sentences.
        picture: path of the claims' picture, from the page.
        figures: paths of the other kept plots, from the page.
        notes: remarks on these results, a Jinja template of Markdown: `{{ number("C1", "name") }}` is a measurement
            with its interval, `{{ value("C1", "name") }}` its value alone, `{{ mean("sweep/table", "l1", length=8) }}`
            one of a kept table, so that no number is copied.
        tables: folder of the kept run.
    """
    found = ledger_numbers(claims) | table_numbers(tables)
    environment = _environment()
    remarks = environment.from_string(notes).render(**found)
    return environment.get_template("results.md").render(
        profile=profile,
        of_record=of_record,
        about=settings["about"],
        sections=by_section(claims),
        counts=verdict_counts(claims, "paper"),
        own_counts=verdict_counts(claims, "suite"),
        missing=missing_parts(claims),
        errors=mean_errors(table, [part["name"] for part in settings["data"]["sets"]]),
        images=table[table["length"] == 0].groupby("dataset", observed=True).size(),
        differences=settings_diff(paper, settings),
        judges=judges,
        open_questions=open_questions(claims),
        picture=picture,
        figures=figures,
        notes=remarks,
        marked=marked,
    )


def mean_errors(table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return mean L1 by data set (rows, in the given order) and length (columns); lengths of 0 are originals."""
    shown = table[table["length"] > 0]
    means = shown.pivot_table(values="l1", index="dataset", columns="length", aggfunc="mean", observed=True)
    return means.loc[[name for name in order if name in means.index]]


def ledger_numbers(claims: Iterable[Claim]) -> dict[str, Any]:
    """Return the functions by which a text takes numbers from a ledger.

    Each takes the id of a claim and the name of one of its measurements, or "headline", and raises DataError where the
    ledger has none of that name.
    """
    known = {claim.id: claim for claim in claims}

    def find(claim: str, name: str) -> Measurement:
        parts = {part.name: part for part in known[claim].measurements} if claim in known else {}
        if name == "headline" and claim in known and known[claim].headline is not None:
            return known[claim].headline  # type: ignore[return-value] # checked in the line above
        if name not in parts:
            raise DataError(f"expected a measurement of {claim}, found {name}; it has {', '.join(parts) or 'none'}")
        return parts[name]

    def number(claim: str, name: str, factor: float = 1.0) -> str:
        part = find(claim, name)
        low, high = sorted((factor * part.low, factor * part.high))
        return format_estimate(factor * part.value, low, high)

    def value(claim: str, name: str, factor: float = 1.0) -> str:
        return format_number(factor * find(claim, name).value)

    def gate(claim: str, name: str, factor: float = 1.0) -> str:
        gates = {each.name: each for each in known[claim].gates}
        if name not in gates:
            raise DataError(f"expected a gate of {claim}, found {name}; it has {', '.join(gates) or 'none'}")
        part = gates[name]
        return format_estimate(factor * part.value, factor * part.low, factor * part.high)

    return {"number": number, "value": value, "gate": gate}


def table_numbers(folder: Path) -> dict[str, Any]:
    """Return the functions by which a text takes numbers from the kept tables of a run.

    Each takes a table, such as "sweep/table", and the values that its rows must have in other columns; it raises
    DataError where there are no such rows.
    """

    def rows(table: str, columns: Sequence[str], where: Mapping[str, Any]) -> pd.DataFrame:
        whole = pd.read_parquet(folder / f"{table}.parquet", columns=[*columns, *where])
        for column, value in where.items():
            whole = whole.loc[whole[column] == value]
        if whole.empty:
            raise DataError(f"expected rows of {table} with {where}, found none")
        return pd.DataFrame(whole[list(columns)]).dropna()

    def mean(table: str, column: str, *, below: float | None = None, **where: Any) -> float:
        values = rows(table, [column], where)[column].to_numpy(dtype=float)
        return float((values if below is None else values < below).mean())

    def rank_correlation(table: str, one: str, other: str, **where: Any) -> float:
        return float(rows(table, [one, other], where).corr(method="spearman").to_numpy()[0, 1])

    return {"mean": mean, "rank_correlation": rank_correlation}


def missing_parts(claims: Iterable[Claim]) -> dict[str, list[str]]:
    """Return what could not be measured, by claim: deciding parts of either column, and gates that failed, with why."""
    found: dict[str, list[str]] = {}
    for claim in claims:
        failures = (gate.failure for gate in claim.gates if not gate.passes)
        if reasons := list(dict.fromkeys([*claim.missing, *claim.missing_control, *failures])):
            found[claim.id] = reasons
    return found


def verdict_table(claims: Iterable[Claim]) -> str:
    """Return the README's table: a line per claim, with both verdicts."""
    lines = [f"| | claim | {' | '.join(COLUMNS.values())} |", "|---|---|---|---|"]
    for claim in claims:
        lines.append(f"| {claim.id} | {claim.sentence} | {marked(claim.verdict)} | {marked(claim.control_verdict)} |")
    return "\n".join(lines)


def statement_table(statements: Iterable[Statement]) -> str:
    """Return the table of docs/claims.md: what decides each claim, in both columns."""
    lines = [f"| id | claim | {' | '.join(COLUMNS.values())} | smallest effects of interest |", "|---|---|---|---|---|"]
    for one in statements:
        control = one.control or f"no control: {one.no_control or 'none is known'}"
        claim = f"{one.sentence} ({one.source if one.origin == 'paper' else 'of this suite'})"
        lines.append(f"| {one.id} | {claim} | {one.criterion} | {control} | {one.margins or '–'} |")
    return "\n".join(lines)


def replace_part(text: str, name: str, content: str) -> str:
    """Put `content` between the comments that begin with `name:` and `end of name`.

    Raises:
        DataError: the text has no such comments.
    """
    pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise DataError(f"expected the comments <!-- {name}: ... --> and <!-- end of {name} -->, found none")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def render(template: str, **content: Any) -> str:
    """Render one of the report's templates of Markdown."""
    return _environment().get_template(template).render(**content)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("alit.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=format_number, interval=format_interval)
    return environment
