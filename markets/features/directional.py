"""Wilder's directional movement: which way the ranges of bars extend."""

from __future__ import annotations

import numpy as np
from numba import njit

from markets.features.rolling import Series

BARS = 14
TIE = 1e-9


@njit(cache=True)
def directional_movement(high: Series, low: Series, close: Series) -> tuple[Series, Series]:
    """Average directional index (0 to 1) and +DI − −DI (−1 to 1) over 14 bars.

    NaN for the first 27 and the first 14 bars. Like TA-Lib's, except that an up move and a down
    move that differ by at most 1e-9 of the close count as equal, so neither counts. Where nothing
    has moved the index keeps its value and the difference is 0.
    """
    # Order matters: each bar's sums are made from the sums of the bar before.
    index = np.full(close.size, np.nan)
    difference = np.full(close.size, np.nan)
    rising = falling = true_range = strength = 0.0
    for t in range(1, close.size):
        up = high[t] - high[t - 1]
        down = low[t - 1] - low[t]
        tie = abs(up - down) <= TIE * close[t]
        if t >= BARS:
            rising *= 13 / 14
            falling *= 13 / 14
            true_range *= 13 / 14
        if up > 0 and up > down and not tie:
            rising += up
        if down > 0 and down > up and not tie:
            falling += down
        true_range += max(high[t], close[t - 1]) - min(low[t], close[t - 1])
        if t < BARS:
            continue
        difference[t] = (rising - falling) / true_range if true_range > 0 else 0.0
        both = rising + falling
        if t < 2 * BARS:
            strength += abs(rising - falling) / both / 14 if both > 0 else 0.0
        elif both > 0:
            strength = (13 * strength + abs(rising - falling) / both) / 14
        if t >= 2 * BARS - 1:
            index[t] = strength
    return index, difference
