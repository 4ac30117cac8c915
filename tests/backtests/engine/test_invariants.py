import datetime as dt

import numpy as np
import pytest

from backtests.engine import kernel
from backtests.engine import simulate as engine
from backtests.engine.band import simulate_band
from backtests.engine.ledger import LedgerBroken
from backtests.engine.rules import buy_and_hold, buy_and_hold_spec
from backtests.engine.simulate import InvalidSpan, InvalidTargets, simulate
from tests.backtests.engine.markets import BAR_NS, FLAT, candles_of, random_candles, spec_of

RISK = {"stop_pct": 0.03, "take_profit_pct": 0.05}


@pytest.fixture
def market():
    rng = np.random.default_rng(5)
    return random_candles(rng, 400), rng.choice([-1.0, -0.5, 0.0, 1.0, np.nan], 400)


def test_a_target_of_zero_keeps_equity_at_the_capital(market):
    candles, _ = market
    simulation = simulate(candles, np.zeros(400), spec_of(risk=RISK))
    assert (simulation.equity == 10_000).all()
    assert len(simulation.trades) == 0


def test_prices_and_capital_times_a_factor_give_the_same_returns(market):
    candles, targets = market
    scaled = {
        name: values * 7 if name not in ("time", "volume") else values
        for name, values in candles.items()
    }
    ours = simulate(candles, targets, spec_of(risk=RISK))
    larger = simulate(scaled, targets, spec_of(risk=RISK, capital=70_000))
    assert larger.equity / 70_000 == pytest.approx(ours.equity / 10_000, rel=1e-9)


def test_nothing_up_to_a_bar_knows_of_the_bars_behind_it(market):
    candles, targets = market
    changed = {name: values.copy() for name, values in candles.items()}
    for name in ("open", "high", "low", "close"):
        changed[name][250:] *= 3
    later = np.concatenate([targets[:250], -targets[250:]])
    ours = simulate(candles, targets, spec_of(risk=RISK))
    other = simulate(changed, later, spec_of(risk=RISK))
    assert (ours.equity[:250] == other.equity[:250]).all()
    assert (ours.position[:250] == other.position[:250]).all()


def test_doubling_the_fees_never_helps(market):
    candles, targets = market
    once = simulate(candles, targets, spec_of(fee_bps=5, slippage_bps=2)).equity[-1]
    twice = simulate(candles, targets, spec_of(fee_bps=10, slippage_bps=4)).equity[-1]
    assert twice < once


def test_an_order_fills_at_the_next_open_with_slippage_against_us():
    candles = candles_of(FLAT, (101, 102, 100, 101), (103, 104, 102, 103))
    simulation = simulate(candles, [1, 0, 0], spec_of(fee_bps=0, slippage_bps=100))
    assert simulation.trades.entry_price.tolist() == [pytest.approx(101 * 1.01)]
    assert simulation.trades.exit_price.tolist() == [pytest.approx(103 * 0.99)]
    assert simulation.slippage_cost == pytest.approx(
        simulation.trades.quantity[0] * (101 + 103) * 0.01
    )


def test_the_last_bar_makes_no_order():
    simulation = simulate(candles_of(FLAT, FLAT), [0, 1], spec_of())
    assert len(simulation.trades) == 0


def test_a_position_at_the_end_is_marked_and_stays_open():
    simulation = simulate(
        candles_of(FLAT, FLAT, (100, 111, 99, 110)), [1, 1, 1], spec_of(fee_bps=0)
    )
    assert simulation.trades.is_open.tolist() == [True]
    assert simulation.trades.exit_bar.tolist() == [-1]
    assert simulation.trades.pnl.tolist() == [pytest.approx(1000)]


def test_after_a_stop_the_same_side_needs_a_fresh_signal():
    fall = (100, 100.5, 90, 95)
    bars = [FLAT, fall, FLAT, FLAT, FLAT, FLAT, FLAT]
    stuck = simulate(candles_of(*bars), [1] * 7, spec_of(risk={"stop_pct": 0.02}))
    freed = simulate(candles_of(*bars), [1, 1, 1, 0, 1, 1, 1], spec_of(risk={"stop_pct": 0.02}))
    assert len(stuck.trades) == 1
    assert freed.trades.entry_bar.tolist() == [1, 5]


