"""Holm's step-down, on values worked out by hand and against statsmodels."""

import math

import numpy as np
import pytest

from alit.analysis.inference import holm


def test_each_p_is_multiplied_by_those_that_are_not_smaller_and_never_falls_below_an_earlier_one():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]).tolist() == [1.0, 1.0]


def test_what_is_not_known_stays_so_and_does_not_count():
    adjusted = holm([math.nan, 0.02, math.nan, 0.01])
    assert adjusted[[1, 3]].tolist() == [0.02, 0.02]
    assert np.isnan(adjusted[[0, 2]]).all()
    assert len(holm([])) == 0


def test_it_agrees_with_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = np.random.default_rng(0).uniform(0, 0.2, 12)
    assert holm(list(values)) == pytest.approx(multitest.multipletests(values, method="holm")[1])
