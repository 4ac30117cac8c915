"""The series that several features share, each computed once for a set of candles."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import talib
from numba import njit
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.directional import directional_movement
from markets.features.rolling import (
    SAME,
    SCALE_FLOOR,
    Series,
    lagged,
    ratio,
    rolling_covariance,
    rolling_highest,
    rolling_lowest,
    rolling_mean_deviation,
    rolling_scale,
    rolling_sum,
    step_direction,
)
from markets.features.splice import splice_prices

MINUTE_NS = 60_000_000_000
MINUTES_PER_DAY = 1440
DAY_NS = MINUTES_PER_DAY * MINUTE_NS


class Bars:
    """Spliced prices, raw volume and derived series of one timescale; every series has N values."""

    def __init__(self, candles: Candles) -> None:
        self.candles = splice_prices(candles)
        self._made: dict[tuple[str, int], Series] = {}

    @property
    def open(self) -> Series:
        """First price of each bar, spliced."""
        return self.candles.open

    @property
    def high(self) -> Series:
        """Highest price of each bar, spliced."""
        return self.candles.high

    @property
    def low(self) -> Series:
        """Lowest price of each bar, spliced."""
        return self.candles.low

    @property
    def close(self) -> Series:
        """Last price of each bar, spliced."""
        return self.candles.close

    @property
    def volume(self) -> Series:
        """Traded volume of each bar in base units, as it came."""
        return self.candles.volume

    def total(self, series: str, bars: int) -> Series:
        """Sum of one of these series over the last `bars` bars."""
        if (series, bars) not in self._made:
            self._made[series, bars] = rolling_sum(getattr(self, series), bars)
        return self._made[series, bars]

    def highest(self, bars: int) -> Series:
        """Highest price of the last `bars` bars."""
        if ("highest", bars) not in self._made:
            self._made["highest", bars] = rolling_highest(self.high, bars)
        return self._made["highest", bars]

    def lowest(self, bars: int) -> Series:
        """Lowest price of the last `bars` bars."""
        if ("lowest", bars) not in self._made:
            self._made["lowest", bars] = rolling_lowest(self.low, bars)
        return self._made["lowest", bars]

    def scale(self, bars: int) -> Series:
        """s_n of the returns, see `rolling_scale`."""
        if ("scale", bars) not in self._made:
            self._made["scale", bars] = rolling_scale(self.returns, bars)
        return self._made["scale", bars]

    @cached_property
    def returns(self) -> Series:
        """r = ln(C/C₋₁); NaN at the first bar, exactly 0 where the close did not move.

        A close equal to the open after a gap is no move, whatever rounding the splice left.
        """
        returns = np.full(len(self.candles), np.nan)
        np.log(self.close[1:] / self.close[:-1], out=returns[1:])
        returns[np.abs(returns) <= SAME] = 0.0
        return returns

    @cached_property
    def direction(self) -> Series:
        """Sign of each return: −1, 0 or 1; NaN at the first bar."""
        return np.sign(self.returns)

    @cached_property
    def absolute_return(self) -> Series:
        """abs(r); NaN at the first bar."""
        return np.abs(self.returns)

    @cached_property
    def square_return(self) -> Series:
        """r²; NaN at the first bar."""
        return self.returns * self.returns

    @cached_property
    def log_close(self) -> Series:
        """ln C."""
        return np.log(self.close)

    @cached_property
    def log_body(self) -> Series:
        """ln(C/O)."""
        return np.log(self.close / self.open)

    @cached_property
    def square_log_range(self) -> Series:
        """ln²(H/L)."""
        log_range = np.log(self.high / self.low)
        return log_range * log_range

    @cached_property
    def trendless_square(self) -> Series:
        """ln(H/C)·ln(H/O) + ln(L/C)·ln(L/O), the variance of a bar without its trend."""
        high, low = np.log(self.high / self.close), np.log(self.low / self.close)
        return high * (high + self.log_body) + low * (low + self.log_body)

    @cached_property
    def range(self) -> Series:
        """H − L."""
        return self.high - self.low

    @cached_property
    def pressure(self) -> Series:
        """2C − H − L: the range, signed by where the bar closed in it."""
        return 2 * self.close - self.high - self.low

    @cached_property
    def close_location(self) -> Series:
        """Place of the close in the range of its bar, −1 to 1; 0 without a range."""
        return ratio(self.pressure, self.range)

    @cached_property
    def typical(self) -> Series:
        """TP = (H + L + C)/3."""
        typical = self.high + self.low
        typical += self.close
        typical /= 3
        return typical

    @cached_property
    def typical_direction(self) -> Series:
        """Sign of each step of the typical price; NaN at the first bar."""
        return step_direction(self.typical)

    @cached_property
    def typical_money(self) -> Series:
        """TP·V: money that changed hands, at the typical price."""
        return self.typical * self.volume

    @cached_property
    def money(self) -> Series:
        """C·V: money that changed hands, at the close."""
        return self.close * self.volume

    @cached_property
    def bulk_imbalance(self) -> Series:
        """V·(2Φ(r/s_48) − 1): bought minus sold volume as bulk classification sees it.

        Easley, López de Prado and O'Hara (2012), "Bulk classification of trading activity".
        """
        return self.volume * _error_function(self.returns / (math.sqrt(2) * self.scale(48)))

    @cached_property
    def average_true_range(self) -> Series:
        """TA-Lib's ATR over 14 bars, at least 1e-6 of the close; NaN for the first 14 bars."""
        atr: Series = talib.ATR(self.high, self.low, self.close, timeperiod=14)
        return np.maximum(atr, SCALE_FLOOR * self.close, out=atr)

    @cached_property
    def macd(self) -> tuple[Series, Series, Series]:
        """TA-Lib's MACD(12, 26, 9) of the close: line, signal and histogram."""
        line, signal, histogram = talib.MACD(self.close, 12, 26, 9)
        return line, signal, histogram

    @cached_property
    def directional(self) -> tuple[Series, Series]:
        """Average directional index and difference of the directional indicators, 14 bars."""
        return directional_movement(self.high, self.low, self.close)

    @cached_property
    def bollinger(self) -> tuple[Series, Series]:
        """Mean and standard deviation of the last 20 closes."""
        return rolling_mean_deviation(self.close, 20)

    @cached_property
    def neighbour_returns(self) -> tuple[Series, Series]:
        """Covariance and correlation of 48 returns with the returns before them."""
        return rolling_covariance(self.returns, lagged(self.returns), 48)

    @cached_property
    def mean_volume(self) -> Series:
        """Mean volume of the last 288 bars."""
        return self.total("volume", 288) / 288

    @cached_property
    def log_volume(self) -> Series:
        """v = ln(V + 0.001·mean_288 V), 0 where that mean is 0; NaN for the first 287 bars."""
        dead = self.mean_volume == 0
        return np.log(np.where(dead, 1.0, self.volume + 0.001 * self.mean_volume))

    @cached_property
    def slots(self) -> int:
        """Bars of a UTC day."""
        return MINUTES_PER_DAY // self.candles.timeframe_minutes

    @cached_property
    def minute_of_day(self) -> NDArray[np.int64]:
        """Minute of the UTC day at which each bar closes, 0 to 1439."""
        return (self.candles.close_time // MINUTE_NS) % MINUTES_PER_DAY

    @cached_property
    def weekday(self) -> Series:
        """Weekday at which each bar closes with the share of the day gone: Monday 0, below 7."""
        thursday = 3  # 1970-01-01
        day = (self.candles.close_time // DAY_NS + thursday) % 7
        return day + self.minute_of_day / MINUTES_PER_DAY


@njit(cache=True)
def _error_function(values: Series) -> Series:
    out = np.empty_like(values)
    for i in range(values.size):
        out[i] = math.erf(values[i])
    return out
