"""What an experiment on several instruments will look like: the folds of their common calendar span,
and the samples that each instrument has in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markets.candles.frame import NS_PER_MINUTE
from modeling.specs import ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.planning import Plan, PlannedFold, plan_experiment
from modeling.windows.samples import SCALE_BARS, first_window
from modeling.windows.splits import LEAST_SAMPLES, SLICES

Span = tuple[int, int]
"""First open and last close of the candles of an instrument, ns UTC."""


def plan_pool(spec: ModelSpec, spans: Mapping[str, Span], *, timeframe_minutes: int) -> Plan:
    """The hold-out and the folds for the candles of instruments by name, none of them with a gap.

    The calendar span from the first open of any to the last close of any is cut; windows and samples
    are those of all instruments together, effective samples those of the largest. Raises
    NotEnoughHistory when a slice would be too small, for all or for one of several instruments.
    """
    first = min(first for first, _ in spans.values())
    last = max(last for _, last in spans.values())
    plan = plan_experiment(
        spec, first_open=first, last_close=last, timeframe_minutes=timeframe_minutes
    )
    if len(spans) == 1:
        return plan
    each = {name: _Instrument.of(spec, span, timeframe_minutes) for name, span in spans.items()}
    folds = [_pooled(fold, each) for fold in plan.folds]
    return Plan(plan.holdout_at, sum(of.windows for of in each.values()), folds)


@dataclass(frozen=True)
class _Instrument:
    """Samples of one instrument, one a bar, known from `first_known_at` and labelled from
    `first_labelled_at` on; labels end by `last_close`.
    """

    first_known_at: int
    first_labelled_at: int
    last_close: int
    bar_ns: int
    label_ns: int

    @classmethod
    def of(cls, spec: ModelSpec, span: Span, timeframe_minutes: int) -> _Instrument:
        bar_ns = timeframe_minutes * NS_PER_MINUTE
        first = first_window(
            spec.features.names(),
            spec.features.scales_for(timeframe_minutes),
            spec.windows.context_bars,
            first_open=span[0],
            timeframe_minutes=timeframe_minutes,
        )
        label_bars = max(spec.windows.horizon_bars, spec.target.regime_bars)
        return cls(
            first_known_at=span[0] + (first + 1) * bar_ns,
            first_labelled_at=span[0] + (max(first, SCALE_BARS) + 1) * bar_ns,
            last_close=span[1],
            bar_ns=bar_ns,
            label_ns=label_bars * bar_ns,
        )

    @property
    def windows(self) -> int:
        return self._between(self.first_known_at, self.last_close)

    def samples(self, stretches: Sequence[Span]) -> int:
        """Labelled samples whose interval lies within one of the stretches of time."""
        return sum(
            self._between(
                max(first, self.first_labelled_at), min(last, self.last_close) - self.label_ns
            )
            for first, last in stretches
        )

    def _between(self, first: int, last: int) -> int:
        return max(0, (last - max(first, self.first_known_at)) // self.bar_ns + 1)


def _pooled(fold: PlannedFold, each: Mapping[str, _Instrument]) -> PlannedFold:
    """A fold of the common span with the samples of all instruments."""
    found = {}
    for slice_name in SLICES:
        stretches = _stretches(fold, slice_name)
        found[slice_name] = [of.samples(stretches) for of in each.values()]
        for name, count in zip(each, found[slice_name], strict=True):
            if count < LEAST_SAMPLES:
                raise NotEnoughHistory(
                    f"Fold {fold.number} would have {count} {slice_name} samples of {name}, expected "
                    f"at least {LEAST_SAMPLES} of each instrument. Leave it out, or use the time that "
                    "all instruments have.",
                    found=count,
                    needed=LEAST_SAMPLES,
                )
    unlabelled = fold.samples["predicted"] - fold.samples["test"]
    samples = {name: sum(counts) for name, counts in found.items()}
    return dataclasses.replace(
        fold,
        samples=samples | {"predicted": samples["test"] + unlabelled * len(each)},
        effective={
            name: fold.effective[name] * max(counts) / fold.samples[name]
            for name, counts in found.items()
        },
        purged=fold.purged * len(each),
        embargoed=fold.embargoed * len(each),
    )


def _stretches(fold: PlannedFold, name: str) -> list[Span]:
    parts = fold.parts.get(name, ())
    return [(part.first, part.last) for part in parts] or [fold.instants[name]]
