"""Curves of tasks along selection criteria: what is drawn, and what a caller chooses."""

import numpy as np
import pandas as pd
import pytest
from strength_tables import with_model_pairs
from synthetic_tables import SETTINGS, synthetic_study_data, synthetic_table

from alit.analysis.choices import settings_of_table, with_choices
from alit.analysis.distances import FeatureDistances
from alit.analysis.grid import metric_info
from alit.analysis.selection import allocate_by_threshold, uniform_allocation
from alit.analysis.study_data import StudyData
from alit.errors import ConfigError
from alit.studies.tsc_toi.tables import oracle_curves, shown_tasks, task_curves

SCORES = {"depth_error_depth", "perceptual_net", "caption_score_wordy"}


@pytest.fixture(scope="module")
def study_data() -> StudyData:
    return synthetic_study_data(with_model_pairs(synthetic_table(40)))


def all_curves(data: StudyData) -> pd.DataFrame:
    """Return the curves that the notebook draws."""
    grid = data.task_grid()
    allocations = [allocate_by_threshold(grid, criterion, thresholds) for criterion, thresholds in data.criteria()]
    tasks = shown_tasks(data)
    return pd.concat([task_curves(data, grid, each, tasks) for each in (*allocations, uniform_allocation(grid))])


def test_curves_hold_every_pair_and_the_uniform_baseline(study_data):
    curves = all_curves(study_data)
    assert set(curves["tsc"]) == {"l1", "class_rank_strong", "uniform"} | SCORES
    assert set(curves["toi"]) == {"top1_strong", "top1_weak", "l1", "frechet_net"} | SCORES
    assert curves.groupby(["tsc", "toi"]).size().loc["uniform"].tolist() == [8] * 7
    assert len(curves.groupby(["tsc", "toi"])) == 42


def test_the_frechet_distance_is_shown_on_every_network_with_features_the_reference_first(study_data):
    two = study_data._replace(features={"a": study_data.features["net"][:, ::-1] * 2, **study_data.features})
    assert shown_tasks(two)[-2:] == ["frechet_net", "frechet_a"]
    curves = all_curves(two)
    assert (curves.loc[curves["toi"] == "frechet_net", "value"] > 0).any()
    ours, scaled = (curves.loc[curves["toi"] == f"frechet_{name}", "value"].to_numpy() for name in ("net", "a"))
    np.testing.assert_allclose(scaled, 4 * ours, rtol=1e-6, atol=1e-9)  # a squared distance
    assert metric_info("frechet_vgg16").label == "Fréchet distance on VGG16 features"


def test_curves_take_the_distances_that_are_known(study_data):
    known = FeatureDistances(study_data.features["net"])
    pd.testing.assert_frame_equal(all_curves(study_data._replace(distances={"net": known})), all_curves(study_data))
    assert set(known.to_table()["distance"]) == {"frechet"}


def test_curves_do_without_labels_depth_and_features():
    curves = all_curves(synthetic_study_data(synthetic_table(40, columns=()), features=False))
    assert set(curves["tsc"]) == {"l1", "perceptual_net", "uniform"}
    assert set(curves["toi"]) == {"perceptual_net", "l1"}


def test_an_oracle_is_drawn_of_every_task_that_is_a_mean_over_images(study_data):
    best = oracle_curves(study_data, study_data.task_grid(), ["top1_strong", "frechet_net"])
    assert set(best["toi"]) == {"top1_strong"}
    assert oracle_curves(study_data, study_data.task_grid(), []).empty


def test_curves_are_of_what_the_caller_chose(study_data):
    chosen = with_choices(
        study_data,
        dataset="near",
        criteria={"l1": [0.05, 0.1], "class_rank": [1]},
        tasks=["frechet_net", "ssim"],
        resamples=20,
    )
    curves = all_curves(chosen)
    assert curves.loc[curves["tsc"] == "l1", "threshold"].unique().tolist() == [0.05, 0.1]
    assert set(curves["tsc"]) == {"l1", "class_rank_strong", "uniform"}
    assert set(curves["toi"]) == {"frechet_net", "ssim"}
    near = study_data.grid.dataset("near")
    uniform = curves[(curves["tsc"] == "uniform") & (curves["toi"] == "ssim")]
    assert uniform["value"].to_numpy() == pytest.approx(near.score("ssim").mean(axis=0))
    assert np.isfinite(curves[["low", "high"]].to_numpy()).all()


def in_set(table):
    """Return a table with ranks among half as many classes beside those among all."""
    ranks = {f"class_rank_in_set_{name}": table[f"class_rank_{name}"] // 2 for name in ("weak", "strong")}
    return table.assign(**ranks)


def test_classification_is_that_among_the_sets_classes_where_the_table_has_it():
    table = synthetic_table(40)
    old, new = synthetic_study_data(table), synthetic_study_data(in_set(table))
    assert (old.rank_column, old.accuracy_column) == ("class_rank_strong", "top1_strong")
    assert (new.rank_column, new.accuracy_column) == ("class_rank_in_set_strong", "top1_in_set_strong")
    assert new.grid.score("top1_in_set_strong").mean() > new.grid.score("top1_strong").mean()
    assert new.grid.columns("top1_weak") == ("top1_weak",)
    curves = all_curves(new)
    assert "class_rank_in_set_strong" in set(curves["tsc"])
    assert {"top1_in_set_strong", "top1_in_set_weak"} <= set(curves["toi"])


def test_a_profile_may_ask_for_all_classes_of_the_network_as_the_paper_does():
    settings = SETTINGS.model_copy(update={"class_ranks_among": "all"})
    data = synthetic_study_data(in_set(synthetic_table(40)), settings)
    assert (data.rank_column, data.accuracy_column) == ("class_rank_strong", "top1_strong")


def test_a_table_of_no_run_has_each_classifier_once():
    assert settings_of_table(in_set(synthetic_table(40))).classifiers == ("weak", "strong")


def test_nothing_chosen_changes_nothing(study_data):
    assert with_choices(study_data, dataset="", criteria={}, tasks=[], resamples=0) == study_data


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ({"dataset": "elsewhere"}, "elsewhere"),
        ({"criteria": {"beauty": [1]}}, "beauty"),
        ({"criteria": {"l1": ["much"]}}, "much"),
        ({"tasks": ["top1_absent"]}, "top1_absent"),
    ],
)
def test_a_choice_that_the_table_lacks_is_refused_in_one_line(study_data, choice, found):
    with pytest.raises(ConfigError, match=found) as fault:
        with_choices(study_data, **choice)
    assert "\n" not in str(fault.value)
