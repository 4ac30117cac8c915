"""The compiled loop against the plain one, on markets and specs made from seeds."""

import numpy as np
import pytest

from backtests.engine.simulate import simulate
from backtests.specs import BacktestSpec
from tests.backtests.engine.markets import random_candles
from tests.oracles.engine import replay


def random_targets(rng, bars):
    values = rng.choice([-1.0, 0.0, 1.0, 0.5, -0.25, np.nan], size=bars)
    targets = np.repeat(values, rng.integers(1, 12))[:bars]
    noisy = rng.random(bars) < 0.05
    return np.where(noisy, rng.uniform(-1, 1, bars), targets)


def random_spec(rng):
    sizing = {
        "mode": rng.choice(["fixed_fraction", "fixed_quantity"]).item(),
        "fraction": rng.uniform(0.1, 1.0) if rng.random() < 0.5 else 1.0,
        "quantity": rng.uniform(1, 150),
        "lot_step": rng.choice([0, 0, 0.01, 1]).item(),
        "min_notional": rng.choice([0, 0, 10, 500]).item(),
    }
    risk = {
        "stop_pct": rng.choice([None, rng.uniform(0.001, 0.1)]),
        "take_profit_pct": rng.choice([None, rng.uniform(0.001, 0.2)]),
    }
    costs = {
        "maker_bps": rng.uniform(0, 10),
        "taker_bps": rng.choice([0, rng.uniform(0, 20), 200]).item(),
        "slippage_bps": rng.choice([0, rng.uniform(0, 10), 100]).item(),
    }
    fills = {
        "take_profit_gap": rng.choice(["limit", "open"]).item(),
        "both_touched": rng.choice(["stop_first", "target_first"]).item(),
    }
    return BacktestSpec.parse({"sizing": sizing, "risk": risk, "costs": costs, "fills": fills})


def random_run(seed):
    rng = np.random.default_rng(seed)
    bars = int(rng.integers(1, 250))
    candles = random_candles(rng, bars, step=rng.choice([0.005, 0.02, 0.15]))
    return candles, random_targets(rng, bars), random_spec(rng)


def close_to(values, *, scale):
    return pytest.approx(np.asarray(values, float), rel=1e-9, abs=1e-9 * scale, nan_ok=True)


@pytest.mark.parametrize("batch", range(20))
def test_both_loops_give_the_same_account(batch):
    for seed in range(batch * 10, batch * 10 + 10):
        candles, targets, spec = random_run(seed)
        ours, plain = simulate(candles, targets, spec), replay(candles, targets, spec)
        scale = max(1.0, max(plain.equity))
        assert ours.equity == close_to(plain.equity, scale=scale), seed
        assert ours.position == close_to(plain.positions, scale=1), seed
        assert ours.standing == close_to(plain.standings, scale=1), seed
        assert ours.cash == pytest.approx(plain.cash, rel=1e-9, abs=1e-9 * scale), seed
        assert ours.fees == pytest.approx(plain.fees, rel=1e-9), seed
        assert ours.slippage_cost == pytest.approx(plain.slippage, rel=1e-9), seed
        assert ours.traded_notional == pytest.approx(plain.traded, rel=1e-9), seed
        assert ours.shortfall == pytest.approx(plain.shortfall, rel=1e-9), seed


@pytest.mark.parametrize("batch", range(20))
def test_both_loops_keep_the_same_trades_and_counters(batch):
    for seed in range(batch * 10, batch * 10 + 10):
        candles, targets, spec = random_run(seed)
        ours, plain = simulate(candles, targets, spec), replay(candles, targets, spec)
        assert ours.trades.reason_names == [trade["reason"] for trade in plain.trades], seed
        scale = max(1.0, max(plain.equity))
        for name in ("side", "entry_bar", "exit_bar", "entry_price", "exit_price", "quantity"):
            expected = [trade[name] for trade in plain.trades]
            assert getattr(ours.trades, name) == close_to(expected, scale=1), (seed, name)
        for name in ("fees", "slippage", "pnl"):
            expected = [trade[name] for trade in plain.trades]
            assert getattr(ours.trades, name) == close_to(expected, scale=scale), (seed, name)
        assert ours.trades.ambiguous.tolist() == [trade["ambiguous"] for trade in plain.trades]
        assert {
            "ambiguous": ours.ambiguous_bars,
            "rejected": ours.rejected_min_notional,
            "liquidations": ours.liquidations,
            "gap_fills": ours.gap_fills,
            "zero_volume_fills": ours.zero_volume_fills,
        } == plain.counts, seed


def test_the_random_runs_reach_every_reason_and_counter():
    reasons, counts, halts = set(), dict.fromkeys(replay(*random_run(0)).counts, 0), 0
    for seed in range(200):
        plain = replay(*random_run(seed))
        reasons |= {trade["reason"] for trade in plain.trades}
        counts = {name: value + plain.counts[name] for name, value in counts.items()}
        halts += plain.ruined
    assert reasons == {"open", "signal", "stop", "take_profit", "liquidation"}
    assert min(counts.values()) > 0
    assert halts > 0
