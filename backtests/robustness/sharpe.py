"""How much a Sharpe ratio says after its length, its shape and the number of tries.

All inputs are per period (a day), not annual; kurtosis is not excess (3 for a normal); the Sharpe
ratio uses ddof 1. None stands for what is undefined. Source: Bailey and López de Prado, The Sharpe
Ratio Efficient Frontier (2012) and The Deflated Sharpe Ratio (2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from backtests.metrics.measures import DAYS_PER_YEAR, kurtosis, sharpe, skew

NORMAL = NormalDist()
EULER = 0.5772156649015329


@dataclass(frozen=True)
class SharpeShape:
    """What the formulas need of a return series: Sharpe per period, length, skewness, kurtosis."""

    ratio: float
    periods: float
    skew: float = 0.0
    kurtosis: float = 3.0


@dataclass(frozen=True)
class DeflatedSharpe:
    """The deflated Sharpe ratio (a probability) with what it was deflated by.

    `trials` counts all tries, `variance` is that of their Sharpe ratios per period, `benchmark` the
    Sharpe expected of the best of them without any skill. `is_plain` says that there was nothing to
    deflate by (fewer than two trials, or no variance), so the value is PSR(0).
    """

    value: float | None
    benchmark: float
    trials: int
    variance: float
    is_plain: bool


def shape_of(returns: NDArray[np.float64]) -> SharpeShape | None:
    """The shape of a series of returns; None below two values or without variation."""
    if len(returns) < 2 or not np.ptp(returns) > 0:
        return None
    return SharpeShape(sharpe(returns, 1.0), len(returns), skew(returns), kurtosis(returns))


def probabilistic_sharpe(shape: SharpeShape, benchmark: float = 0.0) -> float | None:
    """Probability that the true Sharpe lies above `benchmark`, given length and shape of the track.

    None when skewness and kurtosis make the variance of the estimate negative, or below two periods.
    """
    spread = _spread(shape)
    if spread <= 0 or shape.periods < 2:
        return None
    distance = (shape.ratio - benchmark) * math.sqrt(shape.periods - 1) / math.sqrt(spread)
    return NORMAL.cdf(distance)


def minimum_track_record(
    shape: SharpeShape, benchmark: float = 0.0, significance: float = 0.05
) -> float | None:
    """Periods needed before this Sharpe lies above `benchmark` with probability 1 − significance.

    None when the Sharpe is not above the benchmark: no length is enough.
    """
    if shape.ratio <= benchmark:
        return None
    distance = NORMAL.inv_cdf(1 - significance) / (shape.ratio - benchmark)
    return 1 + _spread(shape) * distance**2


def expected_maximum(trials: int) -> float:
    """Expected largest of `trials` standard normal draws (an approximation); 0 for one."""
    if trials < 2:
        return 0.0
    return (1 - EULER) * NORMAL.inv_cdf(1 - 1 / trials) + EULER * NORMAL.inv_cdf(
        1 - 1 / (trials * math.e)
    )


def deflated_sharpe(shape: SharpeShape, trials: int, variance: float) -> DeflatedSharpe:
    """PSR against the best Sharpe that `trials` tries without skill would show.

    `variance` (ddof 1) is that of the trials' Sharpe ratios per period.
    """
    is_plain = trials < 2 or not variance > 0
    benchmark = 0.0 if is_plain else math.sqrt(variance) * expected_maximum(trials)
    value = probabilistic_sharpe(shape, benchmark)
    return DeflatedSharpe(value, benchmark, trials, variance, is_plain)


def variance_of_trials(ratios: Sequence[float]) -> float:
    """Variance (ddof 1) of the Sharpe ratios of the trials; 0 below two."""
    return float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0


def standard_error(shape: SharpeShape) -> float | None:
    """Standard error of the annual Sharpe (daily periods); None where its variance is not positive."""
    spread = _spread(shape)
    if spread <= 0 or shape.periods < 2:
        return None
    return math.sqrt(DAYS_PER_YEAR * spread / (shape.periods - 1))


def _spread(shape: SharpeShape) -> float:
    ratio = shape.ratio
    return 1 - shape.skew * ratio + (shape.kurtosis - 1) / 4 * ratio**2
