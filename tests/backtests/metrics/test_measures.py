import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import skfolio.measures

from backtests.metrics import measures

VALUES = np.array([100.0, 110.0, 99.0, 108.9])
RETURNS = measures.returns_of(VALUES)


@pytest.fixture
def returns():
    return np.random.default_rng(11).standard_t(4, 400) * 0.02


@pytest.fixture
def benchmark(returns):
    return 0.4 * returns + np.random.default_rng(12).normal(0, 0.01, 400)


@pytest.mark.parametrize(
    ("name", "value"),
    [("volatility", 2.2060523), ("sharpe", 5.5151307), ("sortino", math.sqrt(365 / 3))],
)
def test_measures_of_the_reference_row(name, value):
    assert getattr(measures, name)(RETURNS) == pytest.approx(value, abs=1e-7)


def test_drawdown_and_growth_of_the_reference_row():
    assert measures.max_drawdown(VALUES) == pytest.approx(-0.10, abs=1e-12)
    assert measures.cagr(VALUES, 3 * 86_400) == pytest.approx(31992.2753, abs=1e-4)
    assert measures.total_return(VALUES) == pytest.approx(0.089)


def test_sharpe_agrees_with_skfolio(returns):
    daily = skfolio.measures.mean(returns) / skfolio.measures.standard_deviation(returns)
    assert measures.sharpe(returns) == pytest.approx(daily * math.sqrt(365), rel=1e-12)


def test_drawdown_agrees_with_pandas(returns):
    values = np.cumprod(1 + returns)
    frame = pd.Series(values)
    expected = (frame / frame.cummax() - 1).min()
    assert measures.max_drawdown(values) == pytest.approx(expected, rel=1e-12)


def test_sortino_agrees_with_skfolio_but_for_the_degree_of_freedom(returns):
    theirs = skfolio.measures.semi_deviation(returns, min_acceptable_return=0)
    expected = returns.mean() / theirs * math.sqrt(365) * math.sqrt(400 / 399)
    assert measures.sortino(returns) == pytest.approx(expected, rel=1e-12)


def test_shape_agrees_with_scipy(returns):
    assert measures.skew(returns) == pytest.approx(scipy.stats.skew(returns), rel=1e-12)
    assert measures.kurtosis(returns) == pytest.approx(
        scipy.stats.kurtosis(returns, fisher=False), rel=1e-12
    )


def test_beta_and_correlation_agree_with_pandas(returns, benchmark):
    ours, theirs = pd.Series(returns), pd.Series(benchmark)
    slope = ours.cov(theirs) / theirs.var()
    assert measures.beta(returns, benchmark) == pytest.approx(slope, rel=1e-12)
    assert measures.correlation(returns, benchmark) == pytest.approx(ours.corr(theirs), rel=1e-12)
    assert measures.alpha(returns, benchmark) == pytest.approx(
        365 * (ours.mean() - slope * theirs.mean()), rel=1e-12
    )


def test_tail_measures_agree_with_pandas(returns):
    frame = pd.Series(returns)
    edge = frame.quantile(0.05)
    assert measures.value_at_risk(returns) == pytest.approx(edge, rel=1e-12)
    assert measures.conditional_value_at_risk(returns) == pytest.approx(
        frame[frame <= edge].mean(), rel=1e-12
    )


def test_ulcer_is_the_root_of_the_mean_squared_drawdown():
    assert measures.ulcer(np.array([100.0, 90.0, 100.0, 80.0])) == pytest.approx(
        math.sqrt((0.1**2 + 0.2**2) / 4)
    )


@pytest.mark.parametrize(
    ("values", "days"),
    [
        ([1, 2, 3], 0),
        ([2, 1, 2, 1.9, 1.8, 1.7, 2.1], 4),
        ([2, 1, 2, 1.9, 1.8, 1.7, 1.6], 4),
        ([2, 1, 1, 2, 2, 1, 3], 3),
    ],
)
def test_the_longest_drawdown_runs_from_peak_to_recovery_or_end(values, days):
    instants = np.arange(len(values), dtype=np.int64) * 86_400 * 10**9
    found = measures.longest_drawdown_s(np.array(values, float), instants)
    assert found / 86_400 == days


@pytest.mark.parametrize("name", ["sharpe", "skew", "kurtosis"])
def test_returns_that_do_not_vary_have_no_ratio(name):
    assert math.isnan(getattr(measures, name)(np.full(50, 0.1)))


def test_without_a_losing_period_there_is_no_sortino():
    assert math.isnan(measures.sortino(np.array([0.1, 0.2])))


def test_beta_against_a_still_benchmark_is_undefined(returns):
    assert math.isnan(measures.beta(returns, np.zeros(400)))
    assert math.isnan(measures.correlation(returns, np.zeros(400)))


def test_nothing_left_is_a_growth_of_minus_one():
    assert measures.cagr(np.array([100.0, 0.0]), 86_400) == -1


def test_an_account_at_zero_has_no_further_returns():
    assert measures.returns_of(np.array([100.0, 0.0, 0.0])).tolist() == [-1, 0]
