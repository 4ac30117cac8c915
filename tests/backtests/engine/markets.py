"""Small markets for the engine tests."""

import numpy as np

from backtests.specs import BacktestSpec

FLAT = (100.0, 100.5, 99.5, 100.0)
BAR_NS = 300 * 10**9


def candles_of(*bars, volume=1.0):
    """Five-minute candles from (open, high, low, close) rows."""
    rows = np.array(bars, np.float64)
    return {
        "time": np.arange(len(rows), dtype=np.int64) * BAR_NS,
        "open": rows[:, 0],
        "high": rows[:, 1],
        "low": rows[:, 2],
        "close": rows[:, 3],
        "volume": np.full(len(rows), volume),
    }


def random_candles(rng, bars, *, step=0.02):
    """Candles with opens off the last close, missing bars and bars of volume 0."""
    close = 100 * np.exp(np.cumsum(rng.normal(0, step, bars)))
    before = np.concatenate([[100.0], close[:-1]])
    open_ = before * np.exp(rng.normal(0, step / 2, bars))
    high = np.maximum(open_, close) * (1 + rng.exponential(step / 2, bars))
    low = np.minimum(open_, close) / (1 + rng.exponential(step / 2, bars))
    skips = np.where(rng.random(bars) < 0.03, rng.integers(2, 50, bars), 1)
    return {
        "time": np.cumsum(skips).astype(np.int64) * BAR_NS,
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.where(rng.random(bars) < 0.05, 0.0, 1.0),
    }


def spec_of(*, fee_bps=10.0, slippage_bps=0.0, **parts):
    """A spec with one fee for maker and taker, as in the hand-computed cases."""
    costs = {"maker_bps": fee_bps, "taker_bps": fee_bps, "slippage_bps": slippage_bps}
    return BacktestSpec.parse({"costs": costs, **parts})
