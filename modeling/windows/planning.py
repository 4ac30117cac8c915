"""What an experiment will look like, from the span of its candles alone: for forms and refusals.

Without gaps every slice is a few runs of bars, so a fold is planned by arithmetic on bar numbers,
however long the history; `splits.make_folds` does the same on real samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modeling.specs import MINUTES_PER_DAY, EvaluationSpec, ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.samples import SCALE_BARS, first_window
from modeling.windows.splits import (
    FIT_SHARE,
    LEAST_SAMPLES,
    SLICES,
    VALIDATION_SHARE,
    Cut,
    Part,
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
    parts: Mapping[str, Sequence[Part]]

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Dates, counts and effective samples of each slice, as `Fold.to_json`."""
        return fold_json(
            self.number,
            self.samples,
            self.instants,
            self.effective,
            self.parts,
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
        needed = least_bars(spec, timeframe_minutes, first_open=first_open)
        if needed is None:
            raise
        raise NotEnoughHistory(
            f"The dataset has {bars} usable bars ({_days(bars, timeframe_minutes)}), this experiment "
            f"needs at least {needed} ({_days(needed, timeframe_minutes)}). Choose a longer dataset or "
            "a shorter timeframe, fewer folds or another scheme, fewer timescales, a shorter context "
            "or a shorter embargo.",
            found=int(bars),
            needed=needed,
        ) from error


def _days(bars: int, timeframe_minutes: int) -> str:
    return f"{bars * timeframe_minutes / MINUTES_PER_DAY:.1f} days"


def least_bars(spec: ModelSpec, timeframe_minutes: int, *, first_open: int) -> int | None:
    """Bars without a gap from `first_open` (ns UTC) on for which every slice is large enough, and with
    one bar less is not.

    None above ten million.
    """
    low, high = 0, 1024
    while not _fits(spec, first_open, high, timeframe_minutes):
        low, high = high, high * 2
        if high > MOST_BARS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(spec, first_open, middle, timeframe_minutes):
            high = middle
        else:
            low = middle
    return high


def _fits(spec: ModelSpec, first_open: int, bars: int, timeframe_minutes: int) -> bool:
    try:
        _planned(spec, first_open, bars, timeframe_minutes)
    except NotEnoughHistory:
        return False
    return True


def _planned(spec: ModelSpec, first_open: int, bars: int, timeframe_minutes: int) -> Plan:
    bar_ns = timeframe_minutes * 60_000_000_000
    label_bars = max(spec.windows.horizon_bars, spec.target.regime_bars)
    scales = spec.features.scales_for(timeframe_minutes)
    before = first_window(
        spec.features.names(),
        scales,
        spec.windows.context_bars,
        first_open=first_open,
        timeframe_minutes=timeframe_minutes,
    )
    series = _Series(
        count=max(0, bars - before),
        first_known_at=first_open + (before + 1) * bar_ns,
        first_labelled=max(0, SCALE_BARS - before),
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
    """Samples 0..count−1, one a bar; sample i is known at `first_known_at` + i bars (ns UTC).

    Those before `first_labelled` have no label.
    """

    count: int
    first_known_at: int
    first_labelled: int
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
        blocks = [
            Run(self.known_by(after) + 1, min(self.known_by(until), self.last_known))
            for after, until in cut.tests
        ]
        tests = [
            Run(max(block.first, self.first_labelled), min(block.last, self.last_labelled))
            for block in blocks
        ]
        cut.refuse_small_tests(number, [test.size for test in tests])
        training, purged, embargoed = self._keep_away(
            self._between(cut, blocks), blocks, evaluation.embargo_bars
        )
        refuse_small(number, "training", _size(training))
        distance = max(evaluation.embargo_bars, context_bars)
        slices = {"test": tests}
        for name, piece, later in self._thirds(training):
            slices[name], met, near = self._keep_away(piece, later[:1], distance)
            refuse_small(number, name, _size(slices[name]))
            purged, embargoed = purged + met, embargoed + near
        return PlannedFold(
            number=number,
            samples={name: _size(slices[name]) for name in SLICES} | {"predicted": _size(blocks)},
            instants={name: self._instants(slices[name]) for name in SLICES},
            effective={name: self._effective(slices[name]) for name in SLICES},
            purged=purged,
            embargoed=embargoed,
            parts=self._parts(slices, cut.groups) if cut.groups else {},
        )

    def _between(self, cut: Cut, blocks: Sequence[Run]) -> list[Run]:
        """Labelled samples of the training part that lie in no test block, as runs."""
        first = max(self.known_by(cut.train_after) + 1, self.first_labelled)
        last = min(self.known_by(cut.train_until), self.last_labelled)
        starts = [first, *(block.last + 1 for block in blocks)]
        ends = [*(min(block.first - 1, last) for block in blocks), last]
        runs = [Run(start, end) for start, end in zip(starts, ends, strict=True)]
        return [run for run in runs if run.size]

    def _thirds(self, training: Sequence[Run]) -> list[tuple[str, list[Run], list[Run]]]:
        """Calibration, validation and fit, each with the slice that it must keep away from."""
        count = _size(training)
        span = (count - 1) * self.bar_ns
        fit, validation = (
            on_grid(share * span, self.bar_ns) // self.bar_ns + 1
            for share in (FIT_SHARE, FIT_SHARE + VALIDATION_SHARE)
        )
        pieces = {
            "calibration": _within(training, validation, count),
            "validation": _within(training, fit, validation),
            "fit": _within(training, 0, fit),
        }
        later = [[], pieces["calibration"], pieces["validation"]]
        return [(*piece, then) for piece, then in zip(pieces.items(), later, strict=True)]

    def _keep_away(
        self, pieces: Sequence[Run], others: Sequence[Run], distance_bars: int
    ) -> tuple[list[Run], int, int]:
        """What is left of runs around others, and how many samples were purged and embargoed."""
        label, distance = self.label_bars, self.label_bars + distance_bars
        unmet, kept = list(pieces), list(pieces)
        for other in others:
            unmet = [_clear(run, other, label + 1) for run in unmet]
            kept = [_clear(run, other, max(distance, label + 1)) for run in kept]
        left = [run for run in kept if run.size]
        return left, _size(pieces) - _size(unmet), _size(unmet) - _size(kept)

    def _parts(
        self, slices: Mapping[str, Sequence[Run]], groups: Sequence[int]
    ) -> dict[str, list[Part]]:
        of_training = {
            name: [Part(*self._instants([run]), run.size) for run in runs]
            for name, runs in slices.items()
            if name != "test"
        }
        tests = zip(slices["test"], groups, strict=True)
        of_test = [Part(*self._instants([run]), run.size, group) for run, group in tests]
        return of_training | {"test": of_test}

    def _instants(self, runs: Sequence[Run]) -> tuple[int, int]:
        last = runs[-1].last + self.label_bars
        return (
            self.first_known_at + runs[0].first * self.bar_ns,
            self.first_known_at + last * self.bar_ns,
        )

    def _effective(self, runs: Sequence[Run]) -> float:
        """Σ uniqueness of equal labels is the number of bars they cover over the bars of one."""
        following = [run.first for run in runs[1:]] + [runs[-1].last + self.horizon_bars]
        covered = sum(
            run.size + min(self.horizon_bars - 1, then - run.last - 1)
            for run, then in zip(runs, following, strict=True)
        )
        return covered / self.horizon_bars


def _size(runs: Sequence[Run]) -> int:
    return sum(run.size for run in runs)


def _clear(run: Run, other: Run, bars: int) -> Run:
    """The run from `bars` behind another on, or up to `bars` before it: on the side that it is on."""
    if run.first > other.last:
        return Run(max(run.first, other.last + bars), run.last)
    return Run(run.first, min(run.last, other.first - bars))


def _within(runs: Sequence[Run], start: int, stop: int) -> list[Run]:
    """Samples number `start` to `stop` − 1 of the runs, one after the other."""
    found, before = [], 0
    for run in runs:
        first, last = (
            run.first + max(0, start - before),
            run.first + min(run.size, stop - before) - 1,
        )
        found.append(Run(first, last))
        before += run.size
    return [run for run in found if run.size]
