"""From features to everything that folds are cut from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.splice import splice_prices
from markets.features.table import FeatureTable
from modeling.specs import ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.samples import Samples, eligible_samples, in_order_of_time
from modeling.windows.scaling import Scalers, fit_pooled_scalers, fit_scalers
from modeling.windows.selection import FitRows, Selection, fit_rows, select_features
from modeling.windows.splits import Fold, audit_intervals, make_folds, refuse_thin_instruments
from modeling.windows.targets import (
    Labels,
    RawTargets,
    TargetScale,
    fit_targets,
    join_raw,
    label,
    label_each,
    raw_targets,
    volatility_of,
)

Bars = NDArray[np.int64]


@dataclass(frozen=True)
class PoolPart:
    """One instrument: its candles and features. Its first bar has the number `first_bar` where the
    bars of several instruments are numbered through.
    """

    instrument: str
    candles: Candles
    table: FeatureTable
    first_bar: int = 0

    @property
    def span(self) -> slice:
        """Its place among the bars of all instruments."""
        return slice(self.first_bar, self.first_bar + len(self.candles))

    def own(self, bars: Bars) -> Bars:
        """Those of the bars that are its own, numbered within it."""
        is_own = (bars >= self.span.start) & (bars < self.span.stop)
        return bars[is_own] - self.first_bar


@dataclass(frozen=True)
class Windows:
    """Samples, folds and unthresholded labels of one instrument, or of several one after the other.

    Bars are numbered through: arrays by bar [N] hold the `parts` in order of their instruments.
    Samples of all stand in order of time, so that every cut in time is the same for all.
    `returns` [N] are log returns from close to close, spliced over gaps, NaN at the first bar of
    each instrument.
    """

    parts: tuple[PoolPart, ...]
    samples: Samples
    folds: list[Fold]
    raw: RawTargets
    returns: NDArray[np.float64]

    def bars(self, positions: NDArray[np.int64]) -> Bars:
        """Numbers of the base bars of samples, rising: one instrument after the other."""
        return np.sort(self.samples.bar[positions])

    @property
    def only(self) -> PoolPart:
        """The one instrument. Raises ValueError where there are several."""
        (found,) = self.parts
        return found

    def alone(self, part: PoolPart) -> Windows:
        """The windows of one of the instruments, its bars numbered from 0; without folds."""
        of = self.samples.by_instrument(np.arange(len(self.samples)))[self.parts.index(part)]
        return Windows(
            parts=(dataclasses.replace(part, first_bar=0),),
            samples=self.samples.some(of, first_bar=part.first_bar),
            folds=[],
            raw=self.raw.at(part.span),
            returns=self.returns[part.span],
        )

    def each(self, bars: Bars) -> list[Bars]:
        """The bars of each instrument among rising ones, numbered through still."""
        return np.split(bars, np.searchsorted(bars, self.starts(1)[1:]))

    @property
    def names(self) -> tuple[str, ...]:
        """The features that were computed."""
        return self.parts[0].table.names

    @property
    def scales(self) -> tuple[int, ...]:
        """The timescales, 1 among them."""
        return tuple(self.parts[0].table.scales)

    @property
    def timeframe_minutes(self) -> int:
        """Length of a base bar, the same for all instruments."""
        return self.parts[0].candles.timeframe_minutes

    @property
    def bar_ns(self) -> int:
        """Length of a base bar in nanoseconds."""
        return self.parts[0].candles.bar_ns

    @property
    def is_pooled(self) -> bool:
        """Whether there are several instruments."""
        return len(self.parts) > 1

    @property
    def pooled_names(self) -> tuple[str, ...]:
        """The names of several instruments; none where there is one."""
        return tuple(part.instrument for part in self.parts) if self.is_pooled else ()

    @cached_property
    def open_time(self) -> Bars:
        """Open of each bar [N], ns UTC."""
        return np.concatenate([part.candles.time for part in self.parts])

    @cached_property
    def close_time(self) -> Bars:
        """Close of each bar [N], ns UTC."""
        return np.concatenate([part.candles.close_time for part in self.parts])

    def starts(self, scale: int) -> Bars:
        """Number of the first bar of each instrument [I] among the bars of a timescale."""
        rows = [part.table.scales[scale].open_time.size for part in self.parts]
        return np.cumsum([0, *rows[:-1]])

    def last_closed(self, scale: int) -> NDArray[np.int32]:
        """Number of the latest bar of a timescale closed by the close of each base bar [N], −1: none."""
        starts = self.starts(scale)
        maps = [part.table.scales[scale].last_closed for part in self.parts]
        return np.concatenate(
            [
                np.where(of >= 0, of + start, -1).astype(np.int32)
                for of, start in zip(maps, starts, strict=True)
            ]
        )

    def instruments_of(self, bars: Bars) -> NDArray[np.object_]:
        """The name of the instrument of each bar [n]."""
        names = np.array([part.instrument for part in self.parts], dtype=object)
        return names[np.searchsorted(self.starts(1), bars, side="right") - 1]


@dataclass(frozen=True)
class InstrumentFit:
    """What is learned of one instrument apart: its scalers, and mean and spread of its log volatility."""

    scalers: Scalers
    volatility_mean: float
    volatility_std: float

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data in the shape of `FoldFit`."""
        targets = {"volatility_mean": self.volatility_mean, "volatility_std": self.volatility_std}
        return {"scalers": self.scalers.to_json(), "targets": targets}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """What `to_json` wrote, equal bit for bit."""
        return cls(Scalers.from_json(data["scalers"]), **data["targets"])


