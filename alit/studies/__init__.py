"""The studies of the paper, one folder each: tables, claims, figures and, where one looks into networks, a measurement.

A study's `claims` module registers its claims as `CLAIMS`, from id to the function that assesses it.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

from alit.analysis.claims import Claim
from alit.analysis.study_data import Evidence

STUDIES = (
    "reconstruction",
    "complexity",
    "familiarity",
    "tsc_toi",
    "strength",
    "probe",
    "attention",
    "codebook",
    "ablations",
    "cost",
)


def study_claims(study: str) -> Mapping[str, Callable[[Evidence], Claim]]:
    """Return the claims of one study, one of `STUDIES`, by id."""
    return import_module(f"alit.studies.{study}.claims").CLAIMS


def all_claims() -> dict[str, Callable[[Evidence], Claim]]:
    """Return the claims of all studies by id, in the order of their numbers."""
    found = {name: assess for study in STUDIES for name, assess in study_claims(study).items()}
    return {name: found[name] for name in sorted(found, key=lambda name: int(name[1:]))}


def assess(evidence: Evidence, ids: Iterable[str] | None = None) -> tuple[Claim, ...]:
    """Assess the claims of the given ids, in their order; by default all."""
    claims = all_claims()
    return tuple(claims[name](evidence) for name in (claims if ids is None else ids))
