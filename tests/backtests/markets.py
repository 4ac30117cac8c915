"""Hourly markets whose truth is known: noise, a signal that any rung reads, one that few can read."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import NS_PER_MINUTE, Candles
from markets.candles.synthetic import planted_candles, synthetic_candles

HOUR_MINUTES = 60
END_AT = datetime(2024, 7, 1, tzinfo=UTC)
RETURN_PER_BAR = 0.006


def noise(bars: int, seed: int) -> Candles:
    """The synthetic market: nothing foretells a return."""
    return synthetic_candles(
        days=bars // 24, timeframe_minutes=HOUR_MINUTES, seed=seed, end_at=END_AT
    )


def planted(bars: int, *, information_coefficient: float, horizon_bars: int, seed: int) -> Candles:
    """The product's planted market as hourly candles: `volume_z_48` of a bar foretells its next ones."""
    made = planted_candles(
        bars=bars,
        information_coefficient=information_coefficient,
        horizon_bars=horizon_bars,
        seed=seed,
    )
    return hourly(made)


def hidden(bars: int, *, strength: float, seed: int) -> Candles:
    """A bar two hours after a volume far from its mean, above or below, drifts up; after others down.

    The distance is of the bar before the last, and up and down alike: no feature of the last bar
    knows it, and no linear map of any number of bars sees it. Log volume is an AR(1) process of
    coefficient 0.2 that knows nothing of the price; `strength` is the standard deviation of the drift
    in units of the noise.
    """
    rng = np.random.default_rng(seed)
    level = _ar1(rng.standard_normal(bars), 0.2)
    distance = np.minimum(level**2, 4.0)
    drift = np.zeros(bars)
    drift[3:] = (distance[:-3] - distance.mean()) / distance.std()
    returns = RETURN_PER_BAR * (strength * drift + rng.standard_normal(bars))
    close = 30_000.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[30_000.0], close[:-1]])
    wick = 1 + RETURN_PER_BAR * np.abs(rng.standard_normal((2, bars))) / 2
    return Candles(
        HOUR_MINUTES,
        _hours(bars),
        opened,
        np.maximum(opened, close) * wick[0],
        np.minimum(opened, close) / wick[1],
        close,
        np.exp(3.5 + 0.8 * level),
    )


def hourly(candles: Candles) -> Candles:
    """The same bars, an hour each, with the volatility of an hour: log prices times √12."""
    first = candles.open[0]
    prices = {
        name: first * (getattr(candles, name) / first) ** 12**0.5
        for name in ("open", "high", "low", "close")
    }
    return Candles(HOUR_MINUTES, _hours(len(candles)), **prices, volume=candles.volume)


def _hours(bars: int) -> NDArray[np.int64]:
    hour = HOUR_MINUTES * NS_PER_MINUTE
    return int(END_AT.timestamp()) * 10**9 - hour * np.arange(bars, 0, -1, dtype=np.int64)


def _ar1(noise: NDArray[np.float64], coefficient: float) -> NDArray[np.float64]:
    values = noise.tolist()
    for place in range(1, len(values)):
        values[place] = (
            coefficient * values[place - 1] + (1 - coefficient**2) ** 0.5 * values[place]
        )
    return np.array(values)
