import numpy as np
import pytest

from markets.features.rolling import rolling_mean_deviation, rolling_scale, rolling_sum


def test_rolling_sum_by_hand():
    found = rolling_sum(np.array([1.0, 2.0, 4.0, 8.0, 16.0]), 2)
    np.testing.assert_array_equal(found, [np.nan, 3, 6, 12, 24])


@pytest.mark.parametrize("bars", [1, 2, 7, 48])
def test_rolling_sum_equals_windows_summed_afresh(bars):
    values = np.random.default_rng(0).normal(size=200)
    windows = np.lib.stride_tricks.sliding_window_view(values, bars).sum(axis=1)
    np.testing.assert_allclose(rolling_sum(values, bars)[bars - 1 :], windows, atol=1e-12)


def test_a_window_of_zeros_sums_to_exactly_zero_after_large_values():
    values = np.r_[np.full(50, 1e9 / 3), np.zeros(60)]
    assert np.all(rolling_sum(values, 48)[98:] == 0.0)


def test_nan_stays_in_the_windows_that_hold_it():
    values = np.ones(20)
    values[5] = np.nan
    (found,) = np.nonzero(np.isnan(rolling_sum(values, 4)))
    np.testing.assert_array_equal(found, [0, 1, 2, 5, 6, 7, 8])


def test_a_sum_does_not_depend_on_later_values():
    values = np.random.default_rng(1).normal(size=500)
    whole = rolling_sum(values, 48)
    for stop in (48, 95, 96, 97, 333):
        np.testing.assert_array_equal(rolling_sum(values[:stop], 48), whole[:stop])


def test_mean_and_deviation_by_hand():
    mean, deviation = rolling_mean_deviation(np.array([1.0, 3.0, 5.0]), 2)
    np.testing.assert_array_equal(mean, [np.nan, 2, 4])
    np.testing.assert_array_equal(deviation, [np.nan, 1, 1])


def test_scale_is_never_below_its_floor():
    returns = np.r_[np.nan, np.zeros(10)]
    np.testing.assert_array_equal(rolling_scale(returns, 4)[4:], np.full(7, 1e-6))
