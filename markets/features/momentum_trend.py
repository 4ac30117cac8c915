"""Where prices have gone lately, in units of their own volatility."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import talib

from markets.features.bars import Bars
from markets.features.rolling import Series, ratio, rolling_sum


def ret_1(bars: Bars) -> Series:
    """Log return of the last bar over s_48."""
    return _scaled_return(bars, 1, 48)


def ret_3(bars: Bars) -> Series:
    """Log return of the last 3 bars over s_48·√3."""
    return _scaled_return(bars, 3, 48)


def ret_12(bars: Bars) -> Series:
    """Log return of the last 12 bars over s_48·√12."""
    return _scaled_return(bars, 12, 48)


def ret_48(bars: Bars) -> Series:
    """Log return of the last 48 bars over s_48·√48."""
    return _scaled_return(bars, 48, 48)


def ret_288(bars: Bars) -> Series:
    """Log return of the last 288 bars over s_288·√288."""
    return _scaled_return(bars, 288, 288)


def ema_slope_48(bars: Bars) -> Series:
    """Rise of TA-Lib's EMA over 48 bars within the last 12, in average true ranges."""
    mean: Series = talib.EMA(bars.close, timeperiod=48)
    rise = np.full(mean.size, np.nan)
    rise[12:] = mean[12:] - mean[:-12]
    return np.divide(rise, bars.average_true_range)


def efficiency_48(bars: Bars) -> Series:
    """Kaufman's efficiency: the way gone over the way walked in 48 bars, 0 to 1; 0 without a move."""
    return ratio(np.abs(rolling_sum(bars.returns, 48)), bars.total("absolute_return", 48))


def autocorr1_48(bars: Bars) -> Series:
    """Correlation of 48 returns with the returns before them."""
    return bars.neighbour_returns[1]


def _scaled_return(bars: Bars, count: int, scale_bars: int) -> Series:
    out = np.full(bars.close.size, np.nan)
    out[count:] = np.log(bars.close[count:] / bars.close[:-count])
    scaled: Series = out / (bars.scale(scale_bars) * np.sqrt(count))
    return scaled


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "ret_1": ret_1,
    "ret_3": ret_3,
    "ret_12": ret_12,
    "ret_48": ret_48,
    "ret_288": ret_288,
    "ema_slope_48": ema_slope_48,
    "efficiency_48": efficiency_48,
    "autocorr1_48": autocorr1_48,
}
