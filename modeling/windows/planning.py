"""What an experiment will look like, from the span of its candles alone: for forms and refusals.

Without gaps every slice is a run of bars, so a fold is planned by arithmetic on bar numbers, however
long the history; `splits.make_folds` does the same on real samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modeling.specs import EvaluationSpec, ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.samples import bars_needed
from modeling.windows.splits import (
    FIT_SHARE,
    LEAST_SAMPLES,
    SLICES,
    VALIDATION_SHARE,
    Cut,
    fold_json,
    holdout_instant,
    on_grid,
    plan_cuts,
    refuse_small,
)

MOST_BARS = 10_000_000


class Run(NamedTuple):
    """Samples first..last, both included; none when last < first."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many samples."""
        return max(0, self.last - self.first + 1)


@dataclass(frozen=True)
class PlannedFold:
    """A fold of a series without gaps: `samples` by slice ("predicted" too), the rest as in `Fold`."""

    number: int
    samples: Mapping[str, int]
    instants: Mapping[str, tuple[int, int]]
    effective: Mapping[str, float]
    purged: int
    embargoed: int

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Dates, counts and effective samples of each slice, as `Fold.to_json`."""
        return fold_json(
            self.number,
            self.samples,
            self.instants,
            self.effective,
            purged=self.purged,
            embargoed=self.embargoed,
        )


@dataclass(frozen=True)
class Plan:
    """Folds of a series without gaps on the same calendar span; instants in ns UTC."""

    holdout_at: int
    windows: int
    folds: Sequence[PlannedFold]


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
        return _planned(spec, first_open, int(bars), timeframe_minutes)
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
    """Fewest bars without a gap, to 0.2 %, for which every slice is large enough.

    None above ten million.
    """
    low, high = 0, 1024
    while not _fits(spec, high, timeframe_minutes):
        low, high = high, high * 2
        if high > MOST_BARS:
            return None
    while high - low > max(1, high // 500):
        middle = (low + high) // 2
        if _fits(spec, middle, timeframe_minutes):
            high = middle
        else:
            low = middle
    return high


def _fits(spec: ModelSpec, bars: int, timeframe_minutes: int) -> bool:
    try:
        _planned(spec, 0, bars, timeframe_minutes)
    except NotEnoughHistory:
        return False
    return True


def _planned(spec: ModelSpec, first_open: int, bars: int, timeframe_minutes: int) -> Plan:
    bar_ns = timeframe_minutes * 60_000_000_000
    label_bars = max(spec.windows.horizon_bars, spec.target.regime_bars)
    scales = spec.features.scales_for(timeframe_minutes)
    before = bars_needed(
        spec.features.names(),
        scales,
        spec.windows.context_bars,
        0,
        timeframe_minutes=timeframe_minutes,
    )
    series = _Series(
        count=max(0, bars - before),
        first_known_at=first_open + (before + 1) * bar_ns,
        bar_ns=bar_ns,
        label_bars=label_bars,
        horizon_bars=spec.windows.horizon_bars,
        holdout_at=holdout_instant(
            first_open,
            first_open + bars * bar_ns,
            spec.evaluation.holdout_fraction,
            bar_ns=bar_ns,
        ),
    )
    if series.last_known < 0:
        raise NotEnoughHistory(
            "No sample is known before the sealed hold-out.", found=0, needed=LEAST_SAMPLES
        )
    cuts = plan_cuts(series.first_known_at, series.holdout_at, spec.evaluation, bar_ns)
    folds = [
        series.fold(number, cut, spec.evaluation, spec.windows.context_bars)
        for number, cut in enumerate(cuts, start=1)
    ]
    return Plan(series.holdout_at, series.count, folds)


@dataclass(frozen=True)
class _Series:
    """Samples 0..count−1, one a bar; sample i is known at `first_known_at` + i bars (ns UTC)."""

    count: int
    first_known_at: int
    bar_ns: int
    label_bars: int
    horizon_bars: int
    holdout_at: int

    def known_by(self, instant: int) -> int:
        """The last sample known by an instant; −1 when there is none."""
        number = (instant - self.first_known_at) // self.bar_ns
        return max(-1, min(self.count - 1, int(number)))

    @property
    def last_known(self) -> int:
        return self.known_by(self.holdout_at)

    @property
    def last_labelled(self) -> int:
        """The last sample whose label ends within the candles and before the hold-out."""
        return self.known_by(self.holdout_at - self.label_bars * self.bar_ns)

    def fold(
        self, number: int, cut: Cut, evaluation: EvaluationSpec, context_bars: int
    ) -> PlannedFold:
        start, stop = self.known_by(cut.test_after) + 1, self.known_by(cut.test_until)
        test = Run(start, min(stop, self.last_labelled))
        predicted = Run(start, min(stop, self.last_known))
        refuse_small(number, "test", test.size)
        whole = Run(self.known_by(cut.train_after) + 1, min(start - 1, self.last_labelled))
        training, purged, embargoed = self._keep_away(whole, start, evaluation.embargo_bars)
        refuse_small(number, "training", training.size)
        distance = max(evaluation.embargo_bars, context_bars)
        slices = {"test": test}
        for name, piece, later in self._thirds(training):
            slices[name], met, near = self._keep_away(piece, later, distance)
            refuse_small(number, name, slices[name].size)
            purged, embargoed = purged + met, embargoed + near
        return PlannedFold(
            number=number,
            samples={name: slices[name].size for name in SLICES} | {"predicted": predicted.size},
            instants={name: self._instants(slices[name]) for name in SLICES},
            effective={name: self._effective(slices[name]) for name in SLICES},
            purged=purged,
            embargoed=embargoed,
        )

    def _thirds(self, training: Run) -> list[tuple[str, Run, int]]:
        """Calibration, validation and fit, each with the first sample it must keep away from."""
        span = (training.last - training.first) * self.bar_ns
        ends = [
            training.first + on_grid(share * span, self.bar_ns) // self.bar_ns
            for share in (FIT_SHARE, FIT_SHARE + VALIDATION_SHARE)
        ]
        nothing_later = training.last + self.label_bars + 1 + self.count
        return [
            ("calibration", Run(ends[1] + 1, training.last), nothing_later),
            ("validation", Run(ends[0] + 1, ends[1]), ends[1] + 1),
            ("fit", Run(training.first, ends[0]), ends[0] + 1),
        ]

    def _keep_away(self, piece: Run, later: int, distance_bars: int) -> tuple[Run, int, int]:
        """What is left of a piece before sample `later`, and how many were purged and embargoed."""
        unmet = Run(piece.first, min(piece.last, later - self.label_bars - 1))
        kept = Run(piece.first, min(unmet.last, later - self.label_bars - distance_bars))
        return kept, piece.size - unmet.size, unmet.size - kept.size

    def _instants(self, piece: Run) -> tuple[int, int]:
        last = piece.last + self.label_bars
        return (
            self.first_known_at + piece.first * self.bar_ns,
            self.first_known_at + last * self.bar_ns,
        )

    def _effective(self, piece: Run) -> float:
        """Σ uniqueness of equal labels is the number of bars they cover over the bars of one."""
        return (piece.size + self.horizon_bars - 1) / self.horizon_bars
