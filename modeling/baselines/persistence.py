"""The persistence rung: the volatility to come is the volatility of the last bars."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

VOLATILITY_FLOOR = 1e-5


def persistence_volatility(
    log_returns: NDArray[np.float64], bars: NDArray[np.int64], horizon_bars: int
) -> NDArray[np.float64]:
    """σ per bar [n] = √(mean r² of bars t−H+1..t), not below 1e-5, for each t in `bars` [n].

    `log_returns` [N] are close to close, spliced over gaps, NaN where there is none (bar 0). NaN
    where fewer than H bars lie behind t or one of them is NaN. Uses nothing after t.
    """
    volatility = np.full(len(bars), np.nan)
    enough = bars >= horizon_bars - 1
    if not enough.any():
        return volatility
    windows = sliding_window_view(log_returns, horizon_bars)[bars[enough] - horizon_bars + 1]
    volatility[enough] = np.maximum(np.sqrt(np.mean(windows**2, axis=1)), VOLATILITY_FLOOR)
    return volatility
