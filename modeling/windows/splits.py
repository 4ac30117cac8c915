"""Hold-out, folds and their slices: everything is cut in time, never in row counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.effective import effective_samples
from modeling.specs import EvaluationSpec
from modeling.windows.errors import IntervalsMeet, NotEnoughHistory
from modeling.windows.samples import Samples

Positions = NDArray[np.int64]

LEAST_SAMPLES = 200
FIT_SHARE = 0.8
VALIDATION_SHARE = 0.1
SINGLE_CUT = 0.7
SLICES = ("fit", "validation", "calibration", "test")
MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class Fold:
    """One walk-forward step. The four slices and `predicted` are positions in the samples.

    `test` holds the labelled samples that are scored, `predicted` every complete window of the test
    block, with or without a label. `purged` and `embargoed` count the training samples left out for
    an overlapping label and for being too near; they cover the cuts before the test block and
    between the slices. `instants` are the first known_at and the last label_end_at of a slice in
    nanoseconds UTC; `effective` is the sum of label uniqueness over the horizon.
    """

    number: int
    fit: Positions
    validation: Positions
    calibration: Positions
    test: Positions
    predicted: Positions
    purged: int
    embargoed: int
    instants: dict[str, tuple[int, int]]
    effective: dict[str, float]

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Dates, counts and effective samples of each slice; all values plain JSON."""
        return fold_json(
            self.number,
            {name: int(getattr(self, name).size) for name in (*SLICES, "predicted")},
            self.instants,
            self.effective,
            purged=self.purged,
            embargoed=self.embargoed,
        )


