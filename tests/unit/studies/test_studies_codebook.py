"""The codebook study: what its numbers are on ids that are known, and the claim on them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from synthetic_codebook import CODES, LENGTHS, codebook_tables, continuous_tables, synthetic_ids
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.claims import Claim
from alit.analysis.selection import BootstrapConfig
from alit.analysis.study_data import StudyData
from alit.errors import DataError
from alit.studies import all_claims
from alit.studies.codebook import tables as codebook

HOW = BootstrapConfig(400, 0.95, 0)
SWEPT = synthetic_study_data(synthetic_table(60, ("val", "near")), features=False)


def study_data(*sets: np.ndarray) -> StudyData:
    return SWEPT._replace(tables=codebook_tables(dict(zip(("val", "near"), sets, strict=False))))


def claim(ids: np.ndarray) -> Claim:
    return all_claims()["C16"](study_data(ids))


@pytest.mark.parametrize("share", [1 / CODES, 0.25, 1.0])
def test_codes_that_are_used_equally_often_have_their_number_as_perplexity(share):
    ids = np.tile(np.arange(round(share * CODES)), (10, 1))
    samples = codebook.sample_use(ids, CODES, HOW)
    np.testing.assert_allclose(samples.perplexity, share)
    np.testing.assert_allclose(samples.used, share)


def test_perplexity_is_the_exponential_of_the_entropy_and_its_interval_surrounds_it():
    ids = np.random.default_rng(0).zipf(1.6, size=(80, 12)).clip(max=CODES) - 1
    samples = codebook.sample_use(ids, CODES, HOW)
    expected = np.exp(entropy(np.bincount(ids.ravel()))) / CODES
    assert samples.perplexity[0] == pytest.approx(expected)
    assert np.quantile(samples.perplexity, 0.025) < expected < np.quantile(samples.perplexity, 0.975)
    assert samples.used[0] == len(np.unique(ids)) / CODES


def test_codes_that_a_single_image_uses_widen_the_interval_of_the_codes_that_occur():
    shared = np.repeat(np.arange(10), 2)[:, None]
    assert np.ptp(codebook.sample_use(shared, CODES, HOW).used) == 0
    some_alone = np.where(np.arange(20) < 5, 10 + np.arange(20), 0)[:, None]
    assert np.ptp(codebook.sample_use(some_alone, CODES, HOW).used) > 0


def test_use_is_told_for_each_set_and_length():
    table = codebook.use_by_length(study_data(synthetic_ids(), synthetic_ids(used=0.2)))
    assert list(table.columns) == codebook.USE_COLUMNS
    assert len(table) == 2 * len(LENGTHS) * 2
    last = table[(table["length"] == LENGTHS[-1]) & (table["measure"] == "perplexity")].set_index("dataset")
    assert last.loc["val", "value"] > 0.8
    assert last.loc["near", "value"] < 0.2
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()


def test_usage_falls_with_rank_and_is_relative_to_uniform_use():
    curves = codebook.usage_curves(study_data(synthetic_ids(used=0.5)))
    for _, curve in curves.groupby("iteration"):
        assert curve["frequency"].mean() == pytest.approx(1)
        assert curve["frequency"].is_monotonic_decreasing
        assert (curve["frequency"] > 0).mean() <= 0.5
        assert curve["rank"].iloc[-1] == 1


def test_a_token_is_kept_where_its_id_stays_the_same():
    ids = synthetic_ids(kept=0.0)
    ids[:, 1, 0], ids[:, 0, 0] = 7, 7  # the same in every image: kept, and by chance
    ids[:, 2, 1] = ids[:, 1, 1]  # kept in every image, but not by chance
    ids[:, 2, 3] = (ids[:, 1, 3] + 1) % CODES  # never kept
    table = codebook.kept_map(study_data(ids)).set_index(["iteration", "position"])
    assert set(table.index) == {(2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (3, 4)}
    assert table.loc[(2, 1), ["kept", "chance"]].tolist() == [1, 1]
    assert table.loc[(3, 2), "kept"] == 1
    assert table.loc[(3, 2), "chance"] < 0.1
    assert table.loc[(3, 4), "kept"] == 0


def test_the_share_kept_is_the_mean_of_the_map():
    seen = study_data(synthetic_ids(kept=0.6))
    means = codebook.kept_map(seen).groupby("iteration")[["kept", "chance"]].mean()
    shares = codebook.kept_shares(seen).set_index("iteration")
    np.testing.assert_allclose(shares["value"], means["kept"])
    np.testing.assert_allclose(shares["chance"], means["chance"])
    assert ((shares["low"] < 0.62) & (shares["high"] > 0.6)).all()


def test_a_single_iteration_keeps_nothing_and_still_has_use():
    seen = study_data(synthetic_ids()[:, :1, : LENGTHS[0]])
    assert codebook.kept_map(seen).empty
    assert codebook.kept_shares(seen).empty
    assert codebook.prefix_survival(seen).empty
    assert len(codebook.use_by_length(seen)) == 2


def test_nearest_images_are_compared_with_all_pairs_in_ids_and_labels():
    seen = study_data(synthetic_ids(used=1 / CODES))
    assert (codebook.nearest_shares(seen)[["shared", "chance"]] == 1).all(axis=None)
    labels = codebook.label_agreement(seen).iloc[0]
    assert labels[["value", "low", "high"]].tolist() == [0, 0, 0]  # the image after: labels go 0, 1, 2, ...
    counts = np.full(10, 6)
    assert labels["chance"] == pytest.approx((counts * (counts - 1)).sum() / (60 * 59))


def test_retrieval_is_told_at_each_length():
    table = codebook.retrieval_by_length(study_data(synthetic_ids()))
    assert table["length"].tolist() == list(LENGTHS)
    assert table["value"].tolist() == [1, 1, 0]
    assert table["chance"].iloc[0] == pytest.approx(5 / 59)


def test_tables_that_were_kept_with_the_last_nearest_only_have_no_retrieval_by_length():
    seen = study_data(synthetic_ids())
    older = seen.tables["codebook_neighbors"]
    last = older[older["iteration"] == 3].drop(columns="iteration")
    kept = seen._replace(tables=seen.tables | {"codebook_neighbors": last})
    assert codebook.retrieval_by_length(kept).empty
    pd.testing.assert_frame_equal(codebook.label_agreement(kept), codebook.label_agreement(seen))


@pytest.mark.parametrize("labels", [None, "all different"])
def test_sets_in_which_no_labels_can_agree_have_no_agreement(labels):
    table = synthetic_table(60, ("val",), columns=())
    if labels:
        table["label"] = table.groupby("image_id").ngroup()
    bare = synthetic_study_data(table, features=False)
    seen = bare._replace(tables=codebook_tables({"val": synthetic_ids()}))
    assert codebook.label_agreement(seen).empty
    assert codebook.retrieval_by_length(seen).empty
    assert len(codebook.nearest_shares(seen)) == 60


def test_an_image_without_one_of_its_tokens_is_refused():
    tables = codebook_tables({"val": synthetic_ids()})
    tables["codebook_ids"] = tables["codebook_ids"].drop(index=5)
    with pytest.raises(DataError, match="ids of val once for each image"):
        codebook.use_by_length(SWEPT._replace(tables=tables))


@pytest.mark.parametrize("tables", [{}, continuous_tables()], ids=["no stage", "continuous"])
def test_without_ids_every_table_is_empty(tables):
    seen = SWEPT._replace(tables=tables)
    made = (codebook.use_by_length, codebook.usage_curves, codebook.kept_map, codebook.kept_shares)
    made += (codebook.prefix_survival, codebook.retrieval_by_length)
    for make in (*made, codebook.nearest_shares, codebook.label_agreement, codebook.shown_pairs):
        table = make(seen)
        assert isinstance(table, pd.DataFrame)
        assert table.empty
        assert "dataset" in table


@pytest.mark.parametrize("codes", [1, 4, 16])
def test_codes_at_a_place_are_those_in_equal_use_whatever_the_number_of_images(codes):
    generator = np.random.default_rng(1)
    for count in (40, 400):
        estimates = [codebook.sample_places(generator.integers(codes, size=(count, 50)), HOW)[0] for _ in range(5)]
        assert np.mean(estimates) == pytest.approx(codes, rel=0.05)


def test_places_with_codes_of_their_own_have_few_codes_each():
    ids = np.random.default_rng(0).integers(4, size=(300, 8)) + 4 * np.arange(8)
    assert codebook.sample_use(ids, CODES, HOW).perplexity[0] > 0.95
    places = codebook.sample_places(ids, HOW)
    assert places[0] == pytest.approx(4, rel=0.05)
    assert np.quantile(places, 0.025) < 4 < np.quantile(places, 0.975)


def test_the_interval_of_the_codes_at_a_place_is_as_wide_as_the_value_varies():
    """The deviation over fresh images is that over resamples: a mean over pairs moves by twice an image's influence."""
    generator = np.random.default_rng(2)
    weights = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])

    def fresh():
        level = generator.random((150, 1)) < 0.5  # images differ in how common their codes are
        common, any_of = generator.integers(2, size=(150, 6)), generator.choice(6, p=weights, size=(150, 6))
        return np.where(level, common, any_of)

    samples = [codebook.sample_places(fresh(), HOW._replace(resamples=100)) for _ in range(150)]
    spread = np.std([each[0] for each in samples])
    assert np.mean([np.std(each[1:]) for each in samples]) == pytest.approx(spread, rel=0.2)