@dataclass(frozen=True)
class FoldFit:
    """All that is learned from a fit slice before training, and from nothing else.

    `scalers` and `scale` are those of all instruments together; with several, `own` holds what is
    learned of each apart.
    """

    selection: Selection
    scalers: Scalers
    scale: TargetScale
    own: dict[str, InstrumentFit] = field(default_factory=dict)

    def scalers_of(self, instrument: str) -> Scalers:
        """Its own scalers; the pooled ones for an instrument that was not in training."""
        return self.own[instrument].scalers if instrument in self.own else self.scalers

    def scale_of(self, instrument: str) -> TargetScale:
        """The thresholds of all with its own volatility; the pooled one for an unseen instrument."""
        if instrument not in self.own:
            return self.scale
        found = self.own[instrument]
        return dataclasses.replace(
            self.scale,
            volatility_mean=found.volatility_mean,
            volatility_std=found.volatility_std,
        )

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data: checkpoints and the finished fold carry it."""
        data: dict[str, Any] = {
            "selection": self.selection.to_json(),
            "scalers": self.scalers.to_json(),
            "targets": self.scale.to_json(),
        }
        if self.own:
            data["instruments"] = {name: own.to_json() for name, own in self.own.items()}
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """What `to_json` wrote, equal bit for bit; other keys are not looked at."""
        own = data.get("instruments", {})
        return cls(
            Selection.from_json(data["selection"]),
            Scalers.from_json(data["scalers"]),
            TargetScale.from_json(data["targets"]),
            {name: InstrumentFit.from_json(found) for name, found in own.items()},
        )


@dataclass(frozen=True)
class AppliedFit:
    """What a fold learned, applied to the bars of some windows, numbered through.

    `scaled` {k: float32 [N_k, F]} holds the F selected features; labels are by base bar;
    `volatility_mean` and `volatility_std` [N] undo the standardising of log volatility.
    """

    labels: Labels
    scaled: dict[int, NDArray[np.float32]]
    volatility_mean: NDArray[np.float64]
    volatility_std: NDArray[np.float64]


@dataclass(frozen=True)
class FoldWindows(AppliedFit):
    """One fold with what it learned from its fit slice, and its arrays scaled and labelled with that."""

    fold: Fold
    learned: FoldFit

    @property
    def scale(self) -> TargetScale:
        """Thresholds, means and priors of the labels, of all instruments together."""
        return self.learned.scale


def make_windows(
    candles: Candles, table: FeatureTable, spec: ModelSpec, *, holdout_at: int
) -> Windows:
    """`pool_windows` of one candle series."""
    return pool_windows([PoolPart("", candles, table)], spec, holdout_at=holdout_at)


def pool_windows(parts: Sequence[PoolPart], spec: ModelSpec, *, holdout_at: int) -> Windows:
    """Samples and purged folds of instruments whose candles end at or before `holdout_at` (ns UTC).

    All are cut at the same instants. Raises NotEnoughHistory when a slice is too small, for all or
    for one of several instruments, IntervalsMeet when a promise of the split does not hold.
    """
    windows = cut_pool(parts, spec)
    folds = make_folds(
        windows.samples,
        spec.evaluation,
        context_bars=spec.windows.context_bars,
        bar_ns=windows.bar_ns,
        holdout_at=holdout_at,
    )
    refuse_thin_instruments(folds, windows.samples, windows.pooled_names)
    audit_intervals(folds, windows.samples, holdout_at)
    return dataclasses.replace(windows, folds=folds)


def cut_windows(
    candles: Candles, table: FeatureTable, spec: ModelSpec, instrument: str = ""
) -> Windows:
    """`cut_pool` of one candle series."""
    return cut_pool([PoolPart(instrument, candles, table)], spec)


def cut_pool(parts: Sequence[PoolPart], spec: ModelSpec) -> Windows:
    """Samples and label values of instruments, without folds: for a model that is trained already.

    Raises NotEnoughHistory when an instrument has no complete window, ValueError for instruments of
    the same name or of different timeframes.
    """
    lined_up = _lined_up(parts)
    cut = [_cut(part, spec, named=len(lined_up) > 1) for part in lined_up]
    return Windows(
        parts=lined_up,
        samples=in_order_of_time(
            [samples for samples, _, _ in cut], [part.first_bar for part in lined_up]
        ),
        folds=[],
        raw=join_raw([raw for _, raw, _ in cut]),
        returns=np.concatenate([returns for _, _, returns in cut]),
    )


def _lined_up(parts: Sequence[PoolPart]) -> tuple[PoolPart, ...]:
    """The parts in order of their instruments, with the numbers of their first bars."""
    names = [part.instrument for part in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"found an instrument twice among {names}")
    if len({part.candles.timeframe_minutes for part in parts}) != 1:
        raise ValueError("found different timeframes; expected one for all instruments")
    ordered = sorted(parts, key=lambda part: part.instrument)
    firsts = np.cumsum([0, *(len(part.candles) for part in ordered)])
    return tuple(
        dataclasses.replace(part, first_bar=int(first))
        for part, first in zip(ordered, firsts[:-1], strict=True)
    )


def _cut(
    part: PoolPart, spec: ModelSpec, *, named: bool
) -> tuple[Samples, RawTargets, NDArray[np.float64]]:
    """Samples, label values and returns of one instrument, bars numbered within it. A refusal says
    which where it is `named`.
    """
    candles, horizon, regime = part.candles, spec.windows.horizon_bars, spec.target.regime_bars
    try:
        samples = eligible_samples(
            candles,
            part.table,
            context_bars=spec.windows.context_bars,
            horizon_bars=horizon,
            regime_bars=regime,
        )
    except NotEnoughHistory as error:
        if not named:
            raise
        text = f"{part.instrument}: {error}"
        raise NotEnoughHistory(text, found=error.found, needed=error.needed) from error
    spliced = splice_prices(candles)
    returns = np.full(len(candles), np.nan)
    returns[1:] = np.log(spliced.close[1:] / spliced.close[:-1])
    raw = raw_targets(
        candles, spliced, horizon_bars=horizon, regime_bars=regime, target=spec.target
    )
    return samples, raw, returns


def learn_from_fit(
    parts: Sequence[PoolPart],
    raw: RawTargets,
    fit_bars: Bars,
    spec: ModelSpec,
    *,
    selection: Selection | None = None,
) -> FoldFit:
    """Thresholds of the labels, the selected features and their scalers on all scales.

    `raw` and `fit_bars` number the bars of all parts through. Thresholds, priors and the selection
    are those of all instruments together; features are selected on the base scale, each instrument
    scaled by its own fit slice. `selection` takes the place of a new one. Raises NotEnoughHistory
    when the slice, or that of one of several instruments, has no sample or no bar of a scale.
    """
    scale = fit_targets(raw, fit_bars)
    if selection is None:
        selection = _selected(parts, raw, scale, fit_bars, spec)
    slices = [(part.table.only(selection.names), part.own(fit_bars)) for part in parts]
    own = {}
    if len(parts) > 1:
        own = {
            part.instrument: InstrumentFit(
                fit_scalers(*found), *volatility_of(raw.at(part.span), found[1])
            )
            for part, found in zip(parts, slices, strict=True)
        }
    return FoldFit(selection, fit_pooled_scalers(slices), scale, own)


def prepare_fold(
    windows: Windows, fold: Fold, spec: ModelSpec, *, selection: Selection | None = None
) -> FoldWindows:
    """Learn from the fit slice what `learn_from_fit` says, and apply it everywhere.

    `selection` is the one training began with, when it goes on.
    """
    learned = learn_from_fit(
        windows.parts, windows.raw, windows.bars(fold.fit), spec, selection=selection
    )
    applied = apply_fit(windows, learned)
    return FoldWindows(**vars(applied), fold=fold, learned=learned)


def apply_fit(windows: Windows, learned: FoldFit) -> AppliedFit:
    """Labels and scaled features of all bars; an instrument that was not in training is scaled by the
    statistics of all that were.
    """
    scales = [learned.scale_of(part.instrument) for part in windows.parts]
    sizes = [len(part.candles) for part in windows.parts]
    each = [
        learned.scalers_of(part.instrument).apply(part.table.only(learned.selection.names))
        for part in windows.parts
    ]
    spans = [part.span for part in windows.parts]
    return AppliedFit(
        labels=label_each(windows.raw, list(zip(spans, scales, strict=True))),
        scaled={k: _joined([scaled[k] for scaled in each]) for k in windows.scales},
        volatility_mean=np.repeat([scale.volatility_mean for scale in scales], sizes),
        volatility_std=np.repeat([scale.volatility_std for scale in scales], sizes),
    )


def _joined(arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _selected(
    parts: Sequence[PoolPart], raw: RawTargets, scale: TargetScale, fit_bars: Bars, spec: ModelSpec
) -> Selection:
    names = parts[0].table.names
    if spec.features.count == len(names):
        return Selection(names, {}, {})
    return select_features(
        [_rows_to_select_from(part, raw, scale, part.own(fit_bars)) for part in parts],
        names,
        select_top=spec.features.most_kept,
        horizon_bars=spec.windows.horizon_bars,
    )


def _rows_to_select_from(
    part: PoolPart, raw: RawTargets, scale: TargetScale, bars: Bars
) -> FitRows:
    """Of the base scale, only the fit slice is scaled: choosing reads no other row."""
    base = dataclasses.replace(part.table, scales={1: part.table.base})
    at_fit = dataclasses.replace(part.table.base, values=part.table.base.values[:, bars])
    scaled = fit_scalers(base, bars).apply_scale(at_fit)
    return fit_rows(scaled, label(raw.at(part.span), scale), bars)
