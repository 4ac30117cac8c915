"""Seeded markets: one that looks like a market, and one with a signal of known strength.

The random numbers are made from PCG64's raw output, whose stream is fixed for good, and prices and
volumes are rounded to a tick, so that a seed gives the same candles on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import NS_PER_MINUTE, Candles

DEFAULT_END = datetime(2024, 7, 1, tzinfo=UTC)
START_PRICE = 30_000.0
YEARLY_VOLATILITY = 0.55
MINUTES_PER_YEAR = 365 * 1440
PRICE_DECIMALS = 2
VOLUME_DECIMALS = 5
Z_BARS = 48
FLOOR_BARS = 288


@dataclass(frozen=True, eq=False)
class PlantedMarket:
    """Candles whose next returns depend on `signal`, float64 [N], which is their `volume_z_48`.

    `signal` is NaN in the feature's warm-up; nothing is planted there. `next_return` is the log
    return from the close of t to the close of t + horizon, NaN where the candles end before that.
    """

    candles: Candles
    signal: NDArray[np.float64]
    next_return: NDArray[np.float64]

    def oracle_information_coefficient(self) -> float:
        """Pearson correlation of signal and next return: what a perfect reader of x can reach."""
        known = np.isfinite(self.signal) & np.isfinite(self.next_return)
        return float(np.corrcoef(self.signal[known], self.next_return[known])[0, 1])


def synthetic_candles(
    *,
    days: int = 180,
    timeframe_minutes: int = 5,
    seed: int = 7,
    end_at: datetime | None = None,
) -> Candles:
    """A market without gaps and without a predictable mean, whose last bar closes at `end_at`.

    Log volatility is a slow and a fast mean-reverting process plus a season of the UTC day; volume
    rises with volatility; the range of a bar is drawn from the Brownian bridge between its open and
    close. Raises ValueError when `end_at` is naive or off the grid of the timeframe.
    """
    bars = days * 1440 // timeframe_minutes
    time = _open_times(bars, timeframe_minutes, end_at or DEFAULT_END)
    draws = _Draws(seed)
    season = _season_of_day(time)
    slow = _mean_reverting(
        draws.normals(bars), days_to_halve=4.0, bars_per_day=1440 / timeframe_minutes
    )
    fast = _mean_reverting(
        draws.normals(bars), days_to_halve=0.1, bars_per_day=1440 / timeframe_minutes
    )
    log_scale = 0.45 * slow + 0.3 * fast + 0.35 * season
    per_bar = YEARLY_VOLATILITY * np.sqrt(timeframe_minutes / MINUTES_PER_YEAR)
    sigma = per_bar * np.exp(log_scale - 0.5 * log_scale.var())
    returns = sigma * draws.normals(bars)
    log_volume = 3.5 + np.log(timeframe_minutes / 5) + 1.4 * log_scale + 0.45 * draws.normals(bars)
    return _candles(timeframe_minutes, time, returns, sigma, np.exp(log_volume), draws)


def planted_candles(
    *, bars: int, information_coefficient: float, horizon_bars: int, seed: int
) -> Candles:
    """The candles of `planted_market`."""
    market = planted_market(
        bars=bars,
        information_coefficient=information_coefficient,
        horizon_bars=horizon_bars,
        seed=seed,
    )
    return market.candles


def planted_market(
    *,
    bars: int,
    information_coefficient: float,
    horizon_bars: int,
    seed: int,
    end_at: datetime | None = None,
) -> PlantedMarket:
    """Five-minute candles in which volume foretells returns with a known correlation.

    Log volume is an AR(1) process that knows nothing of the price; x = `volume_z_48` of it. Each bar
    returns sigma·(c·x of the bar before + normal noise), so the return over the next H bars is
    c·sigma·(x_t + … + x_{t+H−1}) + noise. With a = cov(x, X)/std(x) and X that sum of H values,
    corr(x_t, R_H) = c·a/√(c²·var X + H); c is solved from it for the wanted coefficient, which is
    therefore the correlation in a very long sample. The coefficient 0 gives the same volume and the
    same noise without the signal. Raises ValueError when the coefficient is out of reach.
    """
    draws = _Draws(seed)
    time = _open_times(bars, 5, end_at or DEFAULT_END)
    log_volume = 3.5 + 0.8 * _ar1(draws.normals(bars), 0.9)
    volume = np.exp(log_volume).round(VOLUME_DECIMALS)
    signal = _volume_z_48(volume)
    strength = _strength(signal, information_coefficient, horizon_bars)
    sigma = np.full(bars, YEARLY_VOLATILITY * np.sqrt(5 / MINUTES_PER_YEAR))
    drift = np.zeros(bars)
    drift[1:] = strength * np.nan_to_num(signal[:-1])
    returns = sigma * (drift + draws.normals(bars))
    candles = _candles(5, time, returns, sigma, volume, draws)
    next_return = np.full(bars, np.nan)
    log_close = np.log(candles.close)
    next_return[:-horizon_bars] = log_close[horizon_bars:] - log_close[:-horizon_bars]
    return PlantedMarket(candles, signal, next_return)


class _Draws:
    """Normal and uniform numbers from the raw 64-bit stream of one seed."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """Uniform numbers in (0, 1]."""
        raw = np.asarray(self._bits.random_raw(count), dtype=np.uint64)
        return ((raw >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53

    def normals(self, count: int) -> NDArray[np.float64]:
        """Standard normal numbers (Box and Muller 1958)."""
        radius = np.sqrt(-2.0 * np.log(self.uniforms(count)))
        return radius * np.cos(2.0 * np.pi * self.uniforms(count))


def _open_times(bars: int, timeframe_minutes: int, end_at: datetime) -> NDArray[np.int64]:
    if end_at.tzinfo is None:
        raise ValueError("end_at has no time zone; give an aware datetime")
    bar_ns = timeframe_minutes * NS_PER_MINUTE
    end = int(end_at.timestamp()) * 1_000_000_000
    if end % bar_ns:
        raise ValueError(
            f"end_at {end_at.isoformat()} is not a multiple of {timeframe_minutes} minutes"
        )
    return end - bar_ns * np.arange(bars, 0, -1, dtype=np.int64)


def _season_of_day(time: NDArray[np.int64]) -> NDArray[np.float64]:
    """Busy when Europe and America trade together, quiet before Asia opens; mean 0."""
    hour = (time // NS_PER_MINUTE % 1440) / 60.0
    return np.cos(2 * np.pi * (hour - 15.0) / 24) + 0.4 * np.cos(4 * np.pi * (hour - 14.0) / 24)


def _mean_reverting(
    noise: NDArray[np.float64], *, days_to_halve: float, bars_per_day: float
) -> NDArray[np.float64]:
    return _ar1(noise, float(0.5 ** (1.0 / (days_to_halve * bars_per_day))))


def _ar1(noise: NDArray[np.float64], coefficient: float) -> NDArray[np.float64]:
    """AR(1) with unit variance from its first value on. Order matters, hence the loop."""
    scale = (1.0 - coefficient**2) ** 0.5
    values = noise.tolist()
    for index in range(1, len(values)):
        values[index] = coefficient * values[index - 1] + scale * values[index]
    return np.array(values)


def _volume_z_48(volume: NDArray[np.float64]) -> NDArray[np.float64]:
    """z-score over 48 bars of ln(V + 0.001·mean_288 V); NaN for the first 334 bars."""
    signal = np.full(len(volume), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view
    if len(volume) < FLOOR_BARS + Z_BARS - 1:
        return signal
    floor = 0.001 * windows(volume, FLOOR_BARS).mean(axis=1)
    log_volume = np.log(volume[FLOOR_BARS - 1 :] + floor)
    last = windows(log_volume, Z_BARS)
    spread = np.maximum(last.std(axis=1), 1e-3)
    signal[FLOOR_BARS + Z_BARS - 2 :] = (last[:, -1] - last.mean(axis=1)) / spread
    return signal


def _strength(signal: NDArray[np.float64], coefficient: float, horizon_bars: int) -> float:
    if coefficient == 0.0:
        return 0.0
    known = signal[np.isfinite(signal)]
    if len(known) <= horizon_bars:
        raise ValueError(f"{len(signal)} bars are too few to plant a signal of {horizon_bars} bars")
    sums = np.lib.stride_tricks.sliding_window_view(known, horizon_bars).sum(axis=1)
    first = known[: len(sums)]
    loading = float(np.cov(first, sums, ddof=0)[0, 1] / first.std())
    rest = loading**2 - coefficient**2 * float(sums.var())
    if rest <= 0:
        raise ValueError(f"an information coefficient of {coefficient} is out of reach")
    return float(coefficient * np.sqrt(horizon_bars / rest))


def _candles(
    timeframe_minutes: int,
    time: NDArray[np.int64],
    returns: NDArray[np.float64],
    sigma: NDArray[np.float64],
    volume: NDArray[np.float64],
    draws: _Draws,
) -> Candles:
    """Prices from log returns; high and low as the extremes of a Brownian bridge in each bar."""
    close = START_PRICE * np.exp(np.cumsum(returns))
    before = np.concatenate(([START_PRICE], close[:-1]))
    up = 0.5 * (returns + np.sqrt(returns**2 - 2 * sigma**2 * np.log(draws.uniforms(len(returns)))))
    down = 0.5 * (
        returns - np.sqrt(returns**2 - 2 * sigma**2 * np.log(draws.uniforms(len(returns))))
    )
    rounded = [np.round(price, PRICE_DECIMALS) for price in (before, close)]
    high = np.maximum.reduce([np.round(before * np.exp(up), PRICE_DECIMALS), *rounded])
    low = np.minimum.reduce([np.round(before * np.exp(down), PRICE_DECIMALS), *rounded])
    volume = np.round(volume, VOLUME_DECIMALS)
    return Candles(timeframe_minutes, time, rounded[0], high, low, rounded[1], volume)
