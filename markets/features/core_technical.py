"""Classic indicators on spliced prices, scaled so that no price level is left in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import talib
from numba import njit

from markets.features.bars import Bars
from markets.features.rolling import (
    SAME,
    SCALE_FLOOR,
    Series,
    rolling_highest,
    rolling_lowest,
)

DIRECTIONAL_BARS = 14
TIE = 1e-9


def rsi_14(bars: Bars) -> Series:
    """TA-Lib's RSI over 14 bars from −1 to 1; 0 while the close has never changed since bar 0."""
    moved = np.logical_or.accumulate(np.abs(bars.close - bars.close[:1]) > SAME * bars.close[:1])
    rsi: Series = talib.RSI(bars.close, timeperiod=14)
    return np.where(moved, rsi / 50 - 1, 0.0)


def macd_line(bars: Bars) -> Series:
    """TA-Lib's MACD(12, 26, 9) line in average true ranges."""
    line, _ = bars.macd
    return np.divide(line, bars.average_true_range)


def macd_hist(bars: Bars) -> Series:
    """TA-Lib's MACD(12, 26, 9) histogram in average true ranges."""
    _, histogram = bars.macd
    return np.divide(histogram, bars.average_true_range)


def bb_pctb_20(bars: Bars) -> Series:
    """Place of the close between Bollinger's bands of 20 bars and 2 deviations: −1 and 1 are the bands."""
    mean, deviation = bars.bollinger
    half_width = 2 * np.maximum(deviation, SCALE_FLOOR * bars.close)
    place: Series = (bars.close - mean) / half_width
    return place


def bb_width_20(bars: Bars) -> Series:
    """Log of the width of Bollinger's bands over their mean, at least ln 1e-6."""
    mean, deviation = bars.bollinger
    return np.log(np.maximum(4 * deviation / mean, SCALE_FLOOR))


def stoch_k_14(bars: Bars) -> Series:
    """Place of the close in the range of 14 bars, −1 to 1; 0 where that range is empty."""
    lowest = rolling_lowest(bars.low, 14)
    highest = rolling_highest(bars.high, 14)
    span = highest - lowest
    flat = span <= SAME * highest
    return np.where(flat, 0.0, 2 * (bars.close - lowest) / np.where(flat, 1.0, span) - 1)


def adx_14(bars: Bars) -> Series:
    """Wilder's average directional index over 14 bars, 0 to 1. Equals TA-Lib's ADX/100 but for ties.

    An up move and a down move that differ by at most 1e-9 of the close count as equal, so neither
    counts: binary rounding must not pick a side on a coarse tick.
    """
    return _average_directional_index(bars.high, bars.low, bars.close)


@njit(cache=True)
def _average_directional_index(high: Series, low: Series, close: Series) -> Series:
    # Order matters: each bar's sums are made from the sums of the bar before. The true range would
    # divide both directions alike and so drops out.
    out = np.full(close.size, np.nan)
    rising = falling = strength = 0.0
    for t in range(1, close.size):
        up = high[t] - high[t - 1]
        down = low[t - 1] - low[t]
        tie = abs(up - down) <= TIE * close[t]
        if t >= DIRECTIONAL_BARS:
            rising *= 13 / 14
            falling *= 13 / 14
        if up > 0 and up > down and not tie:
            rising += up
        if down > 0 and down > up and not tie:
            falling += down
        if t < DIRECTIONAL_BARS:
            continue
        both = rising + falling
        if t < 2 * DIRECTIONAL_BARS:
            strength += abs(rising - falling) / both / 14 if both > 0 else 0.0
        elif both > 0:
            strength = (13 * strength + abs(rising - falling) / both) / 14
        if t >= 2 * DIRECTIONAL_BARS - 1:
            out[t] = strength
    return out


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "rsi_14": rsi_14,
    "macd_line": macd_line,
    "macd_hist": macd_hist,
    "bb_pctb_20": bb_pctb_20,
    "bb_width_20": bb_width_20,
    "stoch_k_14": stoch_k_14,
    "adx_14": adx_14,
}
