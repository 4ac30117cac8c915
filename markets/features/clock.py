"""The time family: the UTC clock at the close of each bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from markets.features.bars import MINUTES_PER_DAY, Bars
from markets.features.rolling import Series

FUNDING_MINUTES = 480
SATURDAY = 5


def tod_sin(bars: Bars) -> Series:
    """Sine of the time of day at the close."""
    return np.sin(2 * np.pi * bars.minute_of_day / MINUTES_PER_DAY)


def tod_cos(bars: Bars) -> Series:
    """Cosine of the time of day at the close."""
    return np.cos(2 * np.pi * bars.minute_of_day / MINUTES_PER_DAY)


def dow_sin(bars: Bars) -> Series:
    """Sine of the time of the week at the close."""
    return np.sin(2 * np.pi * bars.weekday / 7)


def dow_cos(bars: Bars) -> Series:
    """Cosine of the time of the week at the close."""
    return np.cos(2 * np.pi * bars.weekday / 7)


def funding_clock(bars: Bars) -> Series:
    """Share left of the eight hours between funding payments (0, 8 and 16 h UTC), above 0 to 1."""
    return 1 - (bars.minute_of_day % FUNDING_MINUTES) / FUNDING_MINUTES


def weekend(bars: Bars) -> Series:
    """1 on Saturday and Sunday, 0 else, by the close."""
    return np.where(bars.weekday >= SATURDAY, 1.0, 0.0)


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "tod_sin": tod_sin,
    "tod_cos": tod_cos,
    "dow_sin": dow_sin,
    "dow_cos": dow_cos,
    "funding_clock": funding_clock,
    "weekend": weekend,
}
