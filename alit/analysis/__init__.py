"""Pure functions of the sweep table: selection, capacity, curves, complexity and the claims ledger."""

from alit.analysis.claims import CLAIMS, Claim, assess, claims_table, ledger_from_json, ledger_to_json
from alit.analysis.evidence import Evidence, Study, load_evidence, open_study
from alit.analysis.grid import ScoreGrid, fold
from alit.analysis.selection import Criterion, Evaluation, Selection, capacity, evaluate, select

__all__ = [
    "CLAIMS",
    "Claim",
    "Criterion",
    "Evaluation",
    "Evidence",
    "ScoreGrid",
    "Selection",
    "Study",
    "assess",
    "capacity",
    "claims_table",
    "evaluate",
    "fold",
    "ledger_from_json",
    "ledger_to_json",
    "load_evidence",
    "open_study",
    "select",
]
