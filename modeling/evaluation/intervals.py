"""Intervals by the stationary block bootstrap; one draw of time serves all metrics and all members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.metrics import direction_auc

Floats = NDArray[np.float64]
Metric = Callable[[Floats], Floats]
Interval = tuple[float, float]

MIN_BAR_BLOCK = 288
PERCENTILES = (2.5, 97.5)
MIN_DEFINED_SHARE = 0.95
CELLS_AT_ONCE = 1_000_000


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
        batch: list[Floats] = []
        for (drawn,), _ in bootstrap.bootstrap(self.draws):
            batch.append(np.bincount(drawn, minlength=self.rows).astype(float))
            if len(batch) == size:
                yield self._by_row(np.stack(batch))
                batch = []
        if batch:
            yield self._by_row(np.stack(batch))

    def _by_row(self, counts: Floats) -> Floats:
        return counts if self.positions is None else counts[:, self.positions]


def intervals(metrics: Mapping[str, Metric], plan: Resampling) -> dict[str, Interval | None]:
    """95 % percentile interval of each metric, all of them on the same draws.

    A metric maps weights [b, n] to values [b]. Every draw is computed exactly, rank statistics
    included: sorting happens once for each batch of draws. None where the metric is undefined in
    more than 5 % of the draws; the few undefined ones are left out otherwise.
    """
    parts: dict[str, list[Floats]] = {name: [] for name in metrics}
    for weights in plan.weights():
        for name, metric in metrics.items():
            parts[name].append(metric(weights))
    return {name: _percentiles(np.concatenate(values)) for name, values in parts.items()}


def interval(metric: Metric, plan: Resampling) -> Interval | None:
    """95 % percentile interval of one metric; see `intervals`."""
    return intervals({"metric": metric}, plan)["metric"]


def paired_interval(ours: Metric, theirs: Metric, plan: Resampling) -> Interval | None:
    """95 % interval of ours − theirs: one index draw for both members, the difference of each draw."""
    return interval(lambda weights: ours(weights) - theirs(weights), plan)


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
    plan = Resampling(len(score), block, draws, seed)
    found = interval(lambda weights: direction_auc(score, realised_return, weights), plan)
    return float(direction_auc(score, realised_return)), found


def _percentiles(values: Floats) -> Interval | None:
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < MIN_DEFINED_SHARE * len(values):
        return None
    low, high = np.percentile(defined, PERCENTILES)
    return float(low), float(high)
