"""The ledger of claims as a page: one picture, one line a claim, details that fold."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alit.analysis.claims import Claim
from alit.analysis.ledger import ledger_from_json
from alit.analysis.measurements import COLUMNS, Measurement
from alit.analysis.numbers import format_number
from alit.analysis.power import power_table
from alit.analysis.verdicts import VERDICTS
from alit.errors import DataError
from alit.report.claims_figure import claims_overview
from alit.report.site import IMAGES, Site
from alit.report.study_page import StudyPage

OVERVIEW = "claims_overview"  # name of the picture
# Where the paper makes a claim, by the beginning of its source; tables named without a section belong to section 5.
SECTIONS = (
    ("sec. 3", "Section 3: adaptive length image tokenization"),
    ("sec. 4", "Section 4: not all images are worth the same representation"),
    ("sec. 5", "Section 5: further experiments and ablations"),
    ("Tab.", "Section 5: further experiments and ablations"),
    ("ICLR version", "Appendix of the ICLR version"),
)
MANY = 1_000_000  # images or trainings, from which on a count tells nothing more
ELSEWHERE = "Elsewhere in the paper"
OWN = "Asked by this suite, not by the paper"


def by_section(claims: Iterable[Claim]) -> dict[str, list[Claim]]:
    """Group claims by the section of the paper that makes them, in its order; those of the suite's own come last."""
    groups: dict[str, list[Claim]] = {heading: [] for _, heading in SECTIONS} | {ELSEWHERE: [], OWN: []}
    for claim in claims:
        found = (heading for start, heading in SECTIONS if claim.source.startswith(start))
        groups[OWN if claim.origin == "suite" else next(found, ELSEWHERE)].append(claim)
    return {heading: group for heading, group in groups.items() if group}


def verdict_counts(claims: Iterable[Claim], origin: str) -> dict[str, dict[str, int]]:
    """Return how many claims of one origin have which verdict, by column; empty where there is no such claim."""
    those = [claim for claim in claims if claim.origin == origin]
    found = {words: [each.verdict_of(column) for each in those] for column, words in COLUMNS.items() if those}
    return {title: {each: names.count(each) for each in VERDICTS if each in names} for title, names in found.items()}


def wanted(part: Measurement) -> str:
    """Say what a claim wants of a measurement, and from which size on an effect counts."""
    if part.bound is None:
        return "for comparison"
    if part.expects == "equivalence":
        return f"within ±{format_number(part.margin)} of {format_number(part.bound)}"
    words = f"{part.side} {format_number(part.bound)}"
    return words if part.margin is None else f"{words}, by more than {format_number(part.margin)}"


def about_trainings(claim: Claim) -> str:
    """Say over how many trainings of the tokenizer the deciding intervals are."""
    counts = sorted({part.trainings for part in claim.measurements if part.decides})
    if not counts:
        return ""
    if counts == [1]:
        return "one training: the intervals do not hold what another training would change"
    few, most = counts[0], counts[-1]
    return f"{most} trainings" if few == most else f"{few} to {most} trainings, by measurement"


def ordered(claim: Claim) -> list[Measurement]:
    """Return a claim's measurements: those that decide as stated, then under control, then those for comparison."""
    return sorted(claim.measurements, key=lambda part: (not part.decides, part.decides and part.column == "control"))


class OpenQuestion(NamedTuple):
    """What it would take to decide an inconclusive measurement with 80 % power; counts in words."""

    claim: str
    column: str
    statistic: str
    images: str  # that there are
    for_margin: str  # images for the smallest effect of interest
    for_effect: str  # images for the effect that was measured, if it were the true one
    trainings: str  # of the tokenizer, for the smallest effect of interest


def open_questions(claims: Iterable[Claim]) -> list[OpenQuestion]:
    """List the inconclusive measurements of a ledger with what each would need."""
    table = power_table(claims).astype(object)
    return [
        OpenQuestion(
            claim=row["claim"],
            column=COLUMNS[row["column"]],
            statistic=row["statistic"],
            images=_count(row["images"]),
            for_margin=_count(row["images_for_margin"]),
            for_effect=_count(row["images_for_effect"]),
            trainings=_count(row["trainings_for_margin"]),
        )
        for row in table.to_dict("records")
    ]


def _count(number: float) -> str:
    """Write a count; a dash where it does not apply, and no number where none suffices."""
    if math.isnan(number):
        return "–"
    return f"{number:,.0f}" if number < MANY else f"over {MANY:,}"


def read_claims(path: Path) -> tuple[Claim, ...]:
    """Read the ledger that the claims stage wrote.

    Raises:
        DataError: it is not there.
    """
    if not path.is_file():
        raise DataError(f"expected the claims ledger {path}, found none; run: dvc repro claims")
    return ledger_from_json(path.read_text(encoding="utf-8"))


def write_claims(site: Site, claims: Sequence[Claim], studies: Sequence[StudyPage], judges: Sequence[str]) -> str:
    """Write the claims ledger as a page; return the description of its picture, `IMAGES`/`OVERVIEW`, for other pages.

    Args:
        site: where the page goes.
        claims: the ledger.
        studies: that show them.
        judges: what is known of the judges' training images, sentences.
    """
    sections = by_section(claims)
    plot = claims_overview(sections).save(site.folder / IMAGES, OVERVIEW)
    content: Mapping[str, Any] = {
        "sections": sections,
        "counts": verdict_counts(claims, "paper"),
        "figure": f"{IMAGES}/{OVERVIEW}",
        "alt": plot.alt,
        "shown_in": {claim.id: [study for study in studies if claim.id in study.claims] for claim in claims},
        "judges": judges,
        "open_questions": open_questions(claims),
        "columns": COLUMNS,
        "ordered": ordered,
        "wanted": wanted,
        "about_trainings": about_trainings,
    }
    site.write("claims.html", "claims.html", title="Claims", command=site.command, **content)
    return plot.alt
