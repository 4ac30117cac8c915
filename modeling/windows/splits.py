"""Hold-out, folds and their slices: everything is cut in time, never in row counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import combinations, pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import NS_PER_MINUTE
from modeling.specs import EvaluationSpec
from modeling.windows.cpcv import GROUPS, SPLITS
from modeling.windows.errors import IntervalsMeet, NotEnoughHistory
from modeling.windows.samples import Samples

Positions = NDArray[np.int64]

LEAST_SAMPLES = 200
FIT_SHARE = 0.8
VALIDATION_SHARE = 0.1
SINGLE_CUT = 0.7
SLICES = ("fit", "validation", "calibration", "test")


class Part(NamedTuple):
    """An uninterrupted stretch of a slice: first known_at and last label_end_at in nanoseconds UTC.

    `group` is the test group; 0 for a stretch of the training part.
    """

    first: int
    last: int
    samples: int
    group: int = 0


@dataclass(frozen=True)
class Fold:
    """One split. The four slices and `predicted` are positions in the samples.

    `test` holds the labelled samples that are scored, `predicted` every complete window of the test
    blocks, with or without a label. `purged` and `embargoed` count the training samples left out for
    an overlapping label and for being too near; they cover the cuts around the test blocks and
    between the slices. `instants` are the first known_at and the last label_end_at of a slice in
    nanoseconds UTC; `effective` is the sum of label uniqueness over the horizon. Of a combinatorial
    split, `blocks` holds the predicted positions of each tested group, and `parts` the stretches
    that the slices consist of; of any other they are empty.
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
    blocks: Mapping[int, Positions] = field(default_factory=dict)
    parts: Mapping[str, Sequence[Part]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Dates, counts and effective samples of each slice; all values plain JSON."""
        return fold_json(
            self.number,
            {name: int(getattr(self, name).size) for name in (*SLICES, "predicted")},
            self.instants,
            self.effective,
            self.parts,
            purged=self.purged,
            embargoed=self.embargoed,
        )


def fold_json(
    number: int,
    samples: Mapping[str, int],
    instants: Mapping[str, tuple[int, int]],
    effective: Mapping[str, float],
    parts: Mapping[str, Sequence[Part]],
    *,
    purged: int,
    embargoed: int,
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Dates, counts and effective samples of each slice of a fold, as `Fold` names them.

    A slice of a combinatorial split lists its `parts` too: from its first to its last instant there
    is time of other slices.
    """
    slices = {
        name: {
            "from_at": _iso(instants[name][0]),
            "to_at": _iso(instants[name][1]),
            "samples": samples[name],
            "effective_samples": round(effective[name], 3),
        }
        | ({"parts": [_part_json(part) for part in parts[name]]} if parts else {})
        for name in SLICES
    }
    return {
        "number": number,
        "slices": slices,
        "predicted": samples["predicted"],
        "purged": purged,
        "embargoed": embargoed,
    }


def _part_json(part: Part) -> dict[str, Any]:  # Any: JSON has no narrower type
    span = {"from_at": _iso(part.first), "to_at": _iso(part.last), "samples": part.samples}
    return span | ({"group": part.group} if part.group else {})


@dataclass(frozen=True)
class Cut:
    """Half-open spans (after, until] of one fold in nanoseconds UTC: training part and test blocks.

    What lies in a test block is no training part. `groups` numbers the blocks of a combinatorial
    split.
    """

    train_after: int
    train_until: int
    tests: tuple[tuple[int, int], ...]
    groups: tuple[int, ...] = ()

    def refuse_small_tests(self, fold: int, samples: Sequence[int]) -> None:
        """Raise NotEnoughHistory when a test block has fewer than 200 samples."""
        for place, count in enumerate(samples):
            refuse_small(fold, f"group {self.groups[place]} test" if self.groups else "test", count)


def holdout_instant(
    first_open_ns: int, last_close_ns: int, fraction: float, *, bar_ns: int = NS_PER_MINUTE
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
    cpcv: eight equal groups, every pair of them tested once, all the others the training part.
    """
    before = first_known_at - 1
    span = holdout_at - first_known_at
    if spec.scheme == "cpcv":
        return _combinatorial_cuts(first_known_at, holdout_at, bar_ns)
    if spec.scheme == "single":
        middle = first_known_at + on_grid(SINGLE_CUT * span, bar_ns)
        return [Cut(before, middle, ((middle, holdout_at),))]
    edges = [
        first_known_at + on_grid(span * (0.5 + 0.5 * i / spec.folds), bar_ns)
        for i in range(spec.folds)
    ]
    half = on_grid(0.5 * span, bar_ns)
    return [
        Cut(
            max(before, start - half) if spec.scheme == "rolling" else before,
            start,
            ((start, stop),),
        )
        for start, stop in zip(edges, [*edges[1:], holdout_at], strict=True)
    ]


def _combinatorial_cuts(first_known_at: int, holdout_at: int, bar_ns: int) -> list[Cut]:
    span = holdout_at - first_known_at
    inner = [first_known_at + on_grid(span * i / GROUPS, bar_ns) for i in range(1, GROUPS)]
    edges = [first_known_at - 1, *inner, holdout_at]
    blocks = list(pairwise(edges))
    return [
        Cut(edges[0], holdout_at, tuple(blocks[group - 1] for group in groups), groups)
        for groups in SPLITS
    ]


def make_folds(
    samples: Samples,
    spec: EvaluationSpec,
    *,
    context_bars: int,
    bar_ns: int,
    holdout_at: int,
) -> list[Fold]:
    """Folds of one candle series by the scheme of the spec, purged and embargoed.

    Nothing behind `holdout_at` is used: a labelled sample's label ends by then, a predicted window
    is known by then. A training sample ends its label at least `embargo_bars` before the first
    window of a test block is known, or is known at least that long after the block's last label has
    ended; between fit, validation and calibration (80/10/10 of the training part's time, test blocks
    and what is left out around them not counted) the distance is at least `context_bars` too, so
    that inputs do not overlap. Raises NotEnoughHistory when a slice or a test block has fewer than
    200 samples.
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
        "Use more history, fewer folds or another scheme, a shorter embargo or a smaller hold-out.",
        found=samples,
        needed=LEAST_SAMPLES,
    )


def refuse_thin_instruments(
    folds: Sequence[Fold], samples: Samples, instruments: Sequence[str]
) -> None:
    """Raise NotEnoughHistory when one of several instruments has fewer than 200 samples in a slice.

    `instruments` are their names; none where there is one.
    """
    for fold, name in product(folds, SLICES if instruments else ()):
        each = samples.by_instrument(getattr(fold, name))
        for instrument, of in zip(instruments, each, strict=True):
            if of.size < LEAST_SAMPLES:
                raise NotEnoughHistory(
                    f"Fold {fold.number} has {of.size} {name} samples of {instrument}, expected at "
                    f"least {LEAST_SAMPLES} of each instrument. Leave it out, or use the time that "
                    "all instruments have.",
                    found=int(of.size),
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
    blocks = [
        np.flatnonzero((known_at > after) & (known_at <= min(until, holdout_at)))
        for after, until in cut.tests
    ]
    tests = [block[usable[block]] for block in blocks]
    cut.refuse_small_tests(number, [test.size for test in tests])
    predicted = np.concatenate(blocks)
    is_training = usable & (known_at > cut.train_after) & (known_at <= cut.train_until)
    is_training[predicted] = False
    training, purged, embargoed = _keep_away(
        samples, np.flatnonzero(is_training), blocks, embargo_bars * bar_ns
    )
    refuse_small(number, "training", training.size)
    clock = _training_clock(known_at[training], blocks, samples, bar_ns)
    distance_ns = max(embargo_bars, context_bars) * bar_ns
    pieces = _slice_training(samples, training, clock, distance_ns, bar_ns)
    slices = {name: piece for name, (piece, _, _) in pieces.items()}
    slices["test"] = np.concatenate(tests)
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
        effective={name: samples.effective(positions) for name, positions in slices.items()},
        blocks=dict(zip(cut.groups, blocks, strict=False)),
        parts=_parts(samples, slices, blocks, cut.groups) if cut.groups else {},
        **slices,
    )


def _slice_training(
    samples: Samples,
    training: Positions,
    clock: NDArray[np.int64],
    distance_ns: int,
    bar_ns: int,
) -> dict[str, tuple[Positions, int, int]]:
    """Fit, validation and calibration by training time, each with its purged and embargoed count."""
    span = int(clock[-1] - clock[0])
    ends = [
        clock[0] + on_grid(share * span, bar_ns)
        for share in (FIT_SHARE, FIT_SHARE + VALIDATION_SHARE)
    ]
    fit, validation, calibration = np.split(training, np.searchsorted(clock, ends, side="right"))
    pieces = {"calibration": (calibration, 0, 0)}
    for name, piece, later in (("validation", validation, calibration), ("fit", fit, validation)):
        pieces[name] = _keep_away(samples, piece, [later], distance_ns)
    return pieces


def _training_clock(
    known_at: NDArray[np.int64], blocks: Sequence[Positions], samples: Samples, bar_ns: int
) -> NDArray[np.int64]:
    """The instants of training samples with the time between two stretches taken out."""
    clock = known_at.copy()
    for begin in _stretches(known_at, blocks, samples):
        clock[begin:] -= known_at[begin] - known_at[begin - 1] - bar_ns
    return clock


def _stretches(
    known_at: NDArray[np.int64], blocks: Sequence[Positions], samples: Samples
) -> Positions:
    """Where samples go on behind a test block: places in `known_at`, the first stretch left out."""
    starts = [samples.known_at[block[0]] for block in blocks]
    return np.flatnonzero(np.diff(np.searchsorted(starts, known_at))) + 1


def _parts(
    samples: Samples,
    slices: Mapping[str, Positions],
    blocks: Sequence[Positions],
    groups: Sequence[int],
) -> dict[str, list[Part]]:
    """The stretches of each slice; those of the test slice are its groups."""
    known_at, label_end_at = samples.known_at, samples.label_end_at

    def part(positions: Positions, group: int = 0) -> Part:
        span = int(known_at[positions[0]]), int(label_end_at[positions].max())
        return Part(*span, int(positions.size), group)

    parts = {
        name: [
            part(piece)
            for piece in np.split(positions, _stretches(known_at[positions], blocks, samples))
        ]
        for name, positions in slices.items()
        if name != "test"
    }
    tests = [np.intersect1d(slices["test"], block) for block in blocks]
    parts["test"] = [part(test, group) for test, group in zip(tests, groups, strict=True)]
    return parts


def _keep_away(
    samples: Samples, positions: Positions, others: Sequence[Positions], distance_ns: int
) -> tuple[Positions, int, int]:
    """Drop what meets or comes too near to the time of any of the others: (kept, purged, embargoed)."""
    known_at, label_end_at = samples.known_at[positions], samples.label_end_at[positions]
    meets, near = np.zeros((2, positions.size), dtype=np.bool_)
    for other in others:
        if other.size:
            first, last = samples.known_at[other[0]], samples.label_end_at[other].max()
            meets |= (label_end_at >= first) & (known_at <= last)
            near |= (label_end_at > first - distance_ns) & (known_at < last + distance_ns)
    near &= ~meets
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
