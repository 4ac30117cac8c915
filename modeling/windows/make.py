"""From features to everything that folds are cut from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.splice import splice_prices
from markets.features.table import FeatureTable
from modeling.specs import ModelSpec
from modeling.windows.samples import Samples, eligible_samples
from modeling.windows.scaling import Scalers, fit_scalers
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
class FoldWindows:
    """What one fold learned from its fit slice, and its arrays scaled with that.

    `scaled` {k: float32 [N_k, F]}; labels are by base bar.
    """

    fold: Fold
    scalers: Scalers
    scale: TargetScale
    labels: Labels
    scaled: dict[int, NDArray[np.float32]]


def make_windows(
    candles: Candles, table: FeatureTable, spec: ModelSpec, *, holdout_at: int
) -> Windows:
    """Samples and purged folds of candles that end at or before `holdout_at` (ns UTC).

    Raises NotEnoughHistory when a slice is too small, IntervalsMeet when a promise of the split
    does not hold.
    """
    samples = eligible_samples(
        candles,
        table,
        context_bars=spec.windows.context_bars,
        horizon_bars=spec.windows.horizon_bars,
        regime_bars=spec.target.regime_bars,
    )
    folds = make_folds(
        samples,
        spec.evaluation,
        context_bars=spec.windows.context_bars,
        bar_ns=candles.bar_ns,
        holdout_at=holdout_at,
    )
    audit_intervals(folds, samples, holdout_at)
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
    return Windows(candles, table, samples, folds, raw, returns)


def prepare_fold(windows: Windows, fold: Fold) -> FoldWindows:
    """Fit scalers and label thresholds on the fit slice, and apply them everywhere."""
    fit_bars = windows.bars(fold.fit)
    scalers = fit_scalers(windows.table, fit_bars)
    scale = fit_targets(windows.raw, fit_bars)
    return FoldWindows(
        fold=fold,
        scalers=scalers,
        scale=scale,
        labels=label(windows.raw, scale),
        scaled=scalers.apply(windows.table),
    )
