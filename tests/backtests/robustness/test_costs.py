import numpy as np
import pytest

from backtests.engine.simulate import simulate
from backtests.robustness.costs import break_even_cost, cost_sensitivity
from tests.backtests.engine.markets import FLAT, candles_of, random_candles, spec_of

RISE = [FLAT, (100, 110, 100, 110), (110, 110, 110, 110)]


def test_the_rows_multiply_all_costs_and_fall():
    rng = np.random.default_rng(8)
    candles, targets = random_candles(rng, 300), rng.choice([-1.0, 0, 1], 300)
    spec = spec_of(fee_bps=4, slippage_bps=2)
    rows = cost_sensitivity(candles, targets, spec)
    assert [row.factor for row in rows] == [0, 0.5, 1, 2, 5]
    returns = [row.total_return for row in rows]
    assert returns == sorted(returns, reverse=True)
    twice = simulate(candles, targets, spec_of(fee_bps=8, slippage_bps=4)).equity[-1]
    assert rows[3].total_return == pytest.approx(twice / 10_000 - 1)


def test_five_times_the_highest_cost_is_still_simulated():
    rows = cost_sensitivity(candles_of(*RISE), [1, 0, 0], spec_of(fee_bps=500))
    assert rows[-1].total_return == pytest.approx(1.1 * 0.75 / 1.25 - 1)


def test_the_break_even_cost_of_one_trade_is_known_by_hand():
    found = break_even_cost(candles_of(*RISE[:2], (101, 101, 101, 101)), [1, 0, 0], spec_of())
    assert found.word == "found"
    assert found.bps == pytest.approx((0.01 / 2.01) * 1e4, abs=0.01)


def test_a_run_that_loses_without_costs_has_none():
    fall = [FLAT, (100, 100, 90, 90), (90, 90, 90, 90)]
    assert break_even_cost(candles_of(*fall), [1, 0, 0], spec_of()).word == "none"


def test_a_run_that_earns_at_the_highest_cost_is_above():
    assert break_even_cost(candles_of(*RISE), [1, 0, 0], spec_of()).word == "above"
