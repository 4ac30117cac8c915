import numpy as np
import pytest

from markets.features.rolling import (
    bars_since_highest,
    ratio,
    rolling_covariance,
    rolling_mean_deviation,
    rolling_scale,
    rolling_sum,
)


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


@pytest.mark.parametrize("bars", [1, 2, 7, 48])
def test_moments_equal_windows_of_their_own(bars):
    values = np.random.default_rng(2).normal(1e4, 1e-3, size=200)
    windows = np.lib.stride_tricks.sliding_window_view(values, bars)
    mean, deviation = rolling_mean_deviation(values, bars)
    np.testing.assert_allclose(mean[bars - 1 :], windows.mean(axis=1), rtol=1e-15)
    np.testing.assert_allclose(deviation[bars - 1 :], windows.std(axis=1), rtol=1e-9)


def test_equal_values_have_no_deviation_after_any_move():
    values = np.r_[np.full(50, 1e9 / 3), np.full(60, 0.1)]
    assert np.all(rolling_mean_deviation(values, 20)[1][69:] == 0.0)


@pytest.mark.parametrize("bars", [3, 7, 48])
def test_covariance_and_correlation_equal_windows_of_their_own(bars):
    generator = np.random.default_rng(3)
    x = generator.normal(5, 1, size=200)
    y = 0.5 * x + generator.normal(size=200)
    covariance, correlation = rolling_covariance(x, y, bars)
    for t in range(bars - 1, 200):
        pair = x[t - bars + 1 : t + 1], y[t - bars + 1 : t + 1]
        assert covariance[t] == pytest.approx(np.cov(*pair, ddof=0)[0, 1], abs=1e-12)
        assert correlation[t] == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-9)
    assert np.isnan(correlation[: bars - 1]).all()


def test_correlation_with_what_hardly_varies_is_zero():
    x = np.random.default_rng(4).normal(size=100)
    assert np.all(rolling_covariance(x, np.full(100, 3.0), 10)[1][9:] == 0.0)
    assert np.all(rolling_covariance(1e6 + x, x, 10)[1][9:] == 0.0)
    assert np.all(rolling_covariance(x, x, 10)[1][9:] == pytest.approx(1.0))


def test_moments_do_not_depend_on_later_values_and_keep_nan_in_its_windows():
    values = np.random.default_rng(5).normal(size=500)
    values[0] = np.nan
    other = np.r_[np.nan, values[:-1]]
    whole = [*rolling_mean_deviation(values, 48), *rolling_covariance(values, other, 48)]
    for stop in (48, 95, 96, 97, 333):
        part = [
            *rolling_mean_deviation(values[:stop], 48),
            *rolling_covariance(values[:stop], other[:stop], 48),
        ]
        for found, expected in zip(part, whole, strict=True):
            np.testing.assert_array_equal(found, expected[:stop])
    assert [int(np.isnan(column).sum()) for column in whole] == [48, 48, 49, 49]


def test_bars_since_the_highest_by_hand():
    values = np.array([3.0, 1.0, 2.0, 2.0, 1.0, 1.0, 0.0, 0.5])
    np.testing.assert_array_equal(bars_since_highest(values, 3), [np.nan, np.nan, 2, 0, 1, 2, 1, 2])


def test_a_quotient_with_nothing_below_is_zero():
    np.testing.assert_array_equal(
        ratio(np.array([1.0, 0.0, np.nan, 3.0]), np.array([0.0, 0.0, 1.0, 2.0])),
        [0.0, 0.0, np.nan, 1.5],
    )
