"""Where the tests' checkout lies, and what may lie beside it."""

import re
from pathlib import Path

from alit.paths import RunPaths

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "reference" / "golden"
HELPERS = Path(__file__).resolve().parent
FIXTURES = ROOT / "tests" / "fixtures"


def run_of_record() -> RunPaths:
    """Return the kept run that RESULTS.md is about."""
    profile = re.search(r"^Profile `([\w-]+)`", (ROOT / "RESULTS.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert profile is not None
    return RunPaths(ROOT / "results", profile[1])
