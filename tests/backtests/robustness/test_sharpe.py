import math

import numpy as np
import pytest

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


def test_one_run_of_true_skill_among_twenty_without_is_found_in_the_usual_draw():
    found = []
    for seed in range(50):
        daily = np.random.default_rng(seed).normal(0, 0.01, (500, 21))
        own = daily[:, 7]
        daily[:, 7] = (own - own.mean()) / own.std(ddof=1) * 0.01 + 0.2 * 0.01
        best, value = best_of(daily)
        assert best == 7
        found.append(value)
    # How widely the other twenty spread decides; in some draws they alone raise the bar too high.
    assert np.median(found) > 0.95
