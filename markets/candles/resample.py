"""Coarser candles from finer ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from markets.candles.frame import Candles
from markets.specs import TIMEFRAME_MINUTES

MINUTES_PER_DAY = 1440


def coarser_timeframes(minutes: int) -> tuple[str, ...]:
    """Names of the timeframes that bars of so many minutes can become: longer, whole multiples.

    All supported timeframes divide a day. The longest one gives none.
    """
    return tuple(
        name
        for name, value in TIMEFRAME_MINUTES.items()
        if value > minutes and value % minutes == 0
    )


def resample_candles(candles: Candles, factor: int) -> Candles:
    """Candles of `factor` times the timeframe, in bins that start at UTC midnight.

    A coarse bar exists only where all its base bars exist, so a gap, and a cut at either end, leaves
    coarse bars out. Raises ValueError when the coarse bar does not divide a day.
    """
    minutes = candles.timeframe_minutes * factor
    if factor < 1 or MINUTES_PER_DAY % minutes:
        raise ValueError(f"a bar of {minutes} minutes does not divide a UTC day")
    if factor == 1:
        return candles
    if not len(candles):
        return replace(candles, timeframe_minutes=minutes)
    coarse_time = candles.time - candles.time % (candles.bar_ns * factor)
    starts = np.flatnonzero(np.diff(coarse_time, prepend=coarse_time[0] - 1))
    counts = np.diff(starts, append=len(candles))
    starts = starts[counts == factor]
    bars = starts[:, None] + np.arange(factor)  # [coarse bars, factor]
    return Candles(
        minutes,
        coarse_time[starts],
        candles.open[starts],
        candles.high[bars].max(axis=1),
        candles.low[bars].min(axis=1),
        candles.close[starts + factor - 1],
        candles.volume[bars].sum(axis=1),
    )
