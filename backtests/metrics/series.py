"""Series and tables made from the equity of a run: days, months, drawdowns."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.engine.ledger import Simulation
from backtests.metrics.measures import drawdowns

Array = NDArray[np.float64]

DAY_NS = 86_400_000_000_000
SMALLEST_SHARE = 1e-12
# Half a basis point: a shallower fall reads as 0.00 % and is no news.
SHALLOWEST = 0.5e-4


@dataclass(frozen=True)
class Month:
    """The net return of one UTC month."""

    year: int
    month: int
    value: float


@dataclass(frozen=True)
class Drawdown:
    """One stretch below a peak: instants in ns UTC, depth a negative fraction.

    `recovered_at` is None while the peak has not been reached again.
    """

    depth: float
    peak_at: int
    trough_at: int
    recovered_at: int | None


def values_with_capital(simulation: Simulation) -> Array:
    """The capital followed by the mark of each bar, [N+1]."""
    return np.concatenate([[simulation.capital], simulation.equity])


def instants_with_start(simulation: Simulation) -> NDArray[np.int64]:
    """The open of the first bar followed by the close of each bar, ns UTC [N+1]."""
    return np.concatenate([simulation.time[:1], simulation.time + simulation.bar_ns])


def daily_values(simulation: Simulation) -> Array:
    """The capital, then the mark at the last bar of each UTC day, [days+1].

    A bar belongs to the day of its open; a day without bars inside the span repeats the value before.
    """
    days = simulation.time // DAY_NS
    last_bar = np.searchsorted(days, np.arange(days[0], days[-1] + 1), side="right") - 1
    return np.concatenate([[simulation.capital], simulation.equity[last_bar]])


def daily_log_returns(simulation: Simulation) -> Array:
    """Log net return of each UTC day, [days].

    Values are held at 1e-12 of the capital from below, so that ruin is a very large finite loss.
    """
    floor = SMALLEST_SHARE * simulation.capital
    return np.diff(np.log(np.maximum(daily_values(simulation), floor)))


def monthly_returns(simulation: Simulation) -> list[Month]:
    """Net return of each UTC month with bars, in order; a bar belongs to the month of its open."""
    months = simulation.time.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    last_bar = np.flatnonzero(np.append(np.diff(months) > 0, True))
    values = np.concatenate([[simulation.capital], simulation.equity[last_bar]])
    return [
        Month(1970 + int(number) // 12, int(number) % 12 + 1, _growth(before, after))
        for number, before, after in zip(months[last_bar], values[:-1], values[1:], strict=True)
    ]


def yearly_returns(months: list[Month]) -> dict[int, float]:
    """Months compounded to years."""
    years: dict[int, float] = {}
    for month in months:
        years[month.year] = (1 + years.get(month.year, 0.0)) * (1 + month.value) - 1
    return years


def worst_drawdowns(simulation: Simulation, count: int = 5) -> list[Drawdown]:
    """The `count` deepest stretches below a peak, deepest first; the earlier one on a tie.

    A stretch of less than half a basis point is left out.
    """
    values, instants = values_with_capital(simulation), instants_with_start(simulation)
    below = drawdowns(values)
    at_peak = np.append(np.flatnonzero(below == 0), len(values))
    found = []
    for peak, end in zip(at_peak[:-1].tolist(), at_peak[1:].tolist(), strict=True):
        if end - peak < 2:
            continue
        trough = peak + int(np.argmin(below[peak:end]))
        if below[trough] > -SHALLOWEST:
            continue
        recovered = int(instants[end]) if end < len(values) else None
        found.append(
            Drawdown(float(below[trough]), int(instants[peak]), int(instants[trough]), recovered)
        )
    return sorted(found, key=lambda stretch: stretch.depth)[:count]


def instant_of(ns: int) -> dt.datetime:
    """An instant in ns UTC as an aware datetime (microseconds)."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=ns // 1000)


def _growth(before: float, after: float) -> float:
    return float(after / before - 1) if before > 0 else 0.0
