"""Intervals by the stationary block bootstrap of daily returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.metrics.measures import DAYS_PER_YEAR

DRAWS = 1000
PERCENTILES = (2.5, 97.5)
FEWEST_DAYS = 30


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval and the mean block length (days) it was drawn with."""

    low: float
    high: float
    block_days: float


def block_length(series: NDArray[np.float64]) -> float:
    """Mean block length in days: the optimal one of the stationary bootstrap, from 1 to n/4.

    Politis and White (2004) as corrected by Patton (2009), by `arch`. A series that does not vary has
    nothing to keep together: 1.
    """
    longest = max(len(series) / 4, 1.0)
    if len(series) < 8 or not np.ptp(series) > 0:
        return 1.0
    from arch.bootstrap import optimal_block_length

    best = float(optimal_block_length(series)["stationary"].iloc[0])
    return min(max(best, 1.0), longest) if math.isfinite(best) else 1.0


def resampled(
    series: NDArray[np.float64], block_days: float, *, draws: int, seed: int
) -> NDArray[np.float64]:
    """`draws` resamples of the rows of `series` ([n] or [n, k]) in blocks, [draws, n(, k)].

    One draw of indices serves all columns. Equal seeds give equal draws.
    """
    from arch.bootstrap import StationaryBootstrap

    # The annotation says int, but the mean block length of this bootstrap may be any number ≥ 1.
    bootstrap = StationaryBootstrap(block_days, np.arange(len(series)), seed=seed)  # type: ignore[arg-type]
    indices = np.array([data[0][0] for data in bootstrap.bootstrap(draws)])
    return series[indices]


def mean_interval(series: NDArray[np.float64], *, draws: int = DRAWS, seed: int) -> Interval | None:
    """Interval of the mean of a daily series; None below 30 days.

    Given the differences of two accounts it is the paired interval: one draw of days serves both.
    """
    if len(series) < FEWEST_DAYS:
        return None
    length = block_length(series)
    means = resampled(series, length, draws=draws, seed=seed).mean(axis=1)
    low, high = np.percentile(means, PERCENTILES)
    return Interval(float(low), float(high), length)


def sharpe_interval(
    daily_returns: NDArray[np.float64], *, draws: int = DRAWS, seed: int
) -> Interval | None:
    """Interval of the annual Sharpe ratio of simple daily returns; None below 30 days.

    A draw that does not vary has Sharpe 0. None too when the series itself does not vary.
    """
    if len(daily_returns) < FEWEST_DAYS or not np.ptp(daily_returns) > 0:
        return None
    length = block_length(daily_returns)
    drawn = resampled(daily_returns, length, draws=draws, seed=seed)
    varies = np.ptp(drawn, axis=1) > 0
    deviation = np.where(varies, drawn.std(axis=1, ddof=1), 1.0)
    ratios = np.where(varies, drawn.mean(axis=1) / deviation, 0.0) * math.sqrt(DAYS_PER_YEAR)
    low, high = np.percentile(ratios, PERCENTILES)
    return Interval(float(low), float(high), length)
