"""The HAR rung: volatility to come from volatility over three stretches of the past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from markets.features.rolling import rolling_sum
from modeling.baselines.persistence import VOLATILITY_FLOOR
from modeling.baselines.rungs import Floats, Ints, RungFailed

HAR_BARS = (12, 48, 288)


def realised_logs(log_returns: Floats, bars: Ints) -> Floats:
    """1 and ln √(mean r²) over the last 12, 48 and 288 bars, [n,4], for each t in `bars` [n].

    `log_returns` [N] are close to close, spliced over gaps, NaN at bar 0. σ is not below 1e-5; a row
    with less history has NaN. Uses nothing after t.
    """
    squares = log_returns**2
    columns = [np.sqrt(rolling_sum(squares, length) / length)[bars] for length in HAR_BARS]
    logs = [np.log(np.maximum(volatility, VOLATILITY_FLOOR)) for volatility in columns]
    return np.column_stack([np.ones(len(bars)), *logs])


def fit_har(regressors: Floats, log_volatility: Floats) -> Floats:
    """Coefficients [4] of ordinary least squares of ln σ [n] on `realised_logs` [n,4].

    Corsi (2009) with the day of a market that never closes: one hour, four hours and a day of
    5-minute bars, in logs. Rows with NaN are left out. One thread, so equal rows give equal bits.
    Raises RungFailed when fewer rows than coefficients are left.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    complete = np.isfinite(regressors).all(axis=1) & np.isfinite(log_volatility)
    needed = regressors.shape[1]
    if complete.sum() < needed:
        raise RungFailed(
            f"found {complete.sum()} training rows with {max(HAR_BARS)} bars of history; "
            f"expected at least {needed}"
        )
    with threadpool_limits(limits=1, user_api="blas"):
        solved = np.linalg.lstsq(regressors[complete], log_volatility[complete], rcond=None)
    return np.asarray(solved[0])


def har_volatility(coefficients: Floats, regressors: Floats) -> NDArray[np.float64]:
    """σ per bar [n] of `realised_logs` [n,4]; NaN where they are. A flat market stays at the floor."""
    # summed column by column: a matrix product may round a row differently beside other rows
    log_volatility = sum(
        coefficient * column for coefficient, column in zip(coefficients, regressors.T, strict=True)
    )
    return np.asarray(np.maximum(np.exp(log_volatility), VOLATILITY_FLOOR))
