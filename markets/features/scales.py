"""Which coarse bar is known at which base bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.candles.resample import resample_candles


def candles_at_scale(candles: Candles, factor: int) -> Candles:
    """The candles of one timescale; a coarse bar exists only when all its base bars do."""
    return candles if factor == 1 else resample_candles(candles, factor)


def last_closed_bar(base: Candles, coarse: Candles) -> NDArray[np.int32]:
    """For each base bar the number of the latest coarse bar closed by its close, −1 for none.

    A coarse bar that closes together with the base bar is known.
    """
    closed = np.searchsorted(coarse.close_time, base.close_time, side="right") - 1
    return closed.astype(np.int32)
