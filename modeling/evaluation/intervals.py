"""Intervals by the stationary block bootstrap; one draw of time serves all metrics and all members."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.prepared import Floats, Metric, direction_auc_of

Interval = tuple[float, float]
Name = TypeVar("Name", bound=Hashable)
Between = Callable[[float], None]

MIN_BAR_BLOCK = 288
PERCENTILES = (2.5, 97.5)
MIN_DEFINED_SHARE = 0.95
CELLS_AT_ONCE = 120_000  # counts of a batch stay in the cache


def mean_block_length(series: Floats, horizon_bars: int) -> int:
    """Mean block length in whole bars for a per-bar `series` of overlapping labels.

    clip(max(optimal stationary length, horizon), 1, n/4), and not below 288 bars from n = 2880 on.
    Optimal length: Politis and White (2004) with the correction of 2009, as `arch`. A constant
    series has no dependence to measure: the horizon counts.
    """
    from arch.bootstrap import optimal_block_length

    rows = len(series)
    length = float(horizon_bars)
    if rows >= 8 and float(np.ptp(series)) > 0:
        optimal = float(optimal_block_length(series)["stationary"].iloc[0])
        length = max(length, optimal if np.isfinite(optimal) else 0.0)
    if rows >= 10 * MIN_BAR_BLOCK:
        length = max(length, float(MIN_BAR_BLOCK))
    return max(1, min(round(length), rows // 4))


@dataclass(frozen=True)
class Resampling:
    """A plan of draws over `rows` time steps in order; equal plans give equal draws.

    `positions` [n] maps table rows to time steps when several rows (instruments) share a step, so
    that all of them get the same draw of time; None means one row for each step.
    """

    rows: int
    block_bars: int
    draws: int
    seed: int
    positions: NDArray[np.int64] | None = None

    def weights(self) -> Iterator[Floats]:
        """Yield batches [b, n]: how often each row was drawn. Blocks wrap around at the end."""
        from arch.bootstrap import StationaryBootstrap

        steps = np.arange(self.rows)
        bootstrap = StationaryBootstrap(self.block_bars, steps, seed=self.seed)
        size = max(1, CELLS_AT_ONCE // max(self.rows, 1))
        batch = np.empty((size, self.rows))
        filled = 0
        for (drawn,), _ in bootstrap.bootstrap(self.draws):
            batch[filled] = np.bincount(drawn, minlength=self.rows)
            filled += 1
            if filled == size:
                yield self._by_row(batch)
                batch, filled = np.empty_like(batch), 0
        if filled:
            yield self._by_row(batch[:filled])

    def _by_row(self, counts: Floats) -> Floats:
        return counts if self.positions is None else counts[:, self.positions]


def no_pause(share: float) -> None:
    """Nobody asks how far it is."""


def draw_values(
    metrics: Mapping[Name, Metric], plan: Resampling, *, between: Between = no_pause
) -> dict[Name, Floats]:
    """Values [draws] of each metric, all of them on the same draws.

    A metric maps counts [b, n] to values [b]. Every draw is computed exactly, rank statistics
    included. `between` is called with the share of draws done after each few of them (after every
    one from 120 000 rows on) and may raise.
    """
    parts: dict[Name, list[Floats]] = {name: [] for name in metrics}
    done = 0
    for counts in plan.weights():
        for name, metric in metrics.items():
            parts[name].append(metric(counts))
        done += len(counts)
        between(done / plan.draws)
    return {name: np.concatenate(values) for name, values in parts.items()}


def interval(metric: Metric, plan: Resampling) -> Interval | None:
    """95 % percentile interval of one metric; see `interval_of`."""
    return interval_of(draw_values({"metric": metric}, plan)["metric"])


def interval_of(values: Floats) -> Interval | None:
    """95 % percentile interval of the values of the draws.

    None where the metric is undefined in more than 5 % of the draws; the few undefined ones are
    left out otherwise. Given differences of two members on the same draws it is the paired one.
    """
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < MIN_DEFINED_SHARE * len(values):
        return None
    low, high = np.percentile(defined, PERCENTILES)
    return float(low), float(high)


def verdict_word(difference: Interval | None) -> str:
    """`beats` when the interval of ours − theirs lies above 0, `loses` below, else `ties`.

    Without an interval nothing was shown: `undecided`.
    """
    if difference is None:
        return "undecided"
    if difference[0] > 0:
        return "beats"
    return "loses" if difference[1] < 0 else "ties"


def auc_interval(
    score: Floats, realised_return: Floats, *, horizon_bars: int, draws: int, seed: int
) -> tuple[float, Interval | None]:
    """Direction AUC of a score [n] against the sign of the return [n], and its 95 % interval.

    Rows are bars in time order, free of NaN; the block length follows score·return.
    """
    block = mean_block_length(score * realised_return, horizon_bars)
    metric = direction_auc_of(score, realised_return)
    found = interval(metric, Resampling(len(score), block, draws, seed))
    return float(metric(np.ones(len(score)))), found