def test_what_survives_of_a_code_is_counted_at_its_places():
    ids = synthetic_ids(kept=1.0)
    ids[:30, 2, 0] = (ids[:30, 1, 0] + 1) % CODES  # half of the images lose their first id in the last iteration
    table = codebook.prefix_survival(study_data(ids)).set_index(["iteration", "later"])
    assert list(table.index) == [(1, 2), (1, 3), (2, 3)]
    assert table["tokens"].tolist() == [2, 2, 4]
    assert table["value"].tolist() == pytest.approx([1, 0.75, 0.875])
    assert table["leading"].tolist() == pytest.approx([2, 1, 2])
    assert table.loc[(1, 2), ["low", "high"]].tolist() == [1, 1]
    assert (table["chance"] < 0.1).all()


def test_c16_is_supported_where_codes_are_used_broadly():
    judged = claim(synthetic_ids(used=1.0))
    assert (judged.verdict, judged.control_verdict) == ("supported", "supported")
    assert judged.value > 0.8
    found = {item.name: item for item in judged.measurements}
    assert found.keys() >= {"perplexity_2", "perplexity_6", "used_6", "codes_at_a_place"}
    assert 0.4 < found["first_ids_survive"].value < 0.6  # 0.7 twice
    assert found["nearest_same_label"].value < 0  # the image after has the label after
    assert not found["first_ids_survive"].decides


