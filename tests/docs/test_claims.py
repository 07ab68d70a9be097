"""Texts about the claims: generated, current, and without a verdict that the kept ledger does not hold."""

import json
import re

import pytest
from checkout import ROOT, run_of_record

from alit.analysis.ledger import ledger_from_json
from alit.analysis.verdicts import SYMBOLS, VERDICTS, marked
from alit.studies import all_claims, all_statements
from experiments.texts import replace_part, statement_table, verdict_table

KEPT = run_of_record().claims
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
RULE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")


def test_every_claim_has_a_statement_that_says_what_decides_it():
    statements = all_statements()
    assert [each.id for each in statements] == list(all_claims())
    for each in statements:
        assert each.criterion
        assert each.control or each.no_control, f"{each.id}: neither a control nor a reason why there is none"


def test_the_table_of_the_rule_is_that_of_the_statements():
    assert replace_part(RULE, "statements", statement_table(all_statements())) == RULE


def test_the_table_of_the_readme_is_that_of_the_kept_ledger():
    ledger = ledger_from_json(KEPT.read_text(encoding="utf-8"))
    assert replace_part(README, "verdicts", verdict_table(ledger)) == README


@pytest.mark.parametrize("text", [README, RESULTS], ids=["README.md", "RESULTS.md"])
def test_no_table_shows_a_verdict_that_the_ledger_does_not_hold(text):
    ledger = json.loads(KEPT.read_text(encoding="utf-8"))
    lines = re.findall(r"^\| ([A-Z]\d+) \|.*\| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    assert [name for name, *_ in lines if name in ledger] == [name for name, *_ in lines]
    assert {name for name, *_ in lines} == set(ledger)
    for name, stated, control in lines:
        assert stated == marked(ledger[name]["verdict"]), name
        assert control == marked(ledger[name]["control_verdict"]), name


def test_the_rule_explains_every_verdict_with_its_symbol():
    for verdict in VERDICTS:
        if verdict != "no control":
            assert f"{SYMBOLS[verdict]} **{verdict}**" in RULE
