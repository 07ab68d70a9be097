"""Rates: every measure at every length, in the table's form, on a bits axis, and what made the numbers; C1."""

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import Effects, synthetic_study_data, synthetic_table, write_project

from alit.analysis.bootstrap import interval, resampled_means
from alit.analysis.distances import FeatureDistances
from alit.analysis.grid import metric_info, to_grid
from alit.analysis.loading import load_sweeps
from alit.analysis.selection import BootstrapConfig
from alit.analysis.sweep_folder import find_sweep
from alit.studies import all_claims
from alit.studies.reconstruction import tables as rates
from alit.studies.reconstruction.claims import fitted_fall

HOW = BootstrapConfig(resamples=50, confidence=0.95, seed=0)


@pytest.fixture(scope="module")
def study_data():
    return synthetic_study_data(synthetic_table(40))


@pytest.fixture(scope="module")
def table(study_data):
    return rates.study_rates(study_data)


def test_rates_hold_every_measure_of_every_set_at_every_length(table):
    assert set(table["measure"]) == {"l1", "psnr", "ssim", "perceptual_net", "frechet_net", "kernel_net"}
    assert set(table.groupby(["measure", "dataset"]).size()) == {8}
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_distances_that_are_known_are_not_computed_again():
    data = synthetic_study_data(synthetic_table(40))
    known = FeatureDistances(data.features["net"])
    table = rates.study_rates(data._replace(distances={"net": known}))
    pd.testing.assert_frame_equal(table, rates.study_rates(data))
    assert set(known.to_table()["distance"]) == {"frechet", "kernel"}


def test_without_features_there_are_no_distances_between_distributions():
    table = rates.study_rates(synthetic_study_data(synthetic_table(40), features=False))
    assert set(table["measure"]) == {"l1", "psnr", "ssim", "perceptual_net"}


def test_there_is_no_distance_of_a_handful_of_images():
    few = pd.concat([synthetic_table(40, ("val",)), synthetic_table(5, ("few",))], ignore_index=True)
    table = rates.study_rates(synthetic_study_data(few))
    assert set(table.loc[table["measure"] == "kernel_net", "dataset"]) == {"val"}
    assert set(table.loc[table["measure"] == "l1", "dataset"]) == {"val", "few"}


def test_the_table_of_the_paper_has_a_row_per_measure_and_set_and_a_column_per_length(table):
    wide = rates.tabulate(table)
    assert wide.columns.tolist() == [4, 8, 12, 16, 20, 24, 28, 32]
    assert wide.index[:2].tolist() == [("L1 error ↓", "val (n = 40)"), ("L1 error ↓", "near (n = 40)")]
    assert len(wide) == 12
    first = table[(table["measure"] == "l1") & (table["dataset"] == "val") & (table["length"] == 4)].iloc[0]
    value, half = wide.loc[("L1 error ↓", "val (n = 40)"), 4].split(" ±\u00a0")
    assert float(value) == pytest.approx(first["value"], rel=0.01)
    assert float(half) == pytest.approx((first["high"] - first["low"]) / 2, rel=0.1)


def test_only_the_reference_inception_gives_fid_and_kid():
    assert [metric_info(name).label for name in ("frechet_fid", "kernel_fid")] == ["FID", "KID"]
    assert metric_info("kernel_net").label == "kernel distance on net"


def test_tokenizers_meet_on_a_bits_axis_in_the_measures_that_all_have():
    ours = to_grid(synthetic_table(30, ("val", "near")))
    codec = synthetic_table(30, ("val",), lengths=(10, 80)).drop(columns="perceptual_net")
    codec["bits"] *= 10
    other = to_grid(synthetic_table(10, ("near",)))
    table = rates.rates_by_bits({"alit": ours, "jpeg": to_grid(codec), "elsewhere": other}, "val", HOW)
    assert set(table["measure"]) == {"l1", "psnr", "ssim"}
    assert set(table["dataset"]) == {"val"}
    spent = table[table["measure"] == "l1"].groupby("tokenizer")["bits"].apply(list)
    assert spent.to_dict() == {"alit": [8.0 * k for k in range(4, 33, 4)], "jpeg": [800, 6400]}


