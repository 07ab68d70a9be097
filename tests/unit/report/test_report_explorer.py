"""The explorer's numbers are the sweep table's and the studies'; its page carries all that it needs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from synthetic_tables import synthetic_study_data, synthetic_table
from synthetic_thumbnails import synthetic_thumbnails

from alit.analysis.grid import criterion_label
from alit.analysis.numbers import format_number
from alit.analysis.selection import capacity, criterion_on, evaluate, select
from alit.errors import DataError
from alit.report.explorer.data import CriterionSeries, ExplorerData, explorer_data, slider_thresholds
from alit.report.explorer.page import in_script, plotting_library, write_explorer
from alit.report.site import Provenance, Site

TABLE = synthetic_table(images=60, datasets=("val", "near"))
SHOWN = ["val-00003", "val-00020", "val-00051"]
DATA = synthetic_study_data(TABLE, features=False)


@pytest.fixture(scope="module")
def explorer() -> ExplorerData:
    return explorer_data(DATA, [*SHOWN, "of-no-image"])


def some_steps(criterion: CriterionSeries) -> list[int]:
    """The strictest threshold, the loosest and one between."""
    return [0, criterion.start, len(criterion.thresholds) - 1]


def test_scores_of_images_are_the_tables(explorer):
    rows = TABLE.loc[(TABLE["dataset"] == "val") & (TABLE["length"] > 0)].set_index(["image_id", "length"])
    assert [image.image_id for image in explorer.shown] == SHOWN
    for image in explorer.shown:
        for length, texts, loss in zip(explorer.lengths, image.scores, image.losses, strict=True):
            row = rows.loc[(image.image_id, length)]
            assert loss == pytest.approx(row["l1"], rel=1e-4)
            assert texts[:4] == [format_number(row[name]) for name in ("l1", "psnr", "ssim", "bits")]
            assert format_number(row["depth_error_depth"]) in texts


def test_every_criterion_stops_where_the_table_first_satisfies_it(explorer):
    columns = ["l1", "class_rank_strong", "depth_error_depth", "perceptual_net"]
    assert [criterion.column for criterion in explorer.criteria] == columns
    rows = TABLE.loc[(TABLE["dataset"] == "val") & (TABLE["length"] > 0)]
    for criterion in explorer.criteria:
        assert criterion.label == criterion_label(criterion.column)
        for step in some_steps(criterion):
            for place, name in enumerate(SHOWN):
                mine = rows.loc[rows["image_id"] == name]
                enough = mine.loc[mine[criterion.column] < float(criterion.thresholds[step]), "length"]
                expected = enough.min() if len(enough) else explorer.lengths[-1]
                assert explorer.lengths[criterion.stops[step][place]] == expected
                assert criterion.met[step][place] == (len(enough) > 0)


def test_means_are_those_of_the_studies_functions(explorer):
    grid = DATA.task_grid()
    for criterion in explorer.criteria:
        for step in some_steps(criterion):
            chosen = select(grid, criterion_on(criterion.column), float(criterion.thresholds[step]))
            assert criterion.capacity.value[step] == pytest.approx(capacity(chosen, DATA.base_tokens), rel=1e-4)
            assert criterion.satisfied.value[step] == pytest.approx(chosen.satisfied.mean(), rel=1e-4)
            assert criterion.satisfied.text[step].startswith(f"{chosen.satisfied.mean():.1%} [")
            for task in criterion.tasks:
                mean = evaluate(grid, chosen, task.column).value
                assert task.selected.value[step] == pytest.approx(mean, rel=1e-4)
                assert task.selected.text[step].startswith(f"{format_number(mean)} [")
                assert task.selected.low[step] <= task.selected.value[step] <= task.selected.high[step]


def test_the_same_length_for_all_lies_on_its_curve_at_the_same_cost(explorer):
    grid = DATA.task_grid()
    for criterion in explorer.criteria:
        tokens = np.array(criterion.capacity.value) * DATA.base_tokens
        for task in criterion.tasks:
            expected = np.interp(tokens, grid.lengths, grid.score(task.column).mean(axis=0))
            np.testing.assert_allclose(task.same_cost.value, expected, rtol=1e-3)
            uniform = explorer.uniform[task.column]
            np.testing.assert_allclose(uniform.series.value, grid.score(task.column).mean(axis=0), rtol=1e-4)
            np.testing.assert_allclose(uniform.capacity, grid.lengths / DATA.base_tokens)


def test_the_loosest_threshold_is_satisfied_by_the_shortest_length_for_all(explorer):
    l1 = explorer.criteria[0]
    assert l1.satisfied.value[-1] == l1.satisfied_same_cost.value[-1] == 1
    assert l1.capacity.value[-1] == explorer.lengths[0] / DATA.base_tokens
    assert l1.capacity.value[0] == explorer.lengths[-1] / DATA.base_tokens  # the strictest: nothing satisfies
    assert l1.satisfied_same_cost.value[0] <= l1.satisfied.value[0] + 1e-9


@pytest.mark.parametrize("column", ["l1", "class_rank_strong", "ssim"])
def test_thresholds_are_what_the_page_writes_and_loosen_from_left_to_right(column):
    found = slider_thresholds(DATA.task_grid(), column, (0.081,))
    assert 0.081 in found
    assert [float(f"{value:.3g}") for value in found] == found.tolist()
    steps = np.diff(found)
    assert (steps > 0).all() if column != "ssim" else (steps < 0).all()
    assert len(found) <= 26


def test_images_without_a_score_of_some_task_are_left_out():
    table = TABLE.copy()
    table.loc[table["image_id"] == SHOWN[0], "class_rank_strong"] = np.nan
    explorer = explorer_data(synthetic_study_data(table, features=False), SHOWN)
    assert [image.image_id for image in explorer.shown] == SHOWN[1:]
    assert explorer.images_in_all == 59


def test_measures_that_an_image_lacks_are_not_offered():
    plain = synthetic_study_data(synthetic_table(images=30, columns=("class",)), features=False)
    assert explorer_data(plain, ["val-00001"]).measures == {}
    assert explorer_data(DATA, SHOWN).measures == {"complexity": "complexity"}


def test_thumbnails_of_another_sweep_are_refused():
    with pytest.raises(DataError, match="dvc repro thumbnails"):
        explorer_data(DATA, ["near-00001"])


def page(folder: Path, *, publishable: bool, private: bool) -> str:
    site = Site(folder, Provenance("toy", "configs/toy.yaml", "0123456789ab", "random weights"))
    thumbnails = synthetic_thumbnails(SHOWN, 8, publishable=publishable)
    return write_explorer(site, DATA, thumbnails, private=private, command="make").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("publishable", "private", "pictures", "said"),
    [
        (True, False, 3, None),
        (True, True, 3, None),
        (False, True, 3, "keep this page to yourself"),
        (False, False, 0, "forbid publishing its images"),
    ],
)
def test_pictures_are_left_out_where_terms_forbid_publishing_them(tmp_path, publishable, private, pictures, said):
    text = page(tmp_path, publishable=publishable, private=private)
    content = json.loads(re.search(r'id="explorer-data">(.*?)</script>', text, re.DOTALL)[1])
    assert len(content["pictures"]) == pictures
    assert ("data:image/webp" in text) == (pictures > 0)
    assert len(content["shown"]) == 3
    for words in ("keep this page to yourself", "forbid publishing its images"):
        assert (words in text) == (words == said)


def test_the_page_names_its_plotting_library_and_its_license_and_loads_nothing(tmp_path):
    text = page(tmp_path, publishable=True, private=True)
    assert re.search(r"Vega [\d.]+, Vega-Lite [\d.]+, Vega-Embed [\d.]+", text)
    assert "University of Washington Interactive Data Lab" in text
    frame = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?(?:https?:)?//""", frame)
    assert "default-src 'none'" in frame


@pytest.mark.parametrize("text", ["</script>", "</SCRIPT >", "<!-- a", "a < /b, c </d"])
def test_no_text_ends_the_script_that_holds_it(text):
    safe = in_script(json.dumps(text))
    assert not re.search("</script|<!--", safe, re.IGNORECASE)
    assert json.loads(safe) == text


def test_the_same_inputs_give_the_same_page(tmp_path):
    first = page(tmp_path / "a", publishable=True, private=True)
    plotting_library.cache_clear()
    second = page(tmp_path / "b", publishable=True, private=True)
    assert first == second


def test_frechet_distances_are_tasks_where_features_are_kept():
    data = synthetic_study_data(synthetic_table(images=40, datasets=("val",)), features=True)
    explorer = explorer_data(data, ["val-00001"])
    task = next(task for task in explorer.criteria[0].tasks if task.column == "frechet_net")
    assert task.selected.value[-1] == pytest.approx(task.same_cost.value[-1], rel=1e-3)  # the shortest for all
