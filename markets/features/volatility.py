"""How much prices move. Logs of returns, so free of the price level but not of the timeframe."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from markets.features.bars import Bars
from markets.features.rolling import Series


def rv_48(bars: Bars) -> Series:
    """ln s_48: log of the root mean square of the last 48 returns, at least ln 1e-6."""
    return np.log(bars.scale(48))


def natr_14(bars: Bars) -> Series:
    """Log of the average true range over 14 bars relative to the close, at least ln 1e-6."""
    return np.log(bars.average_true_range / bars.close)


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {"rv_48": rv_48, "natr_14": natr_14}
