"""Measures of a series of returns or of equity. Pure, without limits on length.

Returns are simple and per period; a year has 365 days; the risk-free rate is 0. What cannot be
computed (too few values, no variation) is NaN; `summarize` turns that into a reason.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DAYS_PER_YEAR = 365
YEAR_S = DAYS_PER_YEAR * 86_400


def returns_of(values: Array) -> Array:
    """Simple returns [N−1] of the values [N] of an account. A value ≤ 0 is followed by return 0."""
    before = values[:-1]
    usable = before > 0
    return np.where(usable, values[1:] / np.where(usable, before, 1.0) - 1, 0.0)


def total_return(values: Array) -> float:
    """Last over first value minus 1; NaN without values."""
    return float(values[-1] / values[0] - 1) if len(values) else math.nan


def cagr(values: Array, elapsed_s: float) -> float:
    """Growth per year of 365 days from the first to the last value, `elapsed_s` seconds apart.

    −1 when nothing is left; NaN when no time passed. Growth beyond the range of a float is infinite.
    """
    if elapsed_s <= 0 or not len(values):
        return math.nan
    growth = float(values[-1] / values[0])
    if growth <= 0:
        return -1.0
    exponent = math.log(growth) * YEAR_S / elapsed_s
    return math.expm1(exponent) if exponent < 709 else math.inf


def volatility(returns: Array, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Standard deviation (ddof 1) of the returns, annualised by the square root of the periods."""
    return _std(returns) * math.sqrt(periods_per_year)


def sharpe(returns: Array, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Mean over standard deviation (ddof 1), annualised by the root; risk-free rate 0.

    Agrees with skfolio's annualized_sharpe_ratio at 365 periods. NaN when the returns do not vary.
    """
    deviation = _std(returns)
    if not deviation > 0:
        return math.nan
    return float(np.mean(returns)) / deviation * math.sqrt(periods_per_year)


def sortino(returns: Array, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Mean over downside deviation, annualised by the root.

    The downside deviation is the root of the mean of min(r, 0)² over **all** n returns (skfolio
    divides by n − 1). NaN without a losing period.
    """
    if not len(returns):
        return math.nan
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    return (
        float(np.mean(returns)) / downside * math.sqrt(periods_per_year) if downside else math.nan
    )


def drawdowns(values: Array) -> Array:
    """Value over its running peak minus 1, [N], all ≤ 0."""
    return values / np.maximum.accumulate(values) - 1


def max_drawdown(values: Array) -> float:
    """The deepest drawdown as a negative fraction; 0 when no value lies below an earlier one."""
    return float(np.min(drawdowns(values))) if len(values) else 0.0


def ulcer(values: Array) -> float:
    """Root of the mean squared drawdown (Martin's ulcer index as a fraction)."""
    return math.sqrt(float(np.mean(drawdowns(values) ** 2))) if len(values) else math.nan


def longest_drawdown_s(values: Array, instants_ns: NDArray[np.int64]) -> float:
    """Seconds of the longest stretch below a peak, from the peak to the recovery or the end.

    `values` [N] are marks at `instants_ns` [N]; a value equal to the peak has recovered.
    """
    at_peak = np.flatnonzero(drawdowns(values) == 0)
    ends = np.append(at_peak[1:], len(values) - 1)
    is_below = np.diff(np.append(at_peak, len(values))) > 1
    stretches = (instants_ns[ends] - instants_ns[at_peak])[is_below]
    return float(np.max(stretches)) / 1e9 if len(stretches) else 0.0


def value_at_risk(returns: Array, tail: float = 0.05) -> float:
    """The `tail` quantile of the returns (linear interpolation), a negative number when it loses."""
    return float(np.quantile(returns, tail)) if len(returns) else math.nan


def conditional_value_at_risk(returns: Array, tail: float = 0.05) -> float:
    """Mean of the returns at or below their `tail` quantile."""
    if not len(returns):
        return math.nan
    return float(np.mean(returns[returns <= np.quantile(returns, tail)]))


def skew(returns: Array) -> float:
    """Population skewness m3/m2^1.5, as scipy.stats.skew; NaN when the returns do not vary."""
    return _standard_moment(returns, 3)


def kurtosis(returns: Array) -> float:
    """Population kurtosis m4/m2², 3 for a normal (scipy's with fisher=False); NaN without variation."""
    return _standard_moment(returns, 4)


def beta(returns: Array, benchmark: Array) -> float:
    """Covariance over the variance of the benchmark (both ddof 1); NaN for a still benchmark."""
    if len(returns) < 2 or not _std(benchmark) > 0:
        return math.nan
    return float(np.cov(returns, benchmark)[0, 1] / np.var(benchmark, ddof=1))


def alpha(returns: Array, benchmark: Array) -> float:
    """Mean return left after beta times the mean of the benchmark, times 365 (not compounded)."""
    slope = beta(returns, benchmark)
    return float(DAYS_PER_YEAR * (np.mean(returns) - slope * np.mean(benchmark)))


def correlation(returns: Array, benchmark: Array) -> float:
    """Pearson correlation; NaN when one of the two does not vary."""
    if len(returns) < 2 or not (_std(returns) > 0 and _std(benchmark) > 0):
        return math.nan
    return float(np.corrcoef(returns, benchmark)[0, 1])


def _std(returns: Array) -> float:
    """Standard deviation (ddof 1); NaN below two values, exactly 0 when all are equal."""
    if len(returns) < 2:
        return math.nan
    # A constant series has a rounding residue; it must not become a Sharpe ratio of 1e16.
    return float(np.std(returns, ddof=1)) if np.ptp(returns) > 0 else 0.0


def _standard_moment(returns: Array, order: int) -> float:
    if not _std(returns) > 0:
        return math.nan
    centred = returns - np.mean(returns)
    return float(np.mean(centred**order) / np.mean(centred**2) ** (order / 2))
