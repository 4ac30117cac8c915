"""Fewer, wider bars for a chart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles

# Of one answer: bars of a chart, points of its curves, rows of a series.
MAX_POINTS = 2000


@dataclass(frozen=True, eq=False)
class ChartBars:
    """Bars of unequal width for drawing: each begins at `time` (ns) and holds `bars` candles."""

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    bars: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)


def aggregate_candles(candles: Candles, max_bars: int) -> tuple[ChartBars, bool]:
    """At most `max_bars` chart bars (first, max, min, last, sum) and whether any were joined.

    No chart bar spans a gap, unless the candles have more unbroken runs than `max_bars`: then runs
    are joined, because the number of points is what keeps a page readable.
    Raises ValueError when `max_bars` is below 1.
    """
    if max_bars < 1:
        raise ValueError(f"max_bars is {max_bars}, expected at least 1")
    starts = _starts(candles, max_bars)
    if not len(starts):
        nothing = candles.open
        return ChartBars(
            candles.time, nothing, nothing, nothing, nothing, nothing, candles.time
        ), False
    counts = np.diff(starts, append=len(candles))
    bars = ChartBars(
        candles.time[starts],
        candles.open[starts],
        np.maximum.reduceat(candles.high, starts),
        np.minimum.reduceat(candles.low, starts),
        candles.close[starts + counts - 1],
        np.add.reduceat(candles.volume, starts),
        counts,
    )
    return bars, bool((counts > 1).any())


def _starts(candles: Candles, max_bars: int) -> NDArray[np.int64]:
    """Index of the first candle of each chart bar, for the narrowest width that fits."""
    total = len(candles)
    runs = np.flatnonzero(candles.gap_before)
    runs = np.concatenate(([0], runs)) if total else runs
    if len(runs) > max_bars:
        return np.arange(0, total, -(-total // max_bars))
    lengths = np.diff(runs, append=total)
    width = max(1, -(-total // max_bars))
    while int((-(-lengths // width)).sum()) > max_bars:
        width += max(1, width // 16)
    position = np.arange(total) - np.repeat(runs, lengths)
    return np.flatnonzero(position % width == 0)
