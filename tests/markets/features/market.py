"""Small markets for the tests of features and windows."""

from __future__ import annotations

import dataclasses

import numpy as np

from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles


def quiet_market(bars: int, *, seed: int = 3) -> Candles:
    """Five-minute candles without a gap."""
    return synthetic_candles(days=bars // 288 + 1, seed=seed).slice(0, bars)


def without(candles: Candles, start: int, stop: int) -> Candles:
    """The same candles with bars start..stop−1 missing."""
    keep = np.ones(len(candles), dtype=bool)
    keep[start:stop] = False
    return dataclasses.replace(
        candles,
        time=candles.time[keep],
        open=candles.open[keep],
        high=candles.high[keep],
        low=candles.low[keep],
        close=candles.close[keep],
        volume=candles.volume[keep],
    )


def with_prices(candles: Candles, factor: np.ndarray | float) -> Candles:
    """The same candles with all prices multiplied."""
    return dataclasses.replace(
        candles,
        open=candles.open * factor,
        high=candles.high * factor,
        low=candles.low * factor,
        close=candles.close * factor,
    )


def flat_market(bars: int) -> Candles:
    """Five-minute candles at one price and without volume, from midnight on."""
    time = np.arange(bars, dtype=np.int64) * 300_000_000_000
    price = np.full(bars, 17.0)
    return Candles(5, time, price, price, price, price, np.zeros(bars))
