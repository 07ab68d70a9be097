"""Results that are kept beside the code: they follow from their tables, and a change is noticed."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from checkout import ROOT, run_of_record
from synthetic_report import synthetic_project
from synthetic_tables import synthetic_features, synthetic_table

from alit.analysis.claims import Statement
from alit.analysis.ledger import ledger_from_json, ledger_to_json, recheck
from alit.analysis.loading import load_run_data
from alit.analysis.measurements import Gate, measured
from alit.errors import DataError
from alit.paths import RunPaths
from alit.studies import all_claims, assess
from experiments import release

STATEMENT = Statement("C1", "Sentence.", "Tab. 1", "a number", "above 0", control="above 0 for the same length")


def part(name="a", value=1.0, bound: float | None = 0.0, **options):
    return measured(name, "fall of L1", np.full(10, value), 0.95, 40, bound, **options)


def claim(*parts, missing=()):
    return STATEMENT.judge(parts, missing)


def test_a_ledger_that_its_tables_give_again_has_no_fault():
    assert recheck([claim(part())], [claim(part())]) == []


def test_a_measurement_that_the_tables_do_not_give_is_a_fault():
    faults = recheck([claim(part(), part("frechet_val"))], [claim(part())])
    assert "C1: the tables do not give frechet_val" in faults


def test_a_ledger_of_an_earlier_format_is_refused_with_the_command_that_writes_it_again():
    content = json.loads(ledger_to_json([claim(part())]))
    del content["C1"]["control_verdict"]
    with pytest.raises(DataError, match="C1: expected a claim as dvc repro writes it"):
        ledger_from_json(json.dumps(content))


def test_a_changed_number_is_a_fault():
    (fault,) = recheck([claim(part(value=1.0))], [claim(part(value=1.1))])
    assert fault.startswith("C1: a is 1 [1, 1] in the ledger, 1.1")


@pytest.mark.parametrize("field", ["verdict", "control_verdict"])
def test_both_verdicts_must_follow_from_the_measurements(field):
    kept = claim(part(), part("b", column="control"))
    assert recheck([kept], [kept]) == []
    tables, rule = recheck([replace(kept, **{field: "inconclusive"})], [kept])
    assert "'inconclusive' in the ledger, 'supported' by the tables" in tables
    assert "'inconclusive', its measurements give 'supported'" in rule


def test_an_outcome_must_follow_from_its_numbers():
    kept = claim(part(), part("b", bound=None))
    turned = replace(kept, measurements=(replace(kept.measurements[0], outcome="contradicted"), kept.measurements[1]))
    assert recheck([turned], [kept]) == ["C1: a is 'contradicted', its numbers give 'supported'"]


def test_what_is_missing_or_failed_its_gate_is_part_of_what_a_verdict_follows_from():
    closed = Gate("knows", "accuracy", 0.5, 0.4, 0.6, bound=0.9)
    for kept in (claim(part(), missing=["no depth"]), STATEMENT.judge([part()], gates=[closed])):
        assert recheck(ledger_from_json(ledger_to_json([kept])), [kept]) == []
    lost = replace(claim(part(), missing=["no depth"]), missing=())
    assert [fault.partition(" is ")[0] for fault in recheck([lost], [claim(part())])] == [
        "C1: the verdict as stated",
        "C1: the verdict as stated",
    ]


@pytest.mark.parametrize("column", ["missing", "missing_control"])
def test_what_is_missing_is_that_of_the_tables(column):
    kept, found = (
        STATEMENT.judge([part(), part("b", column="control")], **{column: words}) for words in (["no depth"], [])
    )
    missing, verdict = recheck([kept], [found])
    where = "as stated" if column == "missing" else "under control"
    assert missing == f"C1: missing {where} is 'no depth' in the ledger, 'nothing' by the tables"
    assert verdict == f"C1: the verdict {where} is 'partly supported' in the ledger, 'supported' by the tables"


@pytest.mark.parametrize("field", ["value", "low", "high", "bound", "side", "statistic", "guards"])
def test_gates_are_those_of_the_tables(field):
    gate = Gate("knows", "accuracy", 0.95, 0.92, 0.97, bound=0.9, guards=("b",))
    other: dict = {"side": "below", "statistic": "another", "guards": ("c",)}
    moved = replace(gate, **{field: other.get(field, 0.91)})
    kept, found = (STATEMENT.judge([part()], gates=[each]) for each in (gate, moved))
    (fault,) = recheck([kept], [found])
    assert fault.startswith("C1: gates: knows is 0.95 [0.92, 0.97] in the ledger")
    close = replace(gate, value=0.95 + 1e-7)
    assert recheck([kept], [STATEMENT.judge([part()], gates=[close])]) == []
    assert recheck([kept], [claim(part())]) == ["C1: gates: the tables do not give knows"]
    assert recheck([claim(part())], [kept]) == ["C1: gates: the tables also give knows"]


def test_a_headline_comes_out_of_the_tables_again():
    kept = STATEMENT.judge([part(), part("b")], headline=part("mean", bound=None))
    other = STATEMENT.judge([part(), part("b")], headline=part("mean", value=1.2, bound=None))
    (fault,) = recheck([kept], [other])
    assert "the headline is 1 [1, 1] in the ledger, 1.2" in fault


def test_claims_on_one_side_only_are_faults():
    other = replace(claim(part()), id="C2")
    assert recheck([claim(part())], [other]) == ["C1: no such claim", "C2: not in the kept ledger"]


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """A checkout whose sweep and claims have run."""
    paths = synthetic_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(release, "RUN_OF_RECORD", paths.profile)
    (paths.sweep / "config.json").write_text(json.dumps({"tokenizer": {"base_tokens": 64}}))
    paths.claims.write_text(ledger_to_json(assess(load_run_data(paths))), encoding="utf-8")
    figures = paths.report / "study" / "figures"
    figures.mkdir(parents=True)
    (figures / "curve.png").touch()
    (figures / "images_of_people.png").touch()
    (tmp_path / "results" / "notes").mkdir(parents=True)
    (tmp_path / "results" / "notes" / f"{paths.profile}.md").write_text("## What surprised\n\nNothing.\n")
    return paths


def test_results_are_kept_and_stand_when_checked(paths, capsys):
    release.main([paths.profile])
    text = (paths.root / "RESULTS.md").read_text()
    for expected in ("| C1 |", "## What surprised", "study/figures/curve.png"):
        assert expected in text
    assert not list(paths.root.glob("results/**/images_*"))
    release.main([paths.profile, "--check"])
    assert "follow from the kept tables" in capsys.readouterr().out


def test_a_run_beside_the_one_of_record_has_a_page_of_its_own(paths, monkeypatch):
    monkeypatch.setattr(release, "RUN_OF_RECORD", "another")
    readme = "<!-- verdicts: by a command -->\nof another run\n<!-- end of verdicts -->\n"
    (paths.root / "README.md").write_text(readme)
    release.main([paths.profile])
    page = paths.root / "results" / f"{paths.profile}.md"
    text = page.read_text()
    for link in re.findall(r"\]\(([^)]*\.png)\)", text):
        assert (page.parent / link).is_file()
    assert f"# Results of the run `{paths.profile}`" in text
    assert "study/figures/curve.png" in text
    assert "## What surprised" in text
    assert not (paths.root / "RESULTS.md").exists()
    assert (paths.root / "README.md").read_text() == readme
    page.write_text(text.replace("supported", "fails"))
    with pytest.raises(DataError, match="found 1 faults"):
        release.main([paths.profile, "--check"])


def test_remarks_on_another_run_stay_out_of_its_results(paths):
    notes = paths.root / "results" / "notes"
    (notes / f"{paths.profile}.md").rename(notes / "another.md")
    (notes / "another.md").write_text('{{ value("C6", "of_a_network_that_this_run_lacks") }}')
    release.main([paths.profile])
    assert "What surprised" not in (paths.root / "RESULTS.md").read_text()


def test_distances_are_kept_in_place_of_features_and_give_the_same_claims(paths):
    extractor = load_run_data(paths).settings.feature_extractor
    np.save(paths.sweep / f"features_{extractor}.npy", synthetic_features(pd.read_parquet(paths.table)))
    release.main([paths.profile])
    kept = RunPaths(paths.root / "results", paths.profile)
    assert not list(kept.sweep.glob("features_*"))
    assert len(pd.read_parquet(kept.sweep / f"distances_{extractor}.parquet")) > 8
    again = {claim.id: claim for claim in assess(load_run_data(kept))}
    for claim in assess(load_run_data(paths)):
        assert ledger_to_json([again[claim.id]]) == ledger_to_json([claim])


def test_other_trainings_are_kept_with_their_records_and_give_the_same_claims(paths):
    folder = paths.baselines / "seed_1"
    folder.mkdir(parents=True)
    synthetic_table(images=40, seed=1).to_parquet(folder / "table.parquet")
    shutil.copyfile(paths.sweep / "config.json", folder / "config.json")
    paths.claims.write_text(ledger_to_json(assess(load_run_data(paths))), encoding="utf-8")
    release.main([paths.profile])
    kept = RunPaths(paths.root / "results", paths.profile)
    data = load_run_data(kept)
    assert data.trainings["seed_1"].base_tokens == data.base_tokens == 64
    release.main([paths.profile, "--check"])


def test_numbers_of_the_remarks_come_from_the_ledger(paths):
    notes = paths.root / "results" / "notes" / f"{paths.profile}.md"
    notes.write_text('C2: {{ number("C2", "loss_val") }}.\n')
    release.main([paths.profile])
    found = {each.name: each for each in ledger_from_json(paths.claims.read_text())[1].measurements}["loss_val"]
    assert f": {found.value:.3g} [{found.low:.3g}, {found.high:.3g}]." in (paths.root / "RESULTS.md").read_text()
    notes.write_text('{{ value("C2", "none_of_this_name") }}')
    with pytest.raises(DataError, match="expected a measurement of C2, found none_of_this_name; it has loss"):
        release.main([paths.profile, "--text"])


def test_tables_of_other_texts_are_written_between_their_comments(paths):
    (paths.root / "docs").mkdir()
    for file, name in ((paths.root / "README.md", "verdicts"), (paths.root / "docs" / "claims.md", "statements")):
        file.write_text(f"Before.\n<!-- {name}: by a command -->\nan old line\n<!-- end of {name} -->\nAfter.\n")
    release.main([paths.profile])
    readme, rule = (paths.root / "README.md").read_text(), (paths.root / "docs" / "claims.md").read_text()
    for text in (readme, rule):
        assert text.startswith("Before.")
        assert text.endswith("After.\n")
        assert "an old line" not in text
        assert "\n| C17 |" in text
    (paths.root / "README.md").write_text(readme.replace("| C17 |", "| C18 |"))
    with pytest.raises(DataError, match="found 1 faults"):
        release.main([paths.profile, "--check"])


def test_a_ledger_is_computed_again_from_the_kept_tables(paths):
    release.main([paths.profile])
    kept = RunPaths(paths.root / "results", paths.profile).claims
    before = kept.read_text()
    kept.write_text(ledger_to_json(ledger_from_json(before)[:3]))
    release.main([paths.profile, "--reassess"])
    assert kept.read_text() == before


def test_what_could_not_be_measured_is_listed(paths):
    release.main([paths.profile])
    listed = (
        (paths.root / "RESULTS.md").read_text().split("Not measurable from the kept tables, or by an instrument")[1]
    )
    for claim in ledger_from_json(paths.claims.read_text()):
        for reason in (*claim.missing, *claim.missing_control):
            assert reason in listed


def test_results_that_were_never_kept_are_missed(paths):
    with pytest.raises(DataError, match=r"found none; run: python -m experiments.release"):
        release.main([paths.profile, "--check"])


def test_a_verdict_that_was_written_over_is_found(paths, capsys):
    release.main([paths.profile])
    kept = paths.root / "results" / "runs" / paths.profile / "claims.json"
    content = json.loads(kept.read_text())
    content["C1"]["verdict"] = "mixed" if content["C1"]["verdict"] != "mixed" else "supported"
    kept.write_text(json.dumps(content))
    with pytest.raises(DataError, match="expected the verdicts"):
        release.main([paths.profile, "--check"])
    assert "C1: the verdict as stated is" in capsys.readouterr().out


def test_a_text_that_is_not_that_of_the_results_is_found_and_written_again(paths):
    release.main([paths.profile])
    file = paths.root / "RESULTS.md"
    text = file.read_text()
    file.write_text(text.replace("supported", "fails"))
    with pytest.raises(DataError, match="found 1 faults"):
        release.main([paths.profile, "--check"])
    release.main([paths.profile, "--text"])
    assert file.read_text() == text


def test_the_page_of_the_results_is_about_the_run_of_record():
    assert run_of_record().profile == release.RUN_OF_RECORD


@pytest.mark.slow
@pytest.mark.parametrize("profile", sorted(path.name for path in (ROOT / "results" / "runs").iterdir()))
def test_kept_results_follow_from_their_tables(profile, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    release.main([profile, "--check"])
    assert f"{len(all_claims())} claims" in capsys.readouterr().out
