"""From features to everything that folds are cut from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.splice import splice_prices
from markets.features.table import FeatureTable
from modeling.specs import ModelSpec
from modeling.windows.samples import Samples, eligible_samples
from modeling.windows.scaling import Scalers, fit_scalers
from modeling.windows.selection import Selection, fit_rows, select_features
from modeling.windows.splits import Fold, audit_intervals, make_folds
from modeling.windows.targets import (
    Labels,
    RawTargets,
    TargetScale,
    fit_targets,
    label,
    raw_targets,
)


@dataclass(frozen=True)
class Windows:
    """Samples, folds and unthresholded labels of one candle series.

    `returns` [N] are log returns from close to close, spliced over gaps, NaN at bar 0.
    """

    candles: Candles
    table: FeatureTable
    samples: Samples
    folds: list[Fold]
    raw: RawTargets
    returns: NDArray[np.float64]

    def bars(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the base bars of samples."""
        return self.samples.bar[positions]


@dataclass(frozen=True)
class FoldFit:
    """All that is learned from a fit slice before training, and from nothing else."""

    selection: Selection
    scalers: Scalers
    scale: TargetScale

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data: checkpoints and the finished fold carry it."""
        return {
            "selection": self.selection.to_json(),
            "scalers": self.scalers.to_json(),
            "targets": self.scale.to_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """What `to_json` wrote, equal bit for bit; other keys are not looked at."""
        return cls(
            Selection.from_json(data["selection"]),
            Scalers.from_json(data["scalers"]),
            TargetScale.from_json(data["targets"]),
        )


@dataclass(frozen=True)
class FoldWindows:
    """What one fold learned from its fit slice, and its arrays scaled with that.

    `scaled` {k: float32 [N_k, F]} holds the F selected features; labels are by base bar.
    """

    fold: Fold
    learned: FoldFit
    labels: Labels
    scaled: dict[int, NDArray[np.float32]]

    @property
    def scale(self) -> TargetScale:
        """Thresholds, means and priors of the labels."""
        return self.learned.scale


def make_windows(
    candles: Candles, table: FeatureTable, spec: ModelSpec, *, holdout_at: int
) -> Windows:
    """Samples and purged folds of candles that end at or before `holdout_at` (ns UTC).

    Raises NotEnoughHistory when a slice is too small, IntervalsMeet when a promise of the split
    does not hold.
    """
    windows = cut_windows(candles, table, spec)
    folds = make_folds(
        windows.samples,
        spec.evaluation,
        context_bars=spec.windows.context_bars,
        bar_ns=candles.bar_ns,
        holdout_at=holdout_at,
    )
    audit_intervals(folds, windows.samples, holdout_at)
    return dataclasses.replace(windows, folds=folds)


def cut_windows(candles: Candles, table: FeatureTable, spec: ModelSpec) -> Windows:
    """Samples and label values of candles, without folds: for a model that is trained already.

    Raises NotEnoughHistory when no window is complete.
    """
    samples = eligible_samples(
        candles,
        table,
        context_bars=spec.windows.context_bars,
        horizon_bars=spec.windows.horizon_bars,
        regime_bars=spec.target.regime_bars,
    )
    spliced = splice_prices(candles)
    returns = np.full(len(candles), np.nan)
    returns[1:] = np.log(spliced.close[1:] / spliced.close[:-1])
    raw = raw_targets(
        candles,
        spliced,
        horizon_bars=spec.windows.horizon_bars,
        regime_bars=spec.target.regime_bars,
        target=spec.target,
    )
    return Windows(candles, table, samples, [], raw, returns)


def learn_from_fit(
    table: FeatureTable,
    raw: RawTargets,
    fit_bars: NDArray[np.int64],
    spec: ModelSpec,
    *,
    selection: Selection | None = None,
) -> FoldFit:
    """Thresholds of the labels, the selected features and their scalers on all scales.

    Features are selected on the base scale, scaled by the fit slice; `selection` takes the place of
    a new one. Raises NotEnoughHistory when the slice has no sample or no bar of a scale.
    """
    scale = fit_targets(raw, fit_bars)
    if selection is None:
        selection = _selected(table, label(raw, scale), fit_bars, spec)
    return FoldFit(selection, fit_scalers(table.only(selection.names), fit_bars), scale)


def prepare_fold(
    windows: Windows, fold: Fold, spec: ModelSpec, *, selection: Selection | None = None
) -> FoldWindows:
    """Learn from the fit slice what `learn_from_fit` says, and apply it everywhere.

    `selection` is the one training began with, when it goes on.
    """
    learned = learn_from_fit(
        windows.table, windows.raw, windows.bars(fold.fit), spec, selection=selection
    )
    return FoldWindows(
        fold=fold,
        learned=learned,
        labels=label(windows.raw, learned.scale),
        scaled=learned.scalers.apply(windows.table.only(learned.selection.names)),
    )


def _selected(
    table: FeatureTable, labels: Labels, fit_bars: NDArray[np.int64], spec: ModelSpec
) -> Selection:
    if spec.features.count == len(table.names):
        return Selection(table.names, {}, {})
    # Of the base scale, only the fit slice is scaled: choosing reads no other row.
    base = dataclasses.replace(table, scales={1: table.base})
    at_fit = dataclasses.replace(table.base, values=table.base.values[:, fit_bars])
    scaled = fit_scalers(base, fit_bars).apply_scale(at_fit)
    return select_features(
        [fit_rows(scaled, labels, fit_bars)],
        table.names,
        select_top=spec.features.most_kept,
        horizon_bars=spec.windows.horizon_bars,
    )
