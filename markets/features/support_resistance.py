"""Where the price stands between levels at which it turned or which it never passed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from markets.features.bars import DAY_NS, Bars
from markets.features.rolling import (
    SAME,
    SCALE_FLOOR,
    Series,
    bars_since_highest,
    place_in_range,
    rolling_highest,
    rolling_lowest,
)

SWING_BARS = 5
FARTHEST_SWING = 10.0


def donch_pos_48(bars: Bars) -> Series:
    """Place of the close in Donchian's channel of 48 bars, −1 to 1; 0 where it has no width."""
    return place_in_range(bars.close, bars.lowest(48), bars.highest(48))


def donch_pos_288(bars: Bars) -> Series:
    """Place of the close in Donchian's channel of 288 bars, −1 to 1; 0 where it has no width."""
    return place_in_range(bars.close, bars.lowest(288), bars.highest(288))


def dist_high_288(bars: Bars) -> Series:
    """Log distance of the close below the highest of 288 bars over s_288·√288; at most 0."""
    return np.log(bars.close / bars.highest(288)) / (bars.scale(288) * np.sqrt(288))


def dist_low_288(bars: Bars) -> Series:
    """Log distance of the close above the lowest of 288 bars over s_288·√288; at least 0."""
    return np.log(bars.close / bars.lowest(288)) / (bars.scale(288) * np.sqrt(288))


def pivot_dev(bars: Bars) -> Series:
    """Distance of the close from the pivot of the latest earlier UTC day that has bars, in its range.

    The pivot is the mean of that day's high, low and close, complete or not; days go by open time.
    """
    day = bars.candles.time // DAY_NS
    starts = np.flatnonzero(np.diff(day, prepend=day[:1] - 1))
    high = np.maximum.reduceat(bars.high, starts)
    low = np.minimum.reduceat(bars.low, starts)
    close = bars.close[np.append(starts[1:], day.size) - 1]
    pivot, span = (high + low + close) / 3, high - low
    earlier = np.cumsum(np.diff(day, prepend=day[:1]) > 0) - 1
    deviation = (bars.close - pivot[earlier]) / np.maximum(span[earlier], SCALE_FLOOR * bars.close)
    return np.where(earlier < 0, np.nan, deviation)


def swing_res(bars: Bars) -> Series:
    """Distance up to the latest swing high in average true ranges, within ±10; 0 before the first.

    A swing high is the highest of the five bars before and after it, so it is known five bars late.
    """
    turns = _lagging(bars.high, SWING_BARS) >= (1 - SAME) * rolling_highest(
        bars.high, 2 * SWING_BARS + 1
    )
    return _distance(bars, _latest(bars.high, turns) - bars.close)


def swing_sup(bars: Bars) -> Series:
    """Distance down to the latest swing low in average true ranges, within ±10; 0 before the first."""
    turns = _lagging(bars.low, SWING_BARS) <= (1 + SAME) * rolling_lowest(
        bars.low, 2 * SWING_BARS + 1
    )
    return _distance(bars, bars.close - _latest(bars.low, turns))


def bars_since_high_288(bars: Bars) -> Series:
    """Bars since the highest of the last 288, 0 (now) to 1; the latest of equals counts."""
    return bars_since_highest(bars.high, 288) / 287


def _lagging(values: Series, count: int) -> Series:
    earlier = np.full(values.size, np.nan)
    earlier[count:] = values[:-count]
    return earlier


def _latest(values: Series, turns: NDArray[np.bool_]) -> Series:
    """The value five bars before the latest bar at which a turn was known; NaN before the first."""
    place = np.maximum.accumulate(np.where(turns, np.arange(values.size), -1))
    return np.where(place < 0, np.nan, values[place - SWING_BARS])


def _distance(bars: Bars, distance: Series) -> Series:
    in_ranges = np.clip(distance / bars.average_true_range, -FARTHEST_SWING, FARTHEST_SWING)
    return np.where(np.isnan(distance), 0.0, in_ranges)


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "donch_pos_48": donch_pos_48,
    "donch_pos_288": donch_pos_288,
    "dist_high_288": dist_high_288,
    "dist_low_288": dist_low_288,
    "pivot_dev": pivot_dev,
    "swing_res": swing_res,
    "swing_sup": swing_sup,
    "bars_since_high_288": bars_since_high_288,
}
