"""One fold from candles to a fitted network, by the functions a run calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from markets.candles.frame import Candles
from markets.features.compute import compute_features
from modeling.specs import ModelSpec
from modeling.training.fit import FittedFold, FoldTask, fit
from modeling.training.observer import Unobserved
from modeling.training.predict import HeadOutputs, predict
from modeling.training.resident import (
    ResidentWindows,
    ScaledBars,
    standardised,
    window_log_volatility,
)
from modeling.windows.learned import FoldWindows, prepare_fold
from modeling.windows.make import Windows, make_windows
from modeling.windows.targets import Labels
from tests.modeling.training.markets import PROVENANCE


@dataclass(frozen=True)
class Walk:
    """A fold that was walked through."""

    windows: Windows
    fold: FoldWindows
    task: FoldTask
    fitted: FittedFold

    def predicted(self, part: str, *, batch: int = 1024) -> HeadOutputs:
        """What the network says of one slice of the fold."""
        return predict(
            self.fitted.network,
            self.task.resident,
            self.windows.bars(getattr(self.fold.fold, part)),
            volatility_mean=self.fold.scale.volatility_mean,
            volatility_std=self.fold.scale.volatility_std,
            batch=batch,
        )


def windows_of(candles: Candles, spec: ModelSpec) -> Windows:
    """Windows of all the candles, none of them sealed."""
    table = compute_features(candles, spec.features.names(), spec.features.scales_for(5))
    return make_windows(candles, table, spec, holdout_at=int(candles.close_time[-1]))


def walk(
    windows: Windows,
    spec: ModelSpec,
    *,
    seed: int = PROVENANCE.seed,
    relabel: Callable[[Labels], Labels] = lambda labels: labels,
) -> Walk:
    """Learn, scale and train the first fold; `relabel` spoils its labels first."""
    fold = prepare_fold(windows, windows.folds[0], spec)
    fold = dataclasses.replace(fold, labels=relabel(fold.labels))
    fit_bars = windows.bars(fold.fold.fit)
    volatility = window_log_volatility(windows.returns, spec.windows.context_bars)
    bars = ScaledBars(
        scaled=fold.scaled,
        last_closed={k: windows.last_closed(k) for k in windows.scales if k > 1},
        close_time_ns=windows.close_time,
        bar_ns=windows.bar_ns,
        log_volatility_z=standardised(volatility, fit_bars),
    )
    resident = ResidentWindows(
        bars, context_bars=spec.windows.context_bars, patch_bars=spec.network.patch_bars
    )
    validation = windows.bars(fold.fold.validation)
    thinned = fit_bars[:: spec.windows.stride]
    task = FoldTask(1, resident, fold.labels, fold.scale, thinned, validation)
    provenance = dataclasses.replace(PROVENANCE, seed=seed)
    fitted = fit(spec, task, provenance=provenance, observer=Unobserved())
    return Walk(windows, fold, task, fitted)
