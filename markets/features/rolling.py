"""Sums, means, deviations and extremes over the last n bars, without drift and without the future."""

from __future__ import annotations

import numpy as np
import talib
from numba import njit
from numpy.typing import NDArray

Series = NDArray[np.float64]

SCALE_FLOOR = 1e-6
SAME = 1e-12
"""Numbers that differ by no more than this share of their size are the same but for rounding."""


@njit(cache=True)
def rolling_sum(values: Series, bars: int) -> Series:
    """Sum of the last `bars` values at each bar, NaN for the first bars − 1.

    A window is the tail of one block plus the head of the next, each added up afresh: nothing is
    ever subtracted, so a window of zeros sums to exactly zero, a window of positive numbers keeps
    its relative precision, and NaN stays inside the windows that contain it.
    """
    out = np.full(values.size, np.nan)
    tail = np.zeros(bars + 1)
    for start in range(0, values.size, bars):
        stop = min(start + bars, values.size)
        head = 0.0
        for i in range(start, stop):
            head += values[i]
            if i >= bars - 1:
                out[i] = tail[i - start + 1] + head
        tail[bars] = 0.0
        for i in range(stop - 1, start - 1, -1):
            tail[i - start] = tail[i - start + 1] + values[i]
    return out


@njit(cache=True)
def rolling_mean_deviation(values: Series, bars: int) -> tuple[Series, Series]:
    """Mean and standard deviation (ddof 0) of the last `bars` values, NaN for the first bars − 1.

    Both are computed afresh in two passes at every bar: a running sum of squares would lose the
    deviation of a price that hardly moves.
    """
    mean = np.full(values.size, np.nan)
    deviation = np.full(values.size, np.nan)
    for t in range(bars - 1, values.size):
        total = 0.0
        for i in range(t - bars + 1, t + 1):
            total += values[i]
        centre = total / bars
        squares = 0.0
        for i in range(t - bars + 1, t + 1):
            squares += (values[i] - centre) ** 2
        mean[t] = centre
        deviation[t] = np.sqrt(squares / bars)
    return mean, deviation


def rolling_lowest(values: Series, bars: int) -> Series:
    """Smallest of the last `bars` (≥ 2) values, NaN for the first bars − 1. Values must be finite."""
    lowest: Series = talib.MIN(values, timeperiod=bars)
    return lowest


def rolling_highest(values: Series, bars: int) -> Series:
    """Largest of the last `bars` (≥ 2) values, NaN for the first bars − 1. Values must be finite."""
    highest: Series = talib.MAX(values, timeperiod=bars)
    return highest


def rolling_scale(returns: Series, bars: int) -> Series:
    """s_n: root mean square of the last n log returns, at least 1e-6; the mean is not removed.

    `returns[0]` is NaN, as no return is defined at the first bar; so are the first n results.
    """
    mean_square = rolling_sum(returns * returns, bars) / bars
    return np.maximum(np.sqrt(mean_square), SCALE_FLOOR)


def rolling_z_score(values: Series, bars: int) -> Series:
    """(x − mean_n) / max(deviation_n, 1e-3); NaN wherever the window is incomplete or holds NaN."""
    mean, deviation = rolling_mean_deviation(values, bars)
    return (values - mean) / np.maximum(deviation, 1e-3)
