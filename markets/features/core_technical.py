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
    rolling_sum,
)


def rsi_14(bars: Bars) -> Series:
    """TA-Lib's RSI over 14 bars from −1 to 1; 0 while the close has never changed since bar 0."""
    return _relative_strength(bars, 14)


def rsi_42(bars: Bars) -> Series:
    """TA-Lib's RSI over 42 bars from −1 to 1; 0 while the close has never changed since bar 0."""
    return _relative_strength(bars, 42)


def _relative_strength(bars: Bars, count: int) -> Series:
    rsi: Series = talib.RSI(bars.close, timeperiod=count)
    rsi /= 50
    rsi -= 1
    rsi[: _first_move(bars.close)] = 0.0
    return rsi


def _first_move(close: Series) -> int:
    """Number of the first bar whose close is not that of bar 0; all bars where there is none."""
    for start in range(0, close.size, 4096):
        part = close[start : start + 4096]
        moved = np.abs(part - close[0]) > SAME * close[0]
        if moved.any():
            return start + int(np.argmax(moved))
    return close.size


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
    half_width = np.maximum(deviation, SCALE_FLOOR * bars.close)
    half_width *= 2
    place = bars.close - mean
    place /= half_width
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
    cci: Series = talib.CCI(bars.high, bars.low, bars.close, timeperiod=20)
    cci /= 100
    cci[rolling_sum(np.abs(bars.typical_direction), 19) == 0] = 0.0
    return cci


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
