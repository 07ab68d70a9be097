"""The leaderboard: known answers from tables made by hand, the file that others send in, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from synthetic_codebook import codebook_tables, synthetic_ids
from synthetic_comparison import cost_tables
from synthetic_tables import synthetic_study_data, synthetic_table, write_project

from alit.errors import ConfigError, DataError
from alit.report.leaderboard.compute import compute_result, hash_of_images, own_budget
from alit.report.leaderboard.figure import rate_distortion, rate_points
from alit.report.leaderboard.page import equal_bits_boards, shared_scores, whole_board
from alit.report.leaderboard.result_file import (
    Number,
    ResultFile,
    read_result,
    require_comparable,
    tidy,
    write_result,
)
from experiments import leaderboard

IMAGES = 60


def result(table=None, name="own", kind="own", **tables) -> ResultFile:
    data = synthetic_study_data(synthetic_table(IMAGES, ("val",)) if table is None else table)
    return compute_result(data._replace(tables=tables), name=name, kind=kind, command="make repro")


def test_lengths_hold_the_means_of_the_table():
    table = synthetic_table(IMAGES, ("val",))
    found = result(table)
    assert [each.length for each in found.lengths] == sorted(set(table["length"]) - {0})
    for each in found.lengths:
        rows = table.loc[table["length"] == each.length]
        assert each.bits == pytest.approx(rows["bits"].mean())
        assert each.tokens == each.length  # a table without the column
        assert each.entropy_bits is None
        l1 = each.scores["l1"]
        assert l1.value == pytest.approx(rows["l1"].mean())
        assert l1.low < l1.value < l1.high


def test_scores_at_equal_bits_are_interpolated_over_the_logarithm_and_never_beyond():
    table = synthetic_table(IMAGES, ("val",), lengths=(8, 32))  # 64 and 256 bits
    table.loc[table["length"] == 8, "l1"] = 0.2
    table.loc[table["length"] == 32, "l1"] = 0.1
    found = {each.bits: each.scores["l1"].value for each in result(table).budgets}
    assert found == pytest.approx({64: 0.2, 128: 0.15, 256: 0.1})


def test_one_length_is_compared_at_its_own_bits_alone():
    found = result(synthetic_table(IMAGES, ("val",), lengths=(32,)))
    assert [each.bits for each in found.budgets] == [256]
    assert found.budgets[0].scores["l1"].value == pytest.approx(found.lengths[0].scores["l1"].value)
    assert isinstance(found.measures["adaptive_l1"], str)


def test_bits_that_differ_between_images_are_the_rate_and_entropy_coded_ones_come_first():
    table = synthetic_table(IMAGES, ("val",))
    paid = table.assign(entropy_bits=table["bits"] * 0.75)
    found = result(paid)
    assert found.rate == "entropy_bits"
    assert found.rate_of(found.lengths[0]) == pytest.approx(0.75 * found.lengths[0].bits)
    unknown = paid.assign(entropy_bits=np.nan)
    assert result(unknown).rate == "bits"


def test_a_code_without_tokens_has_none():
    table = synthetic_table(IMAGES, ("val",))
    assert {each.tokens for each in result(table.assign(tokens=np.nan)).lengths} == {None}
    of_a_codec = table.assign(bits=table["bits"] * np.linspace(1, 2, len(table)))  # and a table without the column
    assert {each.tokens for each in result(of_a_codec).lengths} == {None}


def test_others_are_compared_at_the_bits_of_a_tokenizer_with_one_length():
    single = synthetic_study_data(synthetic_table(IMAGES, ("val",), lengths=(20,)))
    assert own_budget(single) == 160
    data = synthetic_study_data(synthetic_table(IMAGES, ("val",)))
    assert own_budget(data) is None
    found = compute_result(data, name="a", kind="own", command="make repro", budgets={160, 10**6})
    assert [each.bits for each in found.budgets] == [160]


def test_measures_are_those_of_the_studies():
    times, counts = (cost_tables()[name] for name in ("cost_times", "cost_counts"))
    ids = codebook_tables({"val": synthetic_ids(IMAGES)})
    found = result(cost_times=times, cost_counts=counts, **ids).measures
    own = times.loc[(times["tokenizer"] == "own") & (times["operation"] == "encode")]
    longest = own.loc[own["length"] == own["length"].max(), "seconds"]
    assert found["encode_ms"].value == pytest.approx(1e3 * longest.median())
    for name in ("adaptive_l1", "adaptive_saved", "complexity_human", "complexity_jpeg", "prefix", "decode_ms"):
        value = found[name]
        assert isinstance(value, Number | str), name
    assert 0 <= found["prefix"].value <= 1
    assert found["complexity_human"].value > 0.3  # the generator makes complex images harder


def test_what_was_not_measured_says_why():
    found = result().measures
    assert found["encode_ms"] == "not timed"
    assert found["prefix"] == "its ids were not written down"


def test_a_file_gives_the_same_result_back(tmp_path):
    write_result(result(), tmp_path / "own.json")
    assert read_result(tmp_path / "own.json") == result()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format"),
        ({"colour": "red"}, "unknown key colour"),
        ({"tokenizer": "../own"}, "tokenizer"),
        ({"checkpoint": "latest"}, "checkpoint"),
        ({"lengths": []}, "lengths"),
        ({"image_ids": None}, "image_ids"),
        ({"command": ""}, "command"),
    ],
)
def test_a_file_of_another_form_is_one_line(tmp_path, change, reason):
    (tmp_path / "sent.json").write_text(json.dumps(result().model_dump(mode="json") | change))
    with pytest.raises(ConfigError, match=reason) as caught:
        read_result(tmp_path / "sent.json")
    assert "\n" not in str(caught.value)
    assert "sent.json" in str(caught.value)


def test_lengths_that_do_not_ascend_are_refused(tmp_path):
    content = result().model_dump(mode="json")
    content["lengths"] = content["lengths"][::-1]
    (tmp_path / "sent.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="ascending lengths"):
        read_result(tmp_path / "sent.json")


def test_a_file_that_is_none_is_one_line(tmp_path):
    (tmp_path / "sent.json").write_text("{")
    for name in ("sent.json", "absent.json"):
        with pytest.raises(DataError, match="expected a result file at"):
            read_result(tmp_path / name)


SENT = {"tokenizer": "theirs", "checkpoint": "ab" * 32, "kind": "sent in"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tokenizer": "own"}, "a name that is not taken"),
        ({"image_ids": "0" * 64}, "images with the ids"),
        ({"dataset": "far"}, "the data set val"),
        ({"judges": {"net": "1" * 64}}, "weights of the judge net"),
        ({"checkpoint": ""}, "the sha256 of the weights"),
    ],
)
def test_results_about_something_else_are_refused(change, reason):
    own = result().model_copy(update={"judges": {"net": "0" * 64}})
    require_comparable(own.model_copy(update=SENT), own, {"own": own}, "it")
    with pytest.raises(DataError, match=reason):
        require_comparable(own.model_copy(update=SENT | change), own, {"own": own}, "it")


def test_images_are_told_apart_by_their_ids_in_any_order():
    grid = synthetic_study_data(synthetic_table(IMAGES, ("val",))).grid
    assert hash_of_images(grid) == hash_of_images(grid.subset(np.arange(IMAGES)[::-1]))
    assert hash_of_images(grid) != hash_of_images(grid.subset(np.arange(IMAGES - 1)))


def three() -> list[ResultFile]:
    codec = synthetic_table(IMAGES, ("val",), lengths=(8, 64)).assign(tokens=np.nan)
    return [
        result(),
        result(synthetic_table(IMAGES, ("val",), lengths=(16,)), "base", "baseline"),
        result(codec, "codec", "baseline"),
    ]


def test_the_table_of_all_has_a_row_a_tokenizer_and_a_cell_a_column():
    results = three()
    board = whole_board(results, shared_scores(results))
    assert [each.tokenizer for each, _ in board.rows] == ["own", "base", "codec"]
    assert all(len(cells) == len(board.columns) for _, cells in board.rows)
    bits = [column.label for column in board.columns].index("bits")
    assert [cells[bits].text for _, cells in board.rows] == ["32 – 256", "128", "64 – 512"]
    tokens = [column.label for column in board.columns].index("tokens")
    assert board.rows[2][1][tokens].text == ""


def test_equal_bits_are_shown_where_two_tokenizers_can_be_compared():
    results = three()
    boards = list(equal_bits_boards(results, ["l1"]))
    assert [column.label for column in boards[0].columns] == ["64 bits", "128 bits", "256 bits"]
    cells = {each.tokenizer: [cell.text for cell in row] for each, row in boards[0].rows}
    assert cells["base"][0] == cells["base"][2] == ""
    assert all(cells["own"])


def test_the_tidy_table_has_every_number_once():
    table = tidy(three())
    assert not table.duplicated(["tokenizer", "at", "setting", "measure"]).any()
    assert set(table["at"]) == {"length", "bits", ""}
    own = table.loc[(table["tokenizer"] == "own") & (table["at"] == "length") & (table["measure"] == "l1")]
    assert own["value"].is_monotonic_decreasing


def test_the_picture_tells_many_tokenizers_apart():
    many = [result(name=f"t{number}", kind="baseline") for number in range(9)]
    plot = rate_distortion(rate_points(many, ["l1"]))
    lines = [line for line in plot.figure.axes[0].lines if len(line.get_xdata()) > 1]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == 9
    assert "t8" in plot.alt
    assert rate_distortion(pd.DataFrame()).alt == "No measurements."


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with two baselines, of which one lacks the run's images."""
    paths = write_project(tmp_path)
    (paths.root / "params.yaml").write_text("profile: smoke\nstudies: {}\n")
    for name, dataset in {"fixed": "val", "elsewhere": "far"}.items():
        (paths.baselines / name).mkdir(parents=True)
        synthetic_table(60, (dataset,), lengths=(32,)).to_parquet(paths.baselines / name / "table.parquet")
    monkeypatch.chdir(tmp_path)
    return paths


def test_a_result_that_is_sent_in_joins_the_page(run):
    leaderboard.main(["smoke"])
    page, files = run.report / "leaderboard.html", run.report / "leaderboard"
    assert sorted(path.stem for path in files.glob("*.json")) == ["fixed", "own"]
    sent = read_result(files / "fixed.json").model_copy(update={"tokenizer": "theirs", "checkpoint": "ab" * 32})
    write_result(sent, run.root / "sent.json")
    leaderboard.main(["add", "sent.json"])
    leaderboard.main(["add", "sent.json"])  # a newer one of the same name replaces it
    assert "theirs" not in page.read_text(encoding="utf-8")
    leaderboard.main(["smoke"])
    text = page.read_text(encoding="utf-8")
    assert "theirs" in text
    assert "abababababab" in text
    assert (pd.read_csv(run.report / "leaderboard.csv")["kind"] == "sent in").sum() > 5
    before = page.read_bytes()
    leaderboard.main(["smoke"])
    assert page.read_bytes() == before


def test_nothing_is_added_to_a_leaderboard_that_is_not_there(run):
    write_result(result(), run.root / "sent.json")
    with pytest.raises(DataError, match="dvc repro leaderboard"):
        leaderboard.main(["add", "sent.json"])
