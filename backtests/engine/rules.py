"""Targets that need no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtests.specs import BacktestSpec, RiskSpec, SizingSpec


def buy_and_hold(bars: int) -> NDArray[np.float64]:
    """Target 1 at each of `bars` bars, [N]."""
    return np.ones(bars)


def buy_and_hold_spec(spec: BacktestSpec) -> BacktestSpec:
    """The assumptions of the benchmark: capital, costs, fills and span of `spec`, all cash, no exits."""
    return spec.model_copy(update={"sizing": SizingSpec(), "risk": RiskSpec()})
