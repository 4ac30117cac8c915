"""The time family: the UTC clock at the close of each bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from markets.features.bars import MINUTES_PER_DAY, Bars
from markets.features.rolling import Series


def tod_sin(bars: Bars) -> Series:
    """Sine of the time of day at the close."""
    return np.sin(2 * np.pi * bars.minute_of_day / MINUTES_PER_DAY)


def tod_cos(bars: Bars) -> Series:
    """Cosine of the time of day at the close."""
    return np.cos(2 * np.pi * bars.minute_of_day / MINUTES_PER_DAY)


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {"tod_sin": tod_sin, "tod_cos": tod_cos}
