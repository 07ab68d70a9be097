"""What the power table asks for, against samples of the size that it names."""

import math

import numpy as np
import pytest

from alit.analysis.bootstrap import resampled_means
from alit.analysis.claims import Statement
from alit.analysis.measurements import Measurement, measured
from alit.analysis.power import COLUMNS, power_table
from alit.analysis.trainings import mean_measurement

STATEMENT = Statement("C0", "Sentence.", "sec. 0", "so much", "above 0", control="the same for equal tokens")


def part(value: float, half: float, name: str = "a", **options) -> Measurement:
    return Measurement(name, f"statistic {name}", value, value - half, value + half, 100, bound=0.0, **options)


def table(*parts: Measurement):
    return power_table([STATEMENT.judge(parts)])


def test_only_open_measurements_are_planned_for():
    found = table(part(1, 0.5, "clear"), part(0.1, 0.5, "open"), part(0.1, 0.5, "beside", column="control"))
    assert list(found["measurement"]) == ["open", "beside"]
    assert list(found["column"]) == ["stated", "control"]
    assert list(found.columns) == COLUMNS
    assert power_table([]).empty


def test_as_many_images_as_it_names_show_the_effect_four_times_of_five():
    (row,) = table(part(0.1, 0.5)).itertuples()
    # An interval of half-width 0.5 over 100 images is that of images which deviate by 2.55.
    rng = np.random.default_rng(0)
    shown = 0
    for seed in range(100):
        values = rng.normal(0.1, 0.5 / 1.96 * 10, (int(row.images_for_effect), 1))
        samples = resampled_means(values, 200, seed)[:, 0]
        shown += measured("a", "mean", samples, 0.95, len(values), 0.0).low > 0
    assert 70 <= shown <= 90


def test_the_smallest_effect_of_interest_is_planned_for_whatever_was_measured():
    found = table(part(0.0, 0.5, margin=0.25))
    assert found["images_for_effect"].item() == math.inf
    expected = 100 * (0.5 / 1.96 * (1.96 + 0.8416) / 0.25) ** 2
    assert found["images_for_margin"].item() == pytest.approx(expected, abs=1)
    assert math.isnan(table(part(0.1, 0.5))["images_for_margin"].item())


def test_images_do_not_stand_in_for_trainings():
    alone = table(part(0.1, 0.5))
    assert math.isnan(alone["trainings_for_effect"].item())
    wide = table(part(0.4, 1.2, trainings=3, training_spread=0.4))
    assert wide["trainings_for_effect"].item() == 10  # an effect of one standard deviation


def test_images_are_counted_by_their_part_of_the_interval():
    alone = table(part(0.1, 0.3))["images_for_effect"].item()
    three = [part(0.1 + shift, 0.3) for shift in (-0.1, 0.0, 0.1)]
    several = table(mean_measurement(three))
    assert several["images_for_effect"].item() == alone  # trainings widen the interval by what is theirs alone
    assert several["trainings_for_effect"].item() == 10
    only = table(mean_measurement([part(0.1 + shift, 1e-9) for shift in (-0.1, 0.0, 0.1)]))
    assert only["images_for_effect"].item() <= 1


def test_equivalence_is_planned_by_the_distance_to_its_margin():
    found = table(part(0.1, 0.5, expects="equivalence", margin=0.3))
    assert found["effect"].item() == pytest.approx(0.2)
