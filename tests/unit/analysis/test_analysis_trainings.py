"""Several trainings of one tokenizer: intervals over images and trainings, and claims about all of them."""

import shutil

import numpy as np
import pytest
from checkout import ROOT
from scipy import stats
from synthetic_tables import synthetic_study_data, synthetic_table

from alit.analysis.bootstrap import resampled_means
from alit.analysis.choices import with_choices
from alit.analysis.claims import Statement
from alit.analysis.inference import over_trainings
from alit.analysis.loading import load_study_data, load_sweeps
from alit.analysis.measurements import Measurement, measured
from alit.analysis.sweep_folder import find_sweep
from alit.analysis.trainings import mean_claim, mean_measurement
from alit.errors import DataError
from alit.paths import RunPaths
from alit.studies import assess, open_study
from experiments import claims as claims_stage

STATEMENT = Statement("C1", "Above.", "sec. 1", "above", "above 0", no_control="none")


def part(value, half=0.1, name="step", **fields):
    return Measurement(name, "a step", value, value - half, value + half, 100, **{"bound": 0.0, **fields})


def claim(*parts, **fields):
    return STATEMENT.judge(parts, **fields)


def test_trainings_that_agree_have_the_interval_of_the_images():
    found = mean_measurement([part(0.5), part(0.5), part(0.5)])
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.4, 0.6))
    assert (found.trainings, found.training_spread, found.training_share) == (3, 0.0, 0.0)


def test_trainings_that_differ_widen_it_by_student():
    found = mean_measurement([part(0.4), part(0.5), part(0.6)])
    assert found.training_spread == pytest.approx(0.1)
    half = np.hypot(0.1, 4.303 * 0.1 / np.sqrt(3))
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert (found.training_error, found.degrees) == (pytest.approx(0.1 / np.sqrt(3)), 2)
    assert found.training_share == pytest.approx(1 - (0.1 / half) ** 2, abs=1e-4)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])  # of trainings, to 1 of the images
def test_ten_measurements_of_nothing_are_contradicted_or_in_part_supported_as_rarely_as_they_may(seeds, spread):
    tables, contradicted, supported = 400, 0, 0
    for number in range(tables):
        generator = np.random.default_rng([11, seeds, number])
        values = generator.normal(size=(10, 1)) + spread * generator.normal(size=(10, seeds))
        means = [
            mean_measurement([part(value, half=1.96, name=f"step_{row}") for value in each])
            for row, each in enumerate(values.tolist())
        ]
        judged = STATEMENT.judge(means)
        contradicted += any(each.outcome == "contradicted" for each in judged.measurements)
        supported += judged.verdict in ("supported", "partly supported", "mixed")
    assert max(contradicted, supported) <= stats.binom.ppf(0.99, tables, 0.025)


def test_a_statistic_that_is_undefined_in_one_training_has_no_interval():
    assert not mean_measurement([part(0.5), part(0.5, half=float("nan"))]).has_interval


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_intervals_over_images_and_trainings_cover_the_truth(seeds, spread):
    covered = 0
    for trial in range(400):
        generator = np.random.default_rng([7, trial])
        image = 0.3 * generator.normal(size=(80, 1)) + 0.05 * generator.normal(size=(80, seeds))
        samples = resampled_means(image + spread * generator.normal(size=seeds), 400, trial)
        parts = [measured("step", "a step", samples[:, each], 0.95, 80, bound=0.0) for each in range(seeds)]
        found = mean_measurement(parts)
        covered += found.low < 0 < found.high
    assert (
        0.92 <= covered / 400 <= (1.0 if seeds == 2 else 0.99)
    )  # where images outweigh trainings, two are too careful


def test_it_agrees_with_the_bootstrap_that_has_the_samples():
    generator = np.random.default_rng(0)
    image = 0.3 * generator.normal(size=(200, 1)) + 0.05 * generator.normal(size=(200, 3))
    samples = resampled_means(image + 0.05 * generator.normal(size=3), 4000, 0)
    parts = [measured("step", "a step", samples[:, each], 0.95, 200, bound=0.0) for each in range(3)]
    low, high = np.percentile(over_trainings(samples, 0)[1:], [2.5, 97.5])
    found = mean_measurement(parts)
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)


