"""Where prices have gone lately, in units of their own volatility."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from markets.features.bars import Bars
from markets.features.rolling import Series


def ret_1(bars: Bars) -> Series:
    """Log return of the last bar over s_48."""
    return _scaled_return(bars, 1)


def ret_12(bars: Bars) -> Series:
    """Log return of the last 12 bars over s_48·√12."""
    return _scaled_return(bars, 12)


def ret_48(bars: Bars) -> Series:
    """Log return of the last 48 bars over s_48·√48."""
    return _scaled_return(bars, 48)


def _scaled_return(bars: Bars, count: int) -> Series:
    out = np.full(bars.close.size, np.nan)
    out[count:] = np.log(bars.close[count:] / bars.close[:-count])
    scaled: Series = out / (bars.scale(48) * np.sqrt(count))
    return scaled


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "ret_1": ret_1,
    "ret_12": ret_12,
    "ret_48": ret_48,
}
