"""From features to everything that folds are cut from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.splice import splice_prices
from markets.features.table import FeatureTable
from modeling.specs import ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.samples import Samples, eligible_samples, in_order_of_time
from modeling.windows.splits import Fold, audit_intervals, make_folds, refuse_thin_instruments
from modeling.windows.targets import RawTargets, join_raw, raw_targets

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
