"""Where the tests' checkout lies, and what may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "reference" / "golden"
HELPERS = Path(__file__).resolve().parent
FIXTURES = ROOT / "tests" / "fixtures"
