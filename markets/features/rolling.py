"""Sums, moments and extremes over the last n bars, without drift and without the future."""

from __future__ import annotations

import numpy as np
import talib
from numba import njit
from numpy.typing import NDArray

Series = NDArray[np.float64]

SCALE_FLOOR = 1e-6
SAME = 1e-12
"""Numbers that differ by no more than this share of their size are the same but for rounding."""
SAME_VARIANCE = 1e-10


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

    Windows are added up as in `rolling_sum`, as differences to the last value of the earlier block.
    That value lies inside the window, so the deviation keeps its relative precision however far
    the values are from zero, and equal values have exactly none.
    """
    mean = np.full(values.size, np.nan)
    deviation = np.full(values.size, np.nan)
    tail, tail_squares = np.zeros(bars + 1), np.zeros(bars + 1)
    anchor = np.nan
    for start in range(0, values.size, bars):
        last = start + bars - 1
        head = head_squares = 0.0
        for i in range(start, min(last, values.size) if start > 0 else start):
            step = values[i] - anchor
            head += step
            head_squares += step * step
            first = (tail[i - start + 1] + head) / bars
            second = (tail_squares[i - start + 1] + head_squares) / bars
            mean[i] = anchor + first
            deviation[i] = np.sqrt(np.maximum(second - first * first, 0.0))
        if last >= values.size:
            break
        anchor = values[last]
        for i in range(last, start - 1, -1):
            step = values[i] - anchor
            tail[i - start] = tail[i - start + 1] + step
            tail_squares[i - start] = tail_squares[i - start + 1] + step * step
        first, second = tail[0] / bars, tail_squares[0] / bars
        mean[last] = anchor + first
        deviation[last] = np.sqrt(np.maximum(second - first * first, 0.0))
    return mean, deviation


@njit(cache=True)
def rolling_covariance(first: Series, second: Series, bars: int) -> tuple[Series, Series]:
    """Covariance (ddof 0) and Pearson correlation of the last `bars` pairs, NaN for the first bars − 1.

    A correlation is within ±1, and 0 where the variance of either is at most 1e-10 of its mean
    square. Windows are added up as in `rolling_mean_deviation`; NaN stays inside its windows.
    """
    covariance = np.full(first.size, np.nan)
    correlation = np.full(first.size, np.nan)
    tail = np.zeros((bars + 1, 5))  # sums of x, y, x², y², xy
    x_anchor = y_anchor = np.nan
    for start in range(0, first.size, bars):
        last = start + bars - 1
        x_sum = y_sum = xx_sum = yy_sum = xy_sum = 0.0
        for i in range(start, min(last, first.size) if start > 0 else start):
            x, y = first[i] - x_anchor, second[i] - y_anchor
            x_sum += x
            y_sum += y
            xx_sum += x * x
            yy_sum += y * y
            xy_sum += x * y
            old = tail[i - start + 1]
            covariance[i], correlation[i] = _from_sums(
                (x_sum + old[0]) / bars,
                (y_sum + old[1]) / bars,
                (xx_sum + old[2]) / bars,
                (yy_sum + old[3]) / bars,
                (xy_sum + old[4]) / bars,
                x_anchor,
                y_anchor,
            )
        if last >= first.size:
            break
        x_anchor, y_anchor = first[last], second[last]
        for i in range(last, start - 1, -1):
            x, y = first[i] - x_anchor, second[i] - y_anchor
            row = i - start
            tail[row, 0] = tail[row + 1, 0] + x
            tail[row, 1] = tail[row + 1, 1] + y
            tail[row, 2] = tail[row + 1, 2] + x * x
            tail[row, 3] = tail[row + 1, 3] + y * y
            tail[row, 4] = tail[row + 1, 4] + x * y
        covariance[last], correlation[last] = _from_sums(
            tail[0, 0] / bars,
            tail[0, 1] / bars,
            tail[0, 2] / bars,
            tail[0, 3] / bars,
            tail[0, 4] / bars,
            x_anchor,
            y_anchor,
        )
    return covariance, correlation


@njit(cache=True)
def _from_sums(
    x: float, y: float, xx: float, yy: float, xy: float, x_anchor: float, y_anchor: float
) -> tuple[float, float]:
    # Means of differences to the anchors give the covariance and, scaled, the correlation.
    covariance = xy - x * y
    x_variance, y_variance = np.maximum(xx - x * x, 0.0), np.maximum(yy - y * y, 0.0)
    x_mean, y_mean = x_anchor + x, y_anchor + y
    if x_variance <= SAME_VARIANCE * (x_variance + x_mean * x_mean):
        return covariance, 0.0
    if y_variance <= SAME_VARIANCE * (y_variance + y_mean * y_mean):
        return covariance, 0.0
    correlation = covariance / np.sqrt(x_variance) / np.sqrt(y_variance)
    return covariance, np.minimum(1.0, np.maximum(-1.0, correlation))


@njit(cache=True)
def bars_since_highest(values: Series, bars: int) -> Series:
    """Bars since the highest of the last `bars` values, 0 to bars − 1; NaN for the first bars − 1.

    The latest of equals counts; equal but for rounding is equal.
    """
    out = np.full(values.size, np.nan)
    place = 0
    for t in range(values.size):
        if place <= t - bars:
            place = t - bars + 1
            for i in range(place + 1, t):
                if values[i] >= values[place] * (1 - SAME):
                    place = i
        if values[t] >= values[place] * (1 - SAME):
            place = t
        if t >= bars - 1:
            out[t] = t - place
    return out


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


def lagged(values: Series) -> Series:
    """The value one bar earlier, NaN at the first bar."""
    earlier = np.full(values.size, np.nan)
    earlier[1:] = values[:-1]
    return earlier


def ratio(upper: Series, lower: Series) -> Series:
    """upper / lower, and 0 where lower is 0 (no range, no volume)."""
    return np.divide(upper, np.where(lower == 0, np.inf, lower))


def log_at_least_floor(values: Series) -> Series:
    """ln max(x, 1e-6)."""
    return np.log(np.maximum(values, SCALE_FLOOR))


def log_root_at_least_floor(squares: Series) -> Series:
    """ln max(√max(0, x), 1e-6)."""
    return 0.5 * np.log(np.maximum(squares, SCALE_FLOOR * SCALE_FLOOR))


@njit(cache=True)
def place_in_range(values: Series, lowest: Series, highest: Series) -> Series:
    """Place between two bounds from −1 (lowest) to 1 (highest); 0 where they are the same."""
    place = np.zeros(values.size)
    for t in range(values.size):
        span = highest[t] - lowest[t]
        if not span <= SAME * highest[t]:
            place[t] = 2 * (values[t] - lowest[t]) / span - 1
    return place


@njit(cache=True)
def step_direction(values: Series) -> Series:
    """1 where a price rose, −1 where it fell, 0 where it moved by rounding at most; NaN at bar 0."""
    direction = np.zeros(values.size)
    direction[:1] = np.nan
    for t in range(1, values.size):
        step = values[t] - values[t - 1]
        if abs(step) > SAME * values[t]:
            direction[t] = 1.0 if step > 0 else -1.0
    return direction
