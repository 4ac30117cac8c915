import numpy as np
import pytest

from backtests.engine.simulate import simulate
from backtests.metrics import series
from tests.backtests.engine.markets import candles_of, spec_of

HOUR_NS = 3600 * 10**9
FREE = spec_of(fee_bps=0)


def held(closes, hours):
    """An account that holds from the second bar on; each bar opens at the close before it."""
    opens = [closes[0], *closes[:-1]]
    candles = candles_of(
        *[(o, max(o, c), min(o, c), c) for o, c in zip(opens, closes, strict=True)]
    )
    candles["time"] = np.array(hours, np.int64) * HOUR_NS
    return simulate(candles, np.ones(len(closes)), FREE)


def test_daily_values_take_the_last_bar_of_each_day():
    simulation = held([100, 100, 110, 120, 90], [0, 1, 23, 24, 25])
    assert series.daily_values(simulation).tolist() == pytest.approx([10_000, 11_000, 9_000])


def test_a_day_without_bars_repeats_the_value_before():
    simulation = held([100, 100, 110, 99], [0, 1, 2, 73])
    daily = series.daily_values(simulation)
    assert daily.tolist() == pytest.approx([10_000, 11_000, 11_000, 11_000, 9_900])


def test_daily_log_returns_add_up_to_the_log_growth():
    simulation = held([100, 100, 110, 120, 90], [0, 1, 23, 24, 25])
    assert series.daily_log_returns(simulation).sum() == pytest.approx(np.log(0.9))


def test_ruin_is_a_finite_loss():
    bars = [(100, 100, 100, 100)] * 2 + [(300, 300, 300, 300)] * 2
    simulation = simulate(candles_of(*bars), [-1] * 4, FREE)
    assert simulation.equity[-1] == 0
    assert np.isfinite(series.daily_log_returns(simulation)).all()


def test_months_compound_to_the_total_return():
    hours = [0, 24, 31 * 24, 32 * 24, (31 + 28) * 24]
    simulation = held([100, 100, 110, 99, 198], hours)
    months = series.monthly_returns(simulation)
    assert [(m.year, m.month) for m in months] == [(1970, 1), (1970, 2), (1970, 3)]
    assert [m.value for m in months] == pytest.approx([0, -0.01, 1])
    assert series.yearly_returns(months) == {1970: pytest.approx(0.98)}


def test_the_worst_drawdowns_name_peak_trough_and_recovery():
    simulation = held([100, 100, 80, 120, 60, 90], range(6))
    worst, second = series.worst_drawdowns(simulation)
    assert worst.depth == pytest.approx(-0.5)
    assert (worst.peak_at, worst.trough_at) == (4 * HOUR_NS, 5 * HOUR_NS)
    assert worst.recovered_at is None
    assert second.depth == pytest.approx(-0.2)
    assert second.recovered_at == 4 * HOUR_NS


def test_a_rising_account_has_no_drawdown():
    assert series.worst_drawdowns(held([100, 100, 110], range(3))) == []


def test_a_fall_below_half_a_basis_point_is_no_drawdown():
    fallen = series.worst_drawdowns(held([100, 100, 99.996, 101, 100.99, 102], range(6)))
    assert [stretch.depth for stretch in fallen] == [pytest.approx(-0.01 / 101)]
