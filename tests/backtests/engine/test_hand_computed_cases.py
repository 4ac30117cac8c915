import pytest

from backtests.engine.simulate import simulate
from tests.backtests.engine.markets import FLAT, candles_of, spec_of

STOP_AND_GOAL = {"stop_pct": 0.02, "take_profit_pct": 0.04}


def run(*bars, targets=(1, 1, 1), **parts):
    parts = {"risk": STOP_AND_GOAL, **parts}
    return simulate(candles_of(*bars), targets[: len(bars)], spec_of(**parts))


def test_case_1_a_round_trip_pays_the_fee_on_both_fills():
    simulation = run(FLAT, FLAT, (110, 110.5, 109.5, 110), targets=(1, 0, 0), risk={})
    assert simulation.equity[-1] == pytest.approx(10978.021978, abs=1e-6)


def test_case_2_a_bar_touching_both_levels_takes_the_stop_and_is_counted():
    simulation = run(FLAT, FLAT, (100, 105, 97, 101))
    assert simulation.equity[-1] == pytest.approx(9780.419580, abs=1e-6)
    assert simulation.ambiguous_bars == 1
    assert simulation.trades.ambiguous.tolist() == [True]


def test_the_other_way_round_the_target_is_taken():
    simulation = run(FLAT, FLAT, (100, 105, 97, 101), fills={"both_touched": "target_first"})
    assert simulation.equity[-1] == pytest.approx(10379.220779, abs=1e-6)


def test_case_3_a_gap_through_the_stop_fills_at_the_open():
    simulation = run(FLAT, FLAT, (95, 96, 94, 95))
    assert simulation.equity[-1] == pytest.approx(9481.018981, abs=1e-6)


@pytest.mark.parametrize(("gap", "equity"), [("limit", 10379.220779), ("open", 10578.821179)])
def test_case_4_a_gap_through_the_target_fills_as_the_spec_says(gap, equity):
    simulation = run(FLAT, FLAT, (106, 107, 105, 106), fills={"take_profit_gap": gap})
    assert simulation.equity[-1] == pytest.approx(equity, abs=1e-6)


def test_case_5_the_stop_lives_in_the_entry_bar():
    simulation = run(FLAT, (100, 100.5, 97, 99))
    assert simulation.equity[-1] == pytest.approx(9780.419580, abs=1e-6)
    assert simulation.trades.bars_held.tolist() == [0]


def test_case_6_a_short_of_fixed_quantity_pays_at_its_stop():
    sizing = {"mode": "fixed_quantity", "quantity": 10}
    simulation = run(FLAT, FLAT, (100, 103, 99.5, 102), targets=(-1, -1, -1), sizing=sizing)
    assert simulation.trades.pnl.tolist() == [pytest.approx(-22.02, abs=1e-6)]
    assert simulation.trades.reason_names == ["stop"]


def test_case_8_a_pending_exit_wins_over_levels_of_its_bar():
    simulation = run(FLAT, FLAT, (100, 105, 99, 104), targets=(1, 0, 0))
    assert simulation.equity[-1] == pytest.approx(9980.019980, abs=1e-6)
    assert simulation.ambiguous_bars == 0
    assert simulation.trades.reason_names == ["signal"]
