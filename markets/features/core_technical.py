"""Classic indicators on spliced prices, scaled so that no price level is left in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import talib

from markets.features.bars import Bars
from markets.features.rolling import (
    SAME,
    SCALE_FLOOR,
    Series,
    log_at_least_floor,
    place_in_range,
    rolling_highest,
    rolling_lowest,
    rolling_sum,
)


def rsi_14(bars: Bars) -> Series:
    """TA-Lib's RSI over 14 bars from −1 to 1; 0 while the close has never changed since bar 0."""
    return _relative_strength(bars, 14)


def rsi_42(bars: Bars) -> Series:
    """TA-Lib's RSI over 42 bars from −1 to 1; 0 while the close has never changed since bar 0."""
    return _relative_strength(bars, 42)


def _relative_strength(bars: Bars, count: int) -> Series:
    moved = np.logical_or.accumulate(np.abs(bars.close - bars.close[:1]) > SAME * bars.close[:1])
    rsi: Series = talib.RSI(bars.close, timeperiod=count)
    return np.where(moved, rsi / 50 - 1, 0.0)


def macd_line(bars: Bars) -> Series:
    """TA-Lib's MACD(12, 26, 9) line in average true ranges."""
    return np.divide(bars.macd[0], bars.average_true_range)


def macd_signal(bars: Bars) -> Series:
    """TA-Lib's MACD(12, 26, 9) signal line in average true ranges."""
    return np.divide(bars.macd[1], bars.average_true_range)


def macd_hist(bars: Bars) -> Series:
    """TA-Lib's MACD(12, 26, 9) histogram in average true ranges."""
    return np.divide(bars.macd[2], bars.average_true_range)


def bb_pctb_20(bars: Bars) -> Series:
    """Place of the close between Bollinger's bands of 20 bars and 2 deviations: −1 and 1 are the bands."""
    mean, deviation = bars.bollinger
    half_width = 2 * np.maximum(deviation, SCALE_FLOOR * bars.close)
    place: Series = (bars.close - mean) / half_width
    return place


def bb_width_20(bars: Bars) -> Series:
    """Log of the width of Bollinger's bands over their mean, at least ln 1e-6."""
    mean, deviation = bars.bollinger
    return log_at_least_floor(4 * deviation / mean)


def stoch_k_14(bars: Bars) -> Series:
    """Place of the close in the range of 14 bars, −1 to 1; 0 where that range is empty."""
    return place_in_range(bars.close, bars.lowest(14), bars.highest(14))


def stoch_d_14(bars: Bars) -> Series:
    """Mean of the last three stoch_k_14."""
    return rolling_sum(stoch_k_14(bars), 3) / 3


def cci_20(bars: Bars) -> Series:
    """TA-Lib's CCI over 20 bars / 100; 0 where the typical price has not moved in them.

    There TA-Lib's value is the rounding of its mean, ±0.67.
    """
    highest, lowest = rolling_highest(bars.typical, 20), rolling_lowest(bars.typical, 20)
    cci: Series = talib.CCI(bars.high, bars.low, bars.close, timeperiod=20)
    return np.where(highest - lowest <= SAME * highest, 0.0, cci / 100)


def adx_14(bars: Bars) -> Series:
    """Wilder's average directional index over 14 bars, 0 to 1. Equals TA-Lib's ADX/100 but for ties.

    An up move and a down move that differ by at most 1e-9 of the close count as equal, so neither
    counts: binary rounding must not pick a side on a coarse tick.
    """
    return bars.directional[0]


def di_diff_14(bars: Bars) -> Series:
    """Wilder's +DI − −DI over 14 bars, −1 to 1. Equals TA-Lib's but for the ties of `adx_14`."""
    return bars.directional[1]


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "rsi_14": rsi_14,
    "rsi_42": rsi_42,
    "macd_line": macd_line,
    "macd_signal": macd_signal,
    "macd_hist": macd_hist,
    "bb_pctb_20": bb_pctb_20,
    "bb_width_20": bb_width_20,
    "stoch_k_14": stoch_k_14,
    "stoch_d_14": stoch_d_14,
    "cci_20": cci_20,
    "adx_14": adx_14,
    "di_diff_14": di_diff_14,
}
