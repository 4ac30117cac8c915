"""From candles to out-of-sample outputs: a signal that is there is found, and none is made up."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from markets.candles.synthetic import planted_candles
from markets.features.compute import compute_features
from modeling.evaluation.intervals import Interval, auc_interval
from modeling.presets import PRESETS
from modeling.specs import EvaluationSpec
from modeling.training.fit import FoldTask, fit
from modeling.training.observer import Unobserved
from modeling.training.predict import predict
from modeling.training.resident import (
    ResidentWindows,
    ScaledBars,
    standardised,
    window_log_volatility,
)
from modeling.windows.make import make_windows, prepare_fold
from tests.modeling.training.markets import PROVENANCE

BARS = 20_000
SIGNAL = "volume_z_48"


def out_of_sample(
    information_coefficient: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Action, return over the horizon and the planted feature on the test block of one cut."""
    spec = PRESETS["tiny"].model_copy(update={"evaluation": EvaluationSpec(scheme="single")})
    candles = planted_candles(
        bars=BARS, information_coefficient=information_coefficient, horizon_bars=12, seed=0
    )
    table = compute_features(candles, spec.features.names(), spec.features.scales_for(5))
    windows = make_windows(candles, table, spec, holdout_at=int(candles.close_time[-1]))
    fold = prepare_fold(windows, windows.folds[0], spec)
    fit_bars = windows.bars(fold.fold.fit)
    volatility = window_log_volatility(windows.returns, spec.windows.context_bars)
    bars = ScaledBars(
        scaled=fold.scaled,
        last_closed={k: scale.last_closed for k, scale in table.scales.items() if k > 1},
        close_time_ns=candles.close_time,
        bar_ns=candles.bar_ns,
        log_volatility_z=standardised(volatility, fit_bars),
    )
    resident = ResidentWindows(
        bars, context_bars=spec.windows.context_bars, patch_bars=spec.network.patch_bars
    )
    validation = windows.bars(fold.fold.validation)
    task = FoldTask(1, resident, fold.labels, fold.scale, fit_bars, validation)
    fitted = fit(spec, task, provenance=PROVENANCE, observer=Unobserved())
    test = windows.bars(fold.fold.test)
    outputs = predict(fitted.network, resident, test, volatility_mean=0.0, volatility_std=1.0)
    signal = table.base.values[table.names.index(SIGNAL)][test]
    return outputs.action, fold.labels.realised_return[test], signal


def direction_auc(
    action: NDArray[np.float64], realised: NDArray[np.float64], name: str
) -> tuple[float, Interval]:
    """The AUC and its 95 % block-bootstrap interval; printed for whoever runs with -s."""
    value, found = auc_interval(action, realised, horizon_bars=12, draws=500, seed=0)
    assert found is not None
    print(f"{name}: AUC {value:.4f}, 95 % interval {found[0]:.4f} to {found[1]:.4f}")
    return value, found


@pytest.mark.slow
def test_planted_signal_is_found_out_of_sample() -> None:
    action, realised, signal = out_of_sample(0.3)
    reached = np.corrcoef(action, realised)[0, 1]
    possible = np.corrcoef(signal, realised)[0, 1]
    print(f"planted signal: correlation {reached:.4f} of {possible:.4f} that are there")
    assert possible > 0.2
    assert reached > 0.8 * possible
    value, (low, high) = direction_auc(action, realised, "planted signal")
    assert value == pytest.approx(roc_auc_score(realised > 0, action), abs=2e-3)
    assert 0.5 < low < value < high


@pytest.mark.slow
def test_market_without_signal_is_not_foretold() -> None:
    action, realised, _ = out_of_sample(0.0)
    _, (low, high) = direction_auc(action, realised, "no signal")
    assert low < 0.5 < high
