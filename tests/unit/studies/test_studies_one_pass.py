"""Predicted lengths in the adaptivity study: what they keep and cost, from a table and its record alone."""

import numpy as np
import pandas as pd
import pytest
from adaptive_tables import BARE, LENGTHS, sweep_table
from synthetic_tables import synthetic_study_data

from alit.studies.adaptivity.one_pass import ONE_PASS_COLUMNS, one_pass_table
from alit.studies.adaptivity.tables import CROSS_FITTED, compare_rules
from alit.tokenizer.promise import calibrated_margin

PROMISE = 0.1
SETTINGS = BARE.model_copy(update={"l1_thresholds": (0.05, PROMISE, 0.3), "familiarity": ("far",)})


def losses_and_predictions(count, seed, harder=1.0):
    generator = np.random.default_rng(seed)
    shape = np.linspace(1, 0.4, len(LENGTHS))
    level = 0.12 * np.exp(generator.normal(0, 0.4, (count, 1)))
    return harder * level * shape, level * shape * np.exp(generator.normal(0, 0.1, (count, 1)))


def data_of(table, margin=None):
    data = synthetic_study_data(table, SETTINGS, features=False)
    predictor = None if margin is None else {"confidence": 0.9, "margins": [[PROMISE, margin]]}
    return data._replace(record={"tokenizer": {"length_predictor": predictor}})


def calibrated(seed=0):
    losses, predicted = losses_and_predictions(2000, seed)
    return calibrated_margin(predicted, losses, PROMISE, 0.9)


def table_of(*sets):
    parts = [sweep_table(losses, predicted_l1=predicted).assign(dataset=name) for name, losses, predicted in sets]
    return pd.concat(parts, ignore_index=True)


def test_a_calibrated_margin_keeps_the_stated_share_and_a_shifted_set_loses_it():
    table = table_of(("far", *losses_and_predictions(500, 2, harder=1.3)), ("val", *losses_and_predictions(1500, 1)))
    data = data_of(table, calibrated())
    rows = one_pass_table(data._replace(dataset="val")).set_index("dataset")
    assert rows["promise"].tolist() == [PROMISE, PROMISE]  # those of the record alone
    assert rows.loc["val", "kept"] == pytest.approx(0.9, abs=0.03)
    assert rows.loc["val", "kept_low"] < rows.loc["val", "kept"] < rows.loc["val", "kept_high"]
    assert rows.loc["far", "kept"] < 0.6
    assert rows.loc["val", "images"] == 1500


def test_right_predictions_cost_nothing_and_keep_every_promise():
    losses, _ = losses_and_predictions(300, 0)
    row = one_pass_table(data_of(sweep_table(losses, predicted_l1=losses), 0.0)).iloc[0]
    assert row["kept"] == row["kept_of_satisfied"] == 1.0
    assert row["tokens"] == row["searched"]
    assert (row["regret"], row["shorter"], row["longer"]) == (0, 0, 0)
    assert row["able"] == row["satisfied"] == (losses[:, -1] < PROMISE).mean()


def test_the_longest_length_for_all_keeps_every_promise_and_costs_most():
    losses, predicted = losses_and_predictions(300, 0)
    row = one_pass_table(data_of(sweep_table(losses, predicted_l1=predicted), 1.0)).iloc[0]
    assert (row["kept"], row["satisfied"], row["tokens"]) == (1.0, 0.0, LENGTHS[-1])
    assert np.isnan(row["kept_of_satisfied"])
    assert row["regret"] == pytest.approx(LENGTHS[-1] / row["searched"] - 1)


@pytest.mark.parametrize("lacks", ["column", "values", "record", "margins"])
def test_a_tokenizer_that_predicts_nothing_has_no_rows(lacks):
    losses, predicted = losses_and_predictions(100, 0)
    columns = {} if lacks == "column" else {"predicted_l1": predicted * (np.nan if lacks == "values" else 1)}
    data = data_of(sweep_table(losses, **columns), None if lacks == "record" else 0.0)
    if lacks == "margins":
        data = data._replace(settings=SETTINGS.model_copy(update={"l1_thresholds": (0.05,)}))
    found = one_pass_table(data)
    assert found.columns.tolist() == ONE_PASS_COLUMNS
    assert found.empty
    assert one_pass_table(data._replace(record={})).empty


def test_the_studys_own_predictor_is_not_the_tokenizers():
    losses, predicted = losses_and_predictions(100, 0)
    with_column, without = (data_of(sweep_table(losses, **each)) for each in ({"predicted_l1": predicted}, {}))
    ours, theirs = (compare_rules(each).grid.score(CROSS_FITTED) for each in (with_column, without))
    assert np.array_equal(ours, theirs)
    assert np.array_equal(compare_rules(with_column).grid.score("predicted_l1"), predicted)
