"""Targets that need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import talib
from numpy.typing import NDArray

from backtests.specs import BacktestSpec, RiskSpec, SizingSpec

Targets = NDArray[np.float64]
LONG, FLAT, SHORT = 1.0, 0.0, -1.0


def flat(bars: int) -> Targets:
    """Target 0 at each of `bars` bars, [N]."""
    return np.zeros(bars)


def buy_and_hold(bars: int) -> Targets:
    """Target 1 at each of `bars` bars, [N]."""
    return np.ones(bars)


def ma_cross(
    close: NDArray[np.float64], *, fast: int = 20, slow: int = 100, short: bool = False
) -> Targets:
    """1 where the mean of the last `fast` closes [N] is above that of the last `slow`, else 0.

    `short` makes the 0 of every bar after the warm-up −1; the first slow − 1 bars are always 0.
    """
    means = talib.SMA(close, fast), talib.SMA(close, slow)
    return _sides(means[0], means[1], short=short)


def macd(
    close: NDArray[np.float64],
    *,
    fast: int = 12,
    slow: int = 26,
    signal: int = 9,
    short: bool = False,
) -> Targets:
    """1 where the MACD line of closes [N] is above its signal line, else 0 (TA-Lib's MACD).

    `short` makes the 0 of every bar after the warm-up −1; the first slow + signal − 2 bars are 0.
    """
    line, average, _ = talib.MACD(close, fast, slow, signal)
    return _sides(line, average, short=short)


def rsi(
    close: NDArray[np.float64],
    *,
    window: int = 14,
    enter_long: float = 70,
    exit_long: float = 30,
    short: bool = False,
) -> Targets:
    """1 from an RSI of closes [N] above `enter_long` until it is below `exit_long` (TA-Lib's RSI).

    `short` mirrors it: −1 from below 100 − enter until above 100 − exit. The first `window` bars
    are 0.
    """
    targets = np.zeros(len(close))
    held = FLAT
    # Order matters: a bar between the levels keeps what the one before it held.
    for bar, value in enumerate(talib.RSI(close, window).tolist()):
        if held == LONG and value < exit_long:
            held = FLAT
        if held == SHORT and value > 100 - exit_long:
            held = FLAT
        if value > enter_long:
            held = LONG
        if short and value < 100 - enter_long:
            held = SHORT
        targets[bar] = held
    return targets


RULES: Mapping[str, Callable[[NDArray[np.float64]], Targets]] = {
    "ma_cross": ma_cross,
    "macd": macd,
    "rsi": rsi,
}
"""The rules with a past, by name: closes in, targets with the default parameters out."""


def buy_and_hold_spec(spec: BacktestSpec) -> BacktestSpec:
    """The assumptions of the benchmark: capital, costs, fills and span of `spec`, all cash, no exits."""
    return spec.model_copy(update={"sizing": SizingSpec(), "risk": RiskSpec()})


def _sides(first: Targets, second: Targets, *, short: bool) -> Targets:
    """1 where `first` is above `second`; 0 in the warm-up, and else 0 or, with `short`, −1."""
    known = np.isfinite(first) & np.isfinite(second)
    below = SHORT if short else FLAT
    return np.where(first > second, LONG, np.where(known, below, FLAT))