def fold_json(
    number: int,
    samples: Mapping[str, int],
    instants: Mapping[str, tuple[int, int]],
    effective: Mapping[str, float],
    *,
    purged: int,
    embargoed: int,
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Dates, counts and effective samples of each slice of a fold, as `Fold` names them."""
    slices = {
        name: {
            "from_at": _iso(instants[name][0]),
            "to_at": _iso(instants[name][1]),
            "samples": samples[name],
            "effective_samples": round(effective[name], 3),
        }
        for name in SLICES
    }
    return {
        "number": number,
        "slices": slices,
        "predicted": samples["predicted"],
        "purged": purged,
        "embargoed": embargoed,
    }


@dataclass(frozen=True)
class Cut:
    """Half-open spans (after, until] of one fold in nanoseconds UTC: training part and test block."""

    train_after: int
    test_after: int
    test_until: int


def holdout_instant(
    first_open_ns: int, last_close_ns: int, fraction: float, *, bar_ns: int = MINUTE_NS
) -> int:
    """The instant behind which everything is sealed: the last `fraction` of the calendar span.

    Rounded down to a multiple of `bar_ns`, so that it is the close of a bar. All times are
    nanoseconds UTC. With fraction 0 it is the last close.
    """
    sealed = round(fraction * (last_close_ns - first_open_ns))
    return (last_close_ns - sealed) // bar_ns * bar_ns


def plan_cuts(first_known_at: int, holdout_at: int, spec: EvaluationSpec, bar_ns: int) -> list[Cut]:
    """Training parts and test blocks by time alone, for a usable span in nanoseconds UTC.

    anchored and rolling: the last half of the span in `folds` equal test blocks, with all of the
    span before the block, or the half-span before it, as the training part. single: one cut at 70 %.
    """
    before = first_known_at - 1
    span = holdout_at - first_known_at
    if spec.scheme == "single":
        middle = first_known_at + on_grid(SINGLE_CUT * span, bar_ns)
        return [Cut(before, middle, holdout_at)]
    edges = [
        first_known_at + on_grid(span * (0.5 + 0.5 * i / spec.folds), bar_ns)
        for i in range(spec.folds)
    ]
    half = on_grid(0.5 * span, bar_ns)
    return [
        Cut(max(before, start - half) if spec.scheme == "rolling" else before, start, stop)
        for start, stop in zip(edges, [*edges[1:], holdout_at], strict=True)
    ]


def make_folds(
    samples: Samples,
    spec: EvaluationSpec,
    *,
    context_bars: int,
    bar_ns: int,
    holdout_at: int,
) -> list[Fold]:
    """Walk-forward folds of one candle series, purged and embargoed.

    Nothing behind `holdout_at` is used: a labelled sample's label ends by then, a predicted window
    is known by then. A training sample ends its label at least `embargo_bars` before the first
    test window is known; between fit, validation and calibration (80/10/10 of the training part's
    time) the distance is at least `context_bars` too, so that inputs do not overlap. Raises
    NotEnoughHistory when a slice has fewer than 200 samples.
    """
    known = samples.known_at[samples.known_at <= holdout_at]
    if not known.size:
        raise NotEnoughHistory(
            "No sample is known before the sealed hold-out.", found=0, needed=LEAST_SAMPLES
        )
    cuts = plan_cuts(int(known[0]), holdout_at, spec, bar_ns)
    return [
        _make_fold(samples, number, cut, spec.embargo_bars, context_bars, bar_ns, holdout_at)
        for number, cut in enumerate(cuts, start=1)
    ]


def audit_intervals(folds: Sequence[Fold], samples: Samples, holdout_at: int) -> None:
    """Check what the split promises, on the final slices and whatever made them.

    The interval of a sample is [known_at, label_end_at]. Raises IntervalsMeet when intervals of two
    slices of a fold share an instant, or when one reaches behind the hold-out.
    """
    for fold in folds:
        # Predicted windows hold the scored ones, and no one may learn from the others either.
        for first, second in combinations(("fit", "validation", "calibration", "predicted"), 2):
            met = _meeting(samples, getattr(fold, first), getattr(fold, second))
            if met:
                raise IntervalsMeet(
                    f"Fold {fold.number}: {met} {first} samples share time with {second} samples."
                )
        used = np.concatenate([getattr(fold, name) for name in SLICES])
        beyond = int(np.sum(samples.label_end_at[used] > holdout_at))
        beyond += int(np.sum(samples.known_at[fold.predicted] > holdout_at))
        if beyond:
            raise IntervalsMeet(f"Fold {fold.number}: {beyond} samples reach into the hold-out.")


def refuse_small(number: int, name: str, samples: int) -> None:
    """Raise NotEnoughHistory when a slice has fewer than 200 samples."""
    if samples >= LEAST_SAMPLES:
        return
    raise NotEnoughHistory(
        f"Fold {number} has {samples} {name} samples, expected at least {LEAST_SAMPLES}. "
        "Use more history, fewer folds, a shorter embargo or a smaller hold-out.",
        found=samples,
        needed=LEAST_SAMPLES,
    )


def on_grid(duration_ns: float, bar_ns: int) -> int:
    """The whole bars in a duration, in nanoseconds."""
    return int(duration_ns // bar_ns) * bar_ns


def _make_fold(
    samples: Samples,
    number: int,
    cut: Cut,
    embargo_bars: int,
    context_bars: int,
    bar_ns: int,
    holdout_at: int,
) -> Fold:
    known_at, label_end_at = samples.known_at, samples.label_end_at
    usable = samples.has_label & (label_end_at <= holdout_at)
    in_test = (known_at > cut.test_after) & (known_at <= cut.test_until)
    test = np.flatnonzero(in_test & usable)
    predicted = np.flatnonzero(in_test & (known_at <= holdout_at))
    refuse_small(number, "test", test.size)
    training = np.flatnonzero(usable & (known_at > cut.train_after) & (known_at <= cut.test_after))
    first_test = int(known_at[predicted[0]])
    training, purged, embargoed = _keep_away(samples, training, first_test, embargo_bars * bar_ns)
    refuse_small(number, "training", training.size)
    pieces = _slice_training(samples, training, max(embargo_bars, context_bars) * bar_ns, bar_ns)
    slices = {name: piece for name, (piece, _, _) in pieces.items()} | {"test": test}
    for name, positions in slices.items():
        refuse_small(number, name, positions.size)
    return Fold(
        number=number,
        predicted=predicted,
        purged=purged + sum(dropped for _, dropped, _ in pieces.values()),
        embargoed=embargoed + sum(dropped for _, _, dropped in pieces.values()),
        instants={
            name: (int(known_at[positions[0]]), int(label_end_at[positions].max()))
            for name, positions in slices.items()
        },
        effective={
            name: effective_samples(
                samples.bar[positions] + 1, samples.bar[positions] + samples.horizon_bars
            )
            for name, positions in slices.items()
        },
        **slices,
    )


def _slice_training(
    samples: Samples, training: Positions, distance_ns: int, bar_ns: int
) -> dict[str, tuple[Positions, int, int]]:
    """Fit, validation and calibration by time, each with its purged and embargoed count."""
    known_at = samples.known_at[training]
    span = int(known_at[-1] - known_at[0])
    ends = [
        known_at[0] + on_grid(share * span, bar_ns)
        for share in (FIT_SHARE, FIT_SHARE + VALIDATION_SHARE)
    ]
    fit, validation, calibration = np.split(training, np.searchsorted(known_at, ends, side="right"))
    pieces = {"calibration": (calibration, 0, 0)}
    for name, piece, later in (("validation", validation, calibration), ("fit", fit, validation)):
        first = int(samples.known_at[later[0]]) if later.size else int(known_at[-1])
        pieces[name] = _keep_away(samples, piece, first, distance_ns)
    return pieces


def _keep_away(
    samples: Samples, positions: Positions, first_known_at: int, distance_ns: int
) -> tuple[Positions, int, int]:
    """Drop what meets or comes too near to a later slice: (kept, purged, embargoed)."""
    label_end_at = samples.label_end_at[positions]
    meets = label_end_at >= first_known_at
    near = ~meets & (label_end_at > first_known_at - distance_ns)
    return positions[~meets & ~near], int(meets.sum()), int(near.sum())


def _meeting(samples: Samples, first: Positions, second: Positions) -> int:
    """How many intervals of `first` share an instant with any interval of `second`."""
    if not first.size or not second.size:
        return 0
    order = np.argsort(samples.known_at[second], kind="stable")
    starts = samples.known_at[second][order]
    latest_end = np.maximum.accumulate(samples.label_end_at[second][order])
    begun = np.searchsorted(starts, samples.label_end_at[first], side="right") - 1
    meets = (begun >= 0) & (latest_end[begun] >= samples.known_at[first])
    return int(meets.sum())


def _iso(instant_ns: int) -> str:
    instant = datetime.fromtimestamp(instant_ns / 1e9, tz=timezone.utc)
    return instant.isoformat().replace("+00:00", "Z")
