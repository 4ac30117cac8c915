"""HAR and last sign: against plain sums and least squares, and blind to what comes after."""

import numpy as np
import pytest

from modeling.baselines.har import HAR_BARS, fit_har, har_volatility, realised_logs
from modeling.baselines.last_sign import last_sign
from modeling.baselines.rungs import RungFailed


def returns_of(bars, seed=0):
    returns = np.random.default_rng(seed).normal(size=bars) / 100
    returns[0] = np.nan
    return returns


def test_regressors_are_the_plain_root_mean_squares_of_the_past():
    returns = returns_of(900)
    bars = np.array([288, 500, 899])
    for row, bar in zip(realised_logs(returns, bars), bars, strict=True):
        plain = [np.log(np.sqrt(np.mean(returns[bar - n + 1 : bar + 1] ** 2))) for n in HAR_BARS]
        assert row == pytest.approx([1.0, *plain])


def test_a_row_without_a_day_of_returns_is_nan_and_a_flat_market_is_floored():
    assert np.isnan(realised_logs(returns_of(600), np.array([287]))[0, 3])
    assert realised_logs(np.zeros(300), np.array([299]))[0, 1:] == pytest.approx(np.log(1e-5))


def test_coefficients_are_those_of_the_normal_equations():
    rng = np.random.default_rng(1)
    bars = np.arange(300, 3000)
    regressors = realised_logs(returns_of(3000), bars)
    target = regressors @ [-1.0, 0.5, 0.2, 0.3] + rng.normal(0, 0.1, len(bars))
    found = fit_har(regressors, target)
    assert found == pytest.approx(
        np.linalg.solve(regressors.T @ regressors, regressors.T @ target), rel=1e-6
    )
    assert har_volatility(found, regressors) == pytest.approx(np.exp(regressors @ found))


def test_rows_with_nan_are_left_out_of_the_fit_and_stay_nan():
    bars = np.arange(100, 1500)
    regressors = realised_logs(returns_of(1500), bars)
    target = np.random.default_rng(2).normal(-6, 0.3, len(bars))
    known = np.isfinite(regressors).all(axis=1)
    found = fit_har(regressors, target)
    assert np.array_equal(found, fit_har(regressors[known], target[known]))
    assert np.array_equal(np.isnan(har_volatility(found, regressors)), ~known)


def test_too_few_rows_fail_with_a_reason():
    regressors = realised_logs(returns_of(292), np.arange(280, 291))
    with pytest.raises(RungFailed, match="found 3 training rows with 288 bars of history"):
        fit_har(regressors, np.zeros(11))


def test_nothing_after_the_bar_is_used():
    returns = returns_of(800)
    altered = returns.copy()
    altered[600:] = 9.0
    bars = np.arange(300, 600)
    assert np.array_equal(realised_logs(returns, bars), realised_logs(altered, bars))
    assert np.array_equal(last_sign(returns, bars), last_sign(altered, bars))


def test_last_sign_is_the_side_of_the_last_bar():
    returns = np.array([np.nan, 0.01, 0.0, -0.02])
    assert last_sign(returns, np.array([3, 1, 2])).tolist() == [-1.0, 1.0, 0.0]
    assert np.isnan(last_sign(returns, np.array([0]))).all()
