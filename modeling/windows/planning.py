"""What an experiment will look like, from the span of its candles alone: for forms and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modeling.specs import ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.samples import Samples, bars_needed
from modeling.windows.splits import Fold, holdout_instant, make_folds


@dataclass(frozen=True)
class Plan:
    """Folds of a series without gaps on the same calendar span; instants in ns UTC."""

    holdout_at: int
    windows: int
    folds: Sequence[Fold]


def plan_experiment(
    spec: ModelSpec, *, first_open: int, last_close: int, timeframe_minutes: int
) -> Plan:
    """The hold-out and the folds for candles of the calendar span [first_open, last_close] (ns UTC).

    The real folds differ only by the windows that gaps break. Raises NotEnoughHistory with the
    bars found and the bars needed when a slice would be too small.
    """
    bar_ns = timeframe_minutes * 60_000_000_000
    bars = (last_close - first_open) // bar_ns
    try:
        return _planned(spec, first_open, int(bars), bar_ns, timeframe_minutes)
    except NotEnoughHistory as error:
        needed = least_bars(spec, timeframe_minutes)
        if needed is None:
            raise
        raise NotEnoughHistory(
            f"The dataset has {bars} usable bars, this experiment needs at least {needed}. "
            "Choose a longer dataset, fewer folds, a shorter context or a shorter embargo.",
            found=int(bars),
            needed=needed,
        ) from error


def least_bars(spec: ModelSpec, timeframe_minutes: int) -> int | None:
    """Fewest bars without a gap for which every slice is large enough; None above ten million."""
    bar_ns = timeframe_minutes * 60_000_000_000
    low, high = 0, 1024
    while not _fits(spec, high, bar_ns, timeframe_minutes):
        low, high = high, high * 2
        if high > 10_000_000:
            return None
    while high - low > max(1, high // 500):
        middle = (low + high) // 2
        if _fits(spec, middle, bar_ns, timeframe_minutes):
            high = middle
        else:
            low = middle
    return high


def _fits(spec: ModelSpec, bars: int, bar_ns: int, timeframe_minutes: int) -> bool:
    try:
        _planned(spec, 0, bars, bar_ns, timeframe_minutes)
    except NotEnoughHistory:
        return False
    return True


def _planned(
    spec: ModelSpec, first_open: int, bars: int, bar_ns: int, timeframe_minutes: int
) -> Plan:
    label_bars = max(spec.windows.horizon_bars, spec.target.regime_bars)
    scales = spec.features.scales_for(timeframe_minutes)
    first = bars_needed(spec.features.names(), scales, spec.windows.context_bars, 0)
    bar = np.arange(first, bars, dtype=np.int64)
    known_at = first_open + (bar + 1) * bar_ns
    samples = Samples(
        bar=bar,
        has_label=bar < bars - label_bars,
        known_at=known_at,
        label_end_at=known_at + label_bars * bar_ns,
        horizon_bars=spec.windows.horizon_bars,
        regime_bars=spec.target.regime_bars,
    )
    last_close = first_open + bars * bar_ns
    holdout_at = holdout_instant(
        first_open, last_close, spec.evaluation.holdout_fraction, bar_ns=bar_ns
    )
    folds = make_folds(
        samples,
        spec.evaluation,
        context_bars=spec.windows.context_bars,
        bar_ns=bar_ns,
        holdout_at=holdout_at,
    )
    return Plan(holdout_at, len(samples), folds)