def test_a_reversal_closes_and_opens_at_one_open():
    simulation = simulate(candles_of(FLAT, FLAT, FLAT, FLAT), [1, -1, -1, -1], spec_of())
    assert simulation.trades.side.tolist() == [1, -1]
    assert simulation.trades.exit_bar[0] == simulation.trades.entry_bar[1] == 2


def test_a_changed_target_of_one_side_resizes_and_an_equal_one_does_not():
    spec = spec_of(fee_bps=0)
    simulation = simulate(candles_of(*[FLAT] * 6), [1, 1, 0.5, 0.5, 1, 1], spec)
    assert simulation.position.tolist() == pytest.approx([0, 100, 100, 50, 50, 100])
    assert len(simulation.trades) == 1


def test_a_resize_at_an_open_beyond_the_stop_is_dropped():
    bars = [FLAT, FLAT, (97, 98, 96, 97)]
    simulation = simulate(candles_of(*bars), [1, 0.5, 0.5], spec_of(risk={"stop_pct": 0.02}))
    assert simulation.trades.reason_names == ["stop"]
    assert simulation.trades.fees[0] == pytest.approx(simulation.fees)
    assert simulation.traded_notional == pytest.approx(simulation.trades.quantity[0] * (100 + 97))


def test_a_short_into_a_doubling_is_liquidated_and_the_shortfall_shown():
    simulation = simulate(
        candles_of(FLAT, FLAT, (300, 310, 290, 300), FLAT), [-1, -1, -1, -1], spec_of()
    )
    assert simulation.trades.reason_names == ["liquidation"]
    assert simulation.shortfall > 0
    assert simulation.equity[-1] == 0
    assert simulation.halted == "ruin"
    assert simulation.equity[-1] == pytest.approx(
        10_000 + simulation.trades.pnl.sum() + simulation.shortfall, abs=1e-6
    )


LEAP = (300.0, 310.0, 290.0, 300.0)
MOST = {"mode": "fixed_quantity", "quantity": 90}


def test_a_gap_over_the_liquidation_level_wins_over_a_pending_exit():
    candles = candles_of(FLAT, FLAT, LEAP, LEAP)
    simulation = simulate(candles, [-1, 0, 0, 0], spec_of(sizing=MOST))
    assert simulation.trades.reason_names == ["liquidation"]


def test_a_gap_over_the_liquidation_level_wins_over_a_nearer_stop():
    candles = candles_of(FLAT, FLAT, LEAP, LEAP)
    spec = spec_of(sizing=MOST, risk={"stop_pct": 0.02})
    simulation = simulate(candles, [-1, -1, -1, -1], spec)
    assert simulation.trades.reason_names == ["liquidation"]


def test_small_orders_are_rejected_and_counted():
    spec = spec_of(sizing={"min_notional": 20_000})
    simulation = simulate(candles_of(*[FLAT] * 4), [1, 1, 1, 1], spec)
    assert simulation.rejected_min_notional == 3
    assert len(simulation.trades) == 0


def test_quantity_is_rounded_down_to_the_lot():
    spec = spec_of(sizing={"mode": "fixed_quantity", "quantity": 33.3389, "lot_step": 0.01})
    simulation = simulate(candles_of(FLAT, FLAT), [1, 1], spec)
    assert simulation.trades.quantity.tolist() == [pytest.approx(33.33)]


def test_fills_after_missing_bars_and_without_volume_are_counted():
    candles = candles_of(*[FLAT] * 4)
    candles["time"][2:] += 5 * BAR_NS
    candles["volume"][2] = 0
    simulation = simulate(candles, [0, 1, 0, 0], spec_of())
    assert (simulation.gap_fills, simulation.zero_volume_fills) == (1, 1)


def test_worst_and_best_price_while_held_are_fractions_of_the_entry():
    candles = candles_of(FLAT, (100, 103, 98, 101), (101, 105, 99, 102), (90, 120, 80, 85))
    trades = simulate(candles, [1, 1, 0, 0], spec_of(fee_bps=0)).trades
    assert trades.adverse.tolist() == [pytest.approx(-0.10)]
    assert trades.favourable.tolist() == [pytest.approx(0.05)]


