"""The series that several features share, each computed once for a set of candles."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import talib
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.rolling import (
    SCALE_FLOOR,
    Series,
    rolling_mean_deviation,
    rolling_scale,
    rolling_sum,
)
from markets.features.splice import splice_prices

MINUTE_NS = 60_000_000_000
MINUTES_PER_DAY = 1440


class Bars:
    """Spliced prices, raw volume and derived series of one timescale; every series has N values."""

    def __init__(self, candles: Candles) -> None:
        self.candles = splice_prices(candles)
        self._scales: dict[int, Series] = {}

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

    @cached_property
    def returns(self) -> Series:
        """r = ln(C/C₋₁); NaN at the first bar."""
        returns = np.full(len(self.candles), np.nan)
        returns[1:] = np.log(self.close[1:] / self.close[:-1])
        return returns

    def scale(self, bars: int) -> Series:
        """s_n of the returns, see `rolling_scale`."""
        if bars not in self._scales:
            self._scales[bars] = rolling_scale(self.returns, bars)
        return self._scales[bars]

    @cached_property
    def average_true_range(self) -> Series:
        """TA-Lib's ATR over 14 bars, at least 1e-6 of the close; NaN for the first 14 bars."""
        atr: Series = talib.ATR(self.high, self.low, self.close, timeperiod=14)
        return np.maximum(atr, SCALE_FLOOR * self.close)

    @cached_property
    def macd(self) -> tuple[Series, Series]:
        """TA-Lib's MACD(12, 26, 9) of the close: line and histogram."""
        line, _, histogram = talib.MACD(self.close, 12, 26, 9)
        return line, histogram

    @cached_property
    def bollinger(self) -> tuple[Series, Series]:
        """Mean and standard deviation of the last 20 closes."""
        return rolling_mean_deviation(self.close, 20)

    @cached_property
    def log_volume(self) -> Series:
        """v = ln(V + 0.001·mean_288 V), 0 where that mean is 0; NaN for the first 287 bars."""
        volume = self.candles.volume
        mean = rolling_sum(volume, 288) / 288
        dead = mean == 0
        return np.where(dead, 0.0, np.log(np.where(dead, 1.0, volume + 0.001 * mean)))

    @cached_property
    def minute_of_day(self) -> NDArray[np.int64]:
        """Minute of the UTC day at which each bar closes, 0 to 1439."""
        return (self.candles.close_time // MINUTE_NS) % MINUTES_PER_DAY
