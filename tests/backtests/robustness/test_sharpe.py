import math

import numpy as np
import pytest
from scipy.stats import norm

from backtests.robustness.sharpe import (
    SharpeShape,
    deflated_sharpe,
    expected_maximum,
    minimum_track_record,
    probabilistic_sharpe,
    shape_of,
    standard_error,
    variance_of_trials,
)

ANNUAL = math.sqrt(250)
SKEWED = SharpeShape(2.5 / ANNUAL, 1250, -3, 10)
MONTHLY = SharpeShape(0.458, 24, -2.448, 10.164)


@pytest.mark.parametrize(("trials", "value"), [(1, 0), (10, 1.5745983), (100, 2.5306029)])
def test_the_expected_best_of_many_tries(trials, value):
    assert expected_maximum(trials) == pytest.approx(value, abs=1e-7)


def test_the_deflated_sharpe_of_the_golden_row():
    deflated = deflated_sharpe(SKEWED, 100, 0.5 / 250)
    assert deflated.benchmark == pytest.approx(0.1131720, abs=1e-7)
    assert deflated.benchmark * ANNUAL == pytest.approx(1.7894065, abs=1e-7)
    assert deflated.value == pytest.approx(0.9003968, abs=1e-7)


def test_the_same_with_normal_moments():
    shape = SharpeShape(2.5 / ANNUAL, 1250)
    assert deflated_sharpe(shape, 100, 0.5 / 250).value == pytest.approx(0.9427706, abs=1e-7)


def test_the_probabilistic_sharpe_of_the_golden_row():
    assert probabilistic_sharpe(MONTHLY) == pytest.approx(0.9133611, abs=1e-7)
    assert probabilistic_sharpe(SharpeShape(0.458, 24)) == pytest.approx(0.9816749, abs=1e-7)


def test_the_minimum_track_record_of_the_golden_row():
    assert minimum_track_record(MONTHLY) == pytest.approx(34.5575, abs=1e-4)


def test_a_sharpe_not_above_its_benchmark_needs_no_length():
    assert minimum_track_record(SharpeShape(0.0, 500)) is None


def test_a_track_of_the_minimum_length_is_just_significant():
    needed = minimum_track_record(MONTHLY)
    assert needed is not None
    shape = SharpeShape(0.458, needed, -2.448, 10.164)
    assert probabilistic_sharpe(shape) == pytest.approx(0.95, abs=1e-9)


@pytest.mark.parametrize(("trials", "variance"), [(1, 0.1), (0, 0.1), (20, 0.0)])
def test_without_other_trials_it_is_the_plain_probability_and_says_so(trials, variance):
    deflated = deflated_sharpe(MONTHLY, trials, variance)
    assert deflated.is_plain
    assert deflated.value == probabilistic_sharpe(MONTHLY)


def test_impossible_moments_give_nothing():
    assert probabilistic_sharpe(SharpeShape(1.0, 100, 5.0, 3.0)) is None


def test_the_shape_of_a_series():
    returns = np.array([0.1, -0.1, 0.1])
    shape = shape_of(returns)
    assert shape is not None
    assert shape.ratio == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert (shape.periods, shape.skew) == (3, pytest.approx(-1 / math.sqrt(2)))
    assert shape_of(np.zeros(10)) is None


def test_the_standard_error_of_a_skill_free_year_is_about_one():
    assert standard_error(SharpeShape(0.0, 366)) == pytest.approx(1)


def test_the_variance_of_trials_has_one_degree_of_freedom_less():
    assert variance_of_trials([0.1, 0.3]) == pytest.approx(0.02)
    assert variance_of_trials([0.1]) == 0


def best_of(daily):
    """The deflated Sharpe ratio of the best column when all columns are its trials."""
    shapes = [shape_of(column) for column in daily.T]
    ratios = [shape.ratio for shape in shapes]
    best = int(np.argmax(ratios))
    return best, deflated_sharpe(shapes[best], len(ratios), variance_of_trials(ratios)).value


def test_the_best_of_a_hundred_runs_without_skill_is_seldom_taken_for_skill():
    rng = np.random.default_rng(11)
    found = [best_of(rng.normal(0, 0.01, (500, 100)))[1] for _ in range(100)]
    assert sum(value < 0.95 for value in found) >= 95


def market_of(daily, ratios):
    """The same days with exactly these daily Sharpe ratios, a column each."""
    standard = (daily - daily.mean(axis=0)) / daily.std(axis=0, ddof=1)
    return 0.01 * (standard + ratios)


def test_one_series_of_true_skill_among_twenty_without_is_found():
    """Daily Sharpe .2 on 500 days; the twenty spread as chance spreads them, 1/√500 around 0."""
    rng = np.random.default_rng(0)
    chance = norm.ppf((np.arange(20) + 0.5) / 20)
    ratios = np.append(chance / chance.std(ddof=1) / math.sqrt(500), 0.2)
    best, value = best_of(market_of(rng.normal(size=(500, 21)), ratios))
    assert (best, value > 0.95) == (20, True)


def test_it_is_found_in_most_draws_and_how_the_others_spread_decides():
    """Where the twenty spread widely they alone raise the bar too high: in about a quarter of draws."""
    found = []
    for seed in range(200):
        daily = np.random.default_rng(seed).normal(size=(500, 21))
        ratios = daily.mean(axis=0) / daily.std(axis=0, ddof=1)
        ratios[7] = 0.2
        best, value = best_of(market_of(daily, ratios))
        assert best == 7
        found.append(value > 0.95)
    assert 0.7 < np.mean(found) < 0.8
