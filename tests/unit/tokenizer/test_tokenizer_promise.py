"""The rule for predicted lengths: what it chooses, and that its calibration keeps the stated share of promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import beta, binom

from alit.errors import ConfigError
from alit.tokenizer.promise import calibrated_margin, can_keep, choose_lengths, smallest_margins

PREDICTED = np.array([[0.3, 0.2, 0.1], [0.3, 0.25, 0.2], [0.1, 0.05, 0.04]])


def images(count, seed, *, harder=1.0, noise=0.15):
    """Losses that fall with the length, and predictions that are off by a factor."""
    generator = np.random.default_rng(seed)
    level = 0.12 * harder * np.exp(generator.normal(0, 0.4, (count, 1)))
    losses = level * np.linspace(1, 0.4, 8) * np.exp(generator.normal(0, 0.02, (count, 8)))
    return level * np.linspace(1, 0.4, 8) / harder * np.exp(generator.normal(0, noise, (count, 1))), losses


def kept(predicted, losses, threshold, margin):
    """Whether each image that can keep a promise keeps it."""
    chosen = choose_lengths(predicted, threshold, margin)
    return (losses[np.arange(len(losses)), chosen.positions] < threshold)[can_keep(losses, threshold)]


def test_the_smallest_length_whose_prediction_leaves_the_margin_is_chosen():
    chosen = choose_lengths(PREDICTED, 0.22, 0.0)
    assert chosen.positions.tolist() == [1, 2, 0]
    assert chosen.satisfied.tolist() == [True, True, True]
    assert choose_lengths(PREDICTED, 0.22, 0.05).positions.tolist() == [2, 2, 0]


def test_an_image_whose_prediction_never_leaves_it_gets_the_longest_unsatisfied():
    chosen = choose_lengths(PREDICTED, 0.22, 0.05)
    assert chosen.satisfied.tolist() == [True, False, True]
    everything = choose_lengths(PREDICTED, 0.22, np.inf)
    assert everything.positions.tolist() == [2, 2, 2]
    assert not everything.satisfied.any()
    assert choose_lengths(PREDICTED, 0.22, -np.inf).positions.tolist() == [0, 0, 0]


@given(
    arrays(np.float32, (20, 4), elements=st.floats(0, 1, width=32)),
    arrays(np.float64, (20, 4), elements=st.floats(0, 1)),
    st.floats(0.05, 0.95),
)
@settings(max_examples=200, deadline=None)
def test_an_image_keeps_the_promise_with_its_smallest_margin_and_with_every_larger_one(predicted, losses, threshold):
    margins = smallest_margins(predicted, losses, threshold)
    able = can_keep(losses, threshold)
    for row, margin in zip(np.flatnonzero(able), margins, strict=True):
        for enough in (margin, margin + 0.1, np.inf):
            assert kept(predicted[[row]], losses[[row]], threshold, enough).all()


def test_a_loss_that_rises_again_counts_from_where_it_stays_low():
    losses, predicted = np.array([[0.1, 0.3, 0.1]]), np.array([[0.3, 0.2, 0.1]])
    assert smallest_margins(predicted, losses, 0.25).tolist() == pytest.approx([0.05])
    assert choose_lengths(predicted, 0.25, 0.05).positions.tolist() == [2]


def test_images_that_cannot_keep_it_do_not_count():
    predicted, losses = images(400, 0)
    margin = calibrated_margin(predicted, losses, 0.1, 0.9)
    hopeless = np.ones((300, 8))
    both = calibrated_margin(np.concatenate([predicted, 0.01 * hopeless]), np.concatenate([losses, hopeless]), 0.1, 0.9)
    assert both == margin


@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_the_stated_share_keeps_it_over_calibrations_and_images(confidence):
    """One new image for each of many calibrations: the guarantee itself, a binomial share."""
    outcomes = []
    for seed in range(2000):
        predicted, losses = images(81, seed)
        able = np.flatnonzero(can_keep(losses, 0.1))
        new, rest = able[-1:], np.delete(np.arange(81), able[-1])
        margin = calibrated_margin(predicted[rest], losses[rest], 0.1, confidence)
        outcomes += kept(predicted[new], losses[new], 0.1, margin).tolist()
    assert len(outcomes) == 2000
    fewest, most = binom.ppf([0.0005, 0.9995], len(outcomes), [confidence, confidence + 1 / 40])
    assert fewest <= sum(outcomes) <= most


def test_the_share_of_one_calibration_spreads_as_theory_says():
    shares, places = [], []
    new = images(4000, 10_000)
    for seed in range(200):
        predicted, losses = images(1000, seed)
        margin = calibrated_margin(predicted, losses, 0.1, 0.9)
        shares.append(kept(*new, 0.1, margin).mean())
        places.append(int(can_keep(losses, 0.1).sum()))
    count = int(np.mean(places))
    expected = beta(np.ceil(0.9 * (count + 1)), count + 1 - np.ceil(0.9 * (count + 1)))
    assert np.mean(shares) == pytest.approx(expected.mean(), abs=0.01)  # of `new` images 0.005
    assert np.std(shares) == pytest.approx(expected.std(), rel=0.25)
    assert np.quantile(np.abs(np.array(shares) - 0.9), 0.95) < 0.03


def test_a_shifted_set_loses_it():
    predicted, losses = images(4000, 0)
    margin = calibrated_margin(predicted, losses, 0.1, 0.9)
    assert kept(*images(4000, 1), 0.1, margin).mean() == pytest.approx(0.9, abs=0.02)
    assert kept(*images(4000, 1, harder=1.3), 0.1, margin).mean() < 0.6


def test_where_most_images_keep_it_at_the_first_length_no_more_is_spent():
    predicted, losses = images(500, 0)
    assert calibrated_margin(predicted, losses, 1.0, 0.9) == -np.inf


def test_no_fewer_images_will_do_than_the_confidence_takes():
    predicted, losses = PREDICTED.repeat(3, axis=0), np.full((9, 3), 0.1)
    assert np.isfinite(calibrated_margin(predicted, losses + np.array([0.4, 0.4, 0]), 0.22, 0.9))  # nine are enough
    with pytest.raises(ConfigError, match=r"takes 9 calibration images .* below a loss of 0.22, found 8 of 8"):
        calibrated_margin(predicted[1:], losses[1:], 0.22, 0.9)
    with pytest.raises(ConfigError, match="found 0 of 9"):
        calibrated_margin(predicted, losses, 0.05, 0.5)
    with pytest.raises(ConfigError, match="confidence between 0 and 1, found 1"):
        calibrated_margin(predicted, losses, 0.22, 1.0)