def test_a_span_starts_flat_and_acts_on_the_target_that_stands():
    candles = candles_of(*[FLAT] * 6)
    begin = dt.datetime(1970, 1, 1, 0, 15, tzinfo=dt.UTC)
    spec = spec_of(span={"from_at": begin})
    simulation = simulate(candles, [0, 1, np.nan, np.nan, np.nan, np.nan], spec)
    assert simulation.first_bar == 3
    assert simulation.position.tolist() == [0, *[pytest.approx(10_000 / 100.1)] * 2]


def test_a_span_without_candles_is_refused():
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with pytest.raises(InvalidSpan):
        simulate(candles_of(FLAT, FLAT), [0, 0], spec_of(span={"from_at": begin}))


@pytest.mark.parametrize("targets", [[0, 1.5], [0, -1.0001], [0], [0, np.inf]])
def test_targets_that_cannot_be_traded_are_refused(targets):
    with pytest.raises(InvalidTargets):
        simulate(candles_of(FLAT, FLAT), targets, spec_of())


def test_columns_of_unequal_length_are_refused():
    candles = candles_of(FLAT, FLAT)
    with pytest.raises(ValueError, match="volume 1"):
        simulate({**candles, "volume": candles["volume"][:1]}, [0, 0], spec_of())


def test_a_run_cut_into_chunks_gives_the_same_account(market, monkeypatch):
    candles, targets = market
    whole = simulate(candles, targets, spec_of(risk=RISK))
    monkeypatch.setattr(engine, "CHUNK_BARS", 7)
    cut = simulate(candles, targets, spec_of(risk=RISK))
    assert (whole.equity == cut.equity).all()


def test_a_full_trade_buffer_grows_and_loses_no_trade():
    candles = candles_of(*[FLAT] * 10_000)
    simulation = simulate(candles, np.tile([1.0, 0.0], 5000), spec_of(fee_bps=0))
    assert len(simulation.trades) == 5000
    assert simulation.trades.entry_bar.tolist() == list(range(1, 10_000, 2))


def test_books_that_do_not_balance_are_refused(market, monkeypatch):
    candles, targets = market
    mark = kernel.mark_open_trade

    def forgetful(state, rows, close):
        mark(state, rows, close)
        rows["pnl"][state["trades"] - 1] += 1

    monkeypatch.setattr(kernel, "mark_open_trade", forgetful)
    with pytest.raises(LedgerBroken, match="pnl of trades"):
        simulate(candles, np.ones(400), spec_of())


def test_the_band_lies_around_the_headline():
    bars = [FLAT, FLAT, (100, 105, 97, 101), FLAT]
    spec = spec_of(risk={"stop_pct": 0.02, "take_profit_pct": 0.04})
    band = simulate_band(candles_of(*bars), [1, 1, 1, 1], spec)
    assert band.headline.equity[-1] == pytest.approx(9780.419580, abs=1e-6)
    assert band.lowest is not None and band.highest is not None
    assert band.lowest[-1] == pytest.approx(9780.419580, abs=1e-6)
    assert band.highest[-1] == pytest.approx(10379.220779, abs=1e-6)
    assert band.ambiguous_share == 1.0


def test_without_an_ambiguous_bar_there_is_no_band(market):
    candles, targets = market
    band = simulate_band(candles, targets, spec_of())
    assert band.lowest is None
    assert band.highest is None
    assert band.ambiguous_share == 0.0


def test_buy_and_hold_buys_once_with_all_it_has_and_no_risk_rules():
    spec = spec_of(risk=RISK, sizing={"fraction": 0.2}, capital=500)
    plain = buy_and_hold_spec(spec)
    assert plain.risk.stop_pct is None
    assert plain.sizing.fraction == 1
    assert (plain.capital, plain.costs) == (500, spec.costs)
    simulation = simulate(candles_of(*[FLAT] * 3), buy_and_hold(3), plain)
    assert simulation.cash == pytest.approx(0, abs=1e-9)