def test_the_protocol_says_view_rounding_and_weights(study_data):
    network = {"kind": "features", "name": "net", "architecture": "a/b", "input_size": 9, "resize": "bilinear"}
    record = {
        "images": [{"dataset": "val", "images": 40, "image_size": 32, "view": "short side resized, center crop"}],
        "reconstructions": "round half to even",
        "tasks": [{"kind": "reconstruction"}, {**network, "weights_sha256": "0123456789abcdef"}],
        "extractors": [{**network, "weights_sha256": "0123456789abcdef"}],
    }
    found = rates.protocol(study_data._replace(record=record)).set_index("part")["setting"]
    assert found["images of val"] == "40 at 32 px; short side resized, center crop"
    assert found["reconstructions as files"] == "round half to even"
    assert found["features net"] == "a/b at 9 px, bilinear; weights 0123456789ab"
    assert rates.protocol(study_data).empty


def test_sweeps_are_the_profiles_own_and_those_of_its_baselines(tmp_path):
    paths = write_project(tmp_path / "checkout")
    (paths.baselines / "jpeg").mkdir(parents=True)
    synthetic_table(20, ("val",)).to_parquet(paths.baselines / "jpeg" / "table.parquet")
    sweeps = load_sweeps(find_sweep(paths.sweep))
    assert list(sweeps) == ["own", "jpeg"]
    assert sweeps["jpeg"].datasets == ("val",)


# C1


def claim(table, **options):
    return all_claims()["C1"](synthetic_study_data(table, **options))


def parts_of(judged):
    return {part.name: part for part in judged.measurements}


def test_a_fitted_fall_is_that_of_a_line_as_a_share_of_the_first_value():
    samples = np.array([[1.0, 0.8, 0.6], [2.0, 2.0, 2.0]])
    assert fitted_fall(samples) == pytest.approx([0.4, 0])


def test_c1_is_supported_where_loss_and_distances_fall():
    judged = claim(synthetic_table(200))
    assert judged.verdict == judged.control_verdict == "supported"
    stated = {part.name for part in judged.measurements if part.decides and part.column == "stated"}
    assert stated == {"l1_trend_val", "l1_trend_near", "frechet_trend_val"}
    control = {part.name for part in judged.measurements if part.decides and part.column == "control"}
    assert control == {"kernel_trend_val", "frechet_infinity_trend_val"}
    assert judged.headline.value == pytest.approx(
        np.mean([parts_of(judged)[f"l1_trend_{name}"].value for name in ("val", "near")])
    )


def test_one_step_that_brings_nothing_does_not_decide_c1_and_is_reported():
    table = synthetic_table(100)
    stuck = table["length"] == 16
    table.loc[stuck, "l1"] = table.loc[(table["length"] == 12).to_numpy(), "l1"].to_numpy() + 0.001
    judged = claim(table)
    step = parts_of(judged)["l1_val_12_16"]
    assert step.high < 0
    assert step.bound is None
    assert judged.verdict == "supported"


def test_steps_have_intervals_that_hold_at_once():
    data = synthetic_study_data(synthetic_table(150, ("val",)))
    means = resampled_means(data.grid.score("l1"), 200, data.seed)
    lows, highs = interval(-np.diff(means, axis=1) / means[:, :1], 0.95)
    found = parts_of(all_claims()["C1"](data))
    steps = [part for name, part in found.items() if name.startswith("l1_val_")]
    assert len(steps) == 7
    wider = np.array([part.high - part.low for part in steps]) / (highs - lows)
    assert 1.1 < wider.min() < wider.max() < 1.9  # for 7 independent steps 1.37 times


def test_c1_is_contradicted_where_loss_rises_and_negligible_where_it_stays():
    rising = claim(synthetic_table(200, ("val",), Effects(loss_rate=-0.5)))
    assert rising.verdict == rising.control_verdict == "contradicted"
    level = claim(synthetic_table(300, ("val",), Effects(loss_rate=0, complexity=0)), features=False)
    assert parts_of(level)["l1_trend_val"].outcome == "equivalent"


def test_c1_without_features_has_half_its_measurements_and_no_control():
    judged = claim(synthetic_table(100), features=False)
    assert judged.verdict == "partly supported"
    assert judged.control_verdict == "not measurable"
    assert "need features of net" in judged.reason
    assert judged.value > 0


def test_c1_extrapolates_only_where_images_outnumber_features():
    few = parts_of(claim(synthetic_table(13, ("val",))))
    assert "kernel_trend_val" in few
    assert "frechet_infinity_trend_val" not in few
    assert "frechet_infinity_trend_val" in parts_of(claim(synthetic_table(14, ("val",))))


def test_c1_is_not_measurable_for_a_tokenizer_of_one_length():
    judged = claim(synthetic_table(40, lengths=(32,)))
    assert judged.verdict == judged.control_verdict == "not measurable"
    assert "one length" in judged.reason
