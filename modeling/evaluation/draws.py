"""Metrics of heads on all rows and on one set of draws over time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.cases import Scoring
from modeling.evaluation.columns import MIN_SAMPLES, Columns, Floats, Ints
from modeling.evaluation.intervals import Between, Resampling, draw_values, mean_block_length
from modeling.evaluation.prepared import Metric

OURS = ""  # the name of the table itself among its rungs
Key = tuple[str, str]  # the rung, or OURS, and the metric


@dataclass(frozen=True)
class Measured:
    """A metric on all rows, and on each draw [draws]; without draws where none were asked for."""

    value: float
    drawn: Floats | None = None


def measured_on(
    metrics: Mapping[Key, Metric], plan: Resampling, between: Between
) -> dict[Key, Measured]:
    """The defined ones among the metrics, with their draws."""
    everyone = np.ones(plan.rows if plan.positions is None else len(plan.positions))
    values = {key: float(metric(everyone)) for key, metric in metrics.items()}
    defined = {key: metrics[key] for key, value in values.items() if np.isfinite(value)}
    drawn = draw_values(defined, plan, between=between) if plan.draws else {}
    return {key: Measured(values[key], drawn.get(key)) for key in defined}


@dataclass(frozen=True)
class Asked:
    """Metrics on these rows [n] of a table; `loss` [n] says how long the blocks must be."""

    rows: Ints
    loss: Floats
    metrics: Mapping[Key, Metric]


def measured_together(
    table: Columns, asked: Mapping[str, Asked], scoring: Scoring, between: Between
) -> dict[str, Mapping[Key, Measured]]:
    """What was asked under each name. On equal rows it shares one set of draws, whose blocks follow the
    loss of the first; below 200 rows nothing is measured.
    """
    sets: list[list[str]] = []
    for name, one in asked.items():
        alike = [names for names in sets if np.array_equal(asked[names[0]].rows, one.rows)]
        if alike:
            alike[0].append(name)
        elif len(one.rows) >= MIN_SAMPLES:
            sets.append([name])
    found: dict[str, Mapping[Key, Measured]] = {name: {} for name in asked}
    for place, names in enumerate(sets):

        def within(share: float, place: int = place) -> None:
            between((place + share) / len(sets))

        first = asked[names[0]]
        plan = resampling(table, first.rows, first.loss, scoring)
        metrics = {key: metric for name in names for key, metric in asked[name].metrics.items()}
        found |= dict.fromkeys(names, measured_on(metrics, plan, within))
    return found


def resampling(table: Columns, rows: Ints, loss: Floats, scoring: Scoring) -> Resampling:
    """Draws over the distinct times of `rows` [n] of a table, in order; rows of one time share a draw.

    The block length follows `loss` [n], as `mean_block_length` says.
    """
    steps, positions = len(rows), None
    if "open_at" in table:
        loss, steps, positions = by_time(np.asarray(table["open_at"])[rows], loss)
    block = mean_block_length(loss, scoring.horizon_bars) if scoring.draws else 1
    return Resampling(steps, block, scoring.draws, scoring.seed, positions)


def by_time(times: NDArray[np.generic], loss: Floats) -> tuple[Floats, int, Ints | None]:
    """The mean loss of each distinct time in order, how many there are, and the place of each row [n]
    among them; no places where the rows are distinct times in order already.
    """
    distinct, places = np.unique(times, return_inverse=True)
    if len(distinct) == len(loss) and not np.any(np.diff(places) < 0):
        return loss, len(loss), None
    mean = np.bincount(places, weights=loss) / np.bincount(places)
    return mean, len(distinct), places.astype(np.int64)


def one_blas_thread() -> AbstractContextManager[object]:
    """Sums are then the same bits whatever number of cores a machine has."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits
