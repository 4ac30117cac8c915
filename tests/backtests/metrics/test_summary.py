import json

import numpy as np
import pytest

from backtests.engine.rules import buy_and_hold, buy_and_hold_spec
from backtests.engine.simulate import simulate
from backtests.metrics.summary import summarize
from tests.backtests.engine.markets import FLAT, candles_of, random_candles, spec_of


def summary_of(bars, targets_seed=1, **parts):
    rng = np.random.default_rng(targets_seed)
    candles = random_candles(rng, bars)
    spec = spec_of(**parts)
    benchmark = simulate(candles, buy_and_hold(bars), buy_and_hold_spec(spec))
    simulation = simulate(candles, np.repeat(rng.choice([-1.0, 0, 1], bars), 3)[:bars], spec)
    return simulation, benchmark, summarize(simulation, benchmark)


def test_every_number_of_a_long_run_is_finite_or_has_a_reason():
    _, _, summary = summary_of(20_000)
    assert set(summary.reasons) == {"funding"}
    json.dumps(summary.numbers, allow_nan=False)


def test_a_number_is_missing_exactly_where_a_reason_stands():
    for bars in (1, 2, 50, 2000):
        _, _, summary = summary_of(bars)
        missing = {key for key, value in summary.numbers.items() if value is None}
        assert missing == set(summary.reasons)


def test_measures_of_days_are_withheld_on_a_short_track():
    _, _, summary = summary_of(500)
    for key in ("sharpe", "sortino", "cvar_95", "beta", "cagr", "calmar"):
        assert summary.reasons[key] == "track_too_short"


def test_an_account_that_never_trades_says_so():
    simulation = simulate(candles_of(*[FLAT] * 20), np.zeros(20), spec_of())
    summary = summarize(simulation)
    assert summary.numbers["total_return"] == 0
    assert summary.numbers["max_drawdown"] == 0
    assert summary.reasons["win_rate"] == "no_trades"
    assert summary.reasons["sharpe_bar"] == "zero_variance"
    assert summary.reasons["excess_return"] == "no_benchmark"


def test_trade_measures_of_one_win_and_one_loss():
    bars = [(100, 100, 100, 100), (100, 110, 100, 110), (110, 110, 110, 110)]
    bars += [(110, 110, 88, 88), (88, 88, 88, 88)]
    simulation = simulate(candles_of(*bars), [1, 0, 1, 0, 0], spec_of(fee_bps=0))
    numbers = summarize(simulation).numbers
    assert simulation.trades.pnl.tolist() == pytest.approx([1000, -2200])
    assert numbers["trades"] == 2
    assert numbers["payoff"] == pytest.approx(1000 / 2200)
    assert numbers["profit_factor"] == pytest.approx(1000 / 2200)
    assert numbers["break_even_win_rate"] == pytest.approx(2200 / 3200)
    assert numbers["expectancy"] == pytest.approx(-600)
    assert numbers["expectancy_bps"] == pytest.approx((1000 - 2000) / 2)
    assert numbers["exposure"] == pytest.approx(2 / 5)
    assert numbers["position_changes"] == 4


@pytest.mark.parametrize(("bars", "rate"), [(60, None), (61, 0)])
def test_the_win_rate_needs_thirty_closed_trades(bars, rate):
    targets = np.tile([1.0, 0.0], bars)[:bars]
    summary = summarize(simulate(candles_of(*[FLAT] * bars), targets, spec_of()))
    assert summary.numbers["trades"] == (bars - 1) // 2
    assert summary.numbers["win_rate"] == rate


def test_an_open_trade_is_counted_apart():
    simulation = simulate(candles_of(*[FLAT] * 3), [1, 1, 1], spec_of())
    numbers = summarize(simulation).numbers
    assert (numbers["trades"], numbers["open_trades"]) == (0, 1)


def test_fees_are_a_share_of_wins_before_costs():
    bars = [(100, 100, 100, 100), (100, 110, 100, 110), (110, 110, 110, 110)]
    simulation = simulate(candles_of(*bars), [1, 0, 0], spec_of(fee_bps=10))
    numbers = summarize(simulation).numbers
    quantity = 10_000 / (100 * 1.001)
    assert numbers["fees"] == pytest.approx(quantity * 0.21)
    assert numbers["fees_share"] == pytest.approx(0.21 / 10)


def test_slippage_is_a_share_of_wins_before_it_too():
    bars = [(100, 100, 100, 100), (100, 110, 100, 110), (110, 110, 110, 110)]
    spec = spec_of(fee_bps=0, slippage_bps=100)
    numbers = summarize(simulate(candles_of(*bars), [1, 0, 0], spec)).numbers
    assert numbers["slippage_cost"] == pytest.approx(10_000 / 101 * 2.1)
    assert numbers["slippage_share"] == pytest.approx(2.1 / 10)


def test_the_benchmark_against_itself_has_beta_one_and_no_excess():
    _, benchmark, _ = summary_of(20_000)
    numbers = summarize(benchmark, benchmark).numbers
    assert numbers["beta"] == pytest.approx(1)
    assert numbers["alpha"] == pytest.approx(0, abs=1e-12)
    assert numbers["excess_return"] == 0


def test_a_benchmark_on_other_bars_is_refused():
    simulation, _, _ = summary_of(50)
    other, _, _ = summary_of(60)
    with pytest.raises(ValueError, match="same bars"):
        summarize(simulation, other)