def test_c16_is_contradicted_where_few_codes_are_used():
    judged = claim(synthetic_ids(used=0.1))
    assert (judged.verdict, judged.control_verdict) == ("contradicted", "contradicted")


def test_c16_is_contradicted_under_control_where_each_place_has_codes_of_its_own():
    ids = np.full((300, 3, 6), -1)
    for step, length in enumerate(LENGTHS):
        own = 5 * np.arange(length)
        ids[:, step, :length] = np.random.default_rng(step).integers(5, size=(300, length)) + own
    judged = claim(ids[:60])
    assert (judged.verdict, judged.control_verdict) == ("supported", "contradicted")


def test_c16_is_open_where_images_differ_too_much():
    ids = np.zeros((8, 3, 6), np.int64)
    ids[:4] = np.arange(4 * 3 * 6).reshape(4, 3, 6) % CODES  # half of the images use all codes, half use one
    ids[:, 0, LENGTHS[0] :] = ids[:, 1, LENGTHS[1] :] = -1
    judged = claim(ids)
    assert judged.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, "run: dvc repro measure"),
        (continuous_tables(), "continuous"),
        (codebook_tables({"near": synthetic_ids()}), "lacks val"),
    ],
)
def test_c16_cannot_be_measured_without_ids(tables, words):
    judged = all_claims()["C16"](SWEPT._replace(tables=tables))
    assert (judged.verdict, judged.control_verdict) == ("not measurable", "not measurable")
    assert words in judged.reason