def test_a_claim_is_about_all_trainings_and_judged_again():
    alone = claim(part(0.5))
    assert alone.verdict == "supported"
    assert mean_claim([alone]) is alone
    agreed = mean_claim([claim(part(value)) for value in (0.5, 0.52, 0.48)])
    assert (agreed.verdict, agreed.measurements[0].trainings, agreed.headline.trainings) == ("supported", 3, 3)
    apart = mean_claim([claim(part(value)) for value in (0.5, 0.1, -0.3)])
    assert apart.verdict == "inconclusive"
    assert apart.headline.value == pytest.approx(0.1)


def test_what_not_all_trainings_have_stays_about_one():
    own = claim(part(0.5), part(0.2, name="own"), part(0.3, name="moved", bound=0.1))
    found = mean_claim([own, claim(part(0.4), part(0.3, name="moved", bound=0.2))])
    assert [each.trainings for each in found.measurements] == [2, 1, 1]
    assert found.missing == own.missing


def test_claims_of_sweeps_are_about_all_trainings_and_those_of_measurements_about_one():
    own = synthetic_study_data(synthetic_table(40, ("val",)))
    other = synthetic_study_data(synthetic_table(40, ("val",), seed=1))
    data = own._replace(trainings={"seed_1": other})
    found, cost = assess(data, ["C1", "C17"])
    assert {each.trainings for each in found.measurements if each.decides} == {2}
    alone, again = (assess(each, ["C1"])[0].measurements[0].value for each in (own, other))
    assert found.measurements[0].value == pytest.approx((alone + again) / 2)
    assert {each.trainings for each in cost.measurements} <= {1}


@pytest.fixture
def paths(tmp_path):
    """A run with the sweeps of two trainings, and of a baseline that is none."""
    paths = RunPaths(tmp_path, "toy")
    paths.config.parent.mkdir()
    shutil.copyfile(ROOT / "configs" / "smoke.yaml", paths.config)
    sweeps = {paths.sweep: 0, paths.baselines / "seed_1": 1, paths.baselines / "other": 2}
    for folder, seed in sweeps.items():
        folder.mkdir(parents=True)
        synthetic_table(20, ("val", "near"), seed=seed).to_parquet(folder / "table.parquet")
    return paths


def test_other_trainings_are_read_with_the_sweep_and_follow_what_is_chosen(paths):
    data = load_study_data(find_sweep(paths.sweep))
    assert list(data.trainings) == ["seed_1"]
    other = data.trainings["seed_1"]
    assert other.base_tokens == data.base_tokens
    assert not other.trainings
    assert not np.allclose(other.grid.score("l1"), data.grid.score("l1"))
    chosen = with_choices(data, dataset="near", resamples=50)
    assert (chosen.trainings["seed_1"].dataset, chosen.trainings["seed_1"].bootstrap.resamples) == ("near", 50)
    assert not load_study_data(find_sweep(paths.baselines / "other")).trainings


def test_a_training_of_other_images_is_refused(paths):
    synthetic_table(21, ("val", "near")).to_parquet(paths.baselines / "seed_1" / "table.parquet")
    with pytest.raises(DataError, match="expected images, lengths and base_tokens of"):
        load_study_data(find_sweep(paths.sweep))


def test_a_training_on_another_base_is_refused(paths):
    (paths.baselines / "seed_1" / "config.json").write_text('{"tokenizer": {"base_tokens": 7}}')
    with pytest.raises(DataError, match="expected images, lengths and base_tokens of"):
        load_study_data(find_sweep(paths.sweep))


def test_studies_of_one_training_neither_read_nor_wait_for_the_others(paths, tmp_path, monkeypatch):
    (paths.baselines / "seed_1" / "table.parquet").write_bytes(b"of an earlier run")
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    claims_stage.main([paths.profile, "cost"])
    assert paths.study_claims("cost").is_file()
    assert not open_study("cost", paths.sweep).data.trainings
    with pytest.raises(DataError, match="seed_1"):
        claims_stage.main([paths.profile, "reconstruction"])


def test_other_trainings_are_no_baselines(paths):
    assert list(load_sweeps(find_sweep(paths.sweep))) == ["own", "other"]
