"""What a finished fold gives: predictions of the network and of the rungs, thresholds, scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.baselines.ladder import Ladder, LadderCase, budget_of, climb, ladder_of
from modeling.baselines.rungs import trade_pays
from modeling.evaluation.bands import fit_band
from modeling.evaluation.calibration import fit_calibrator
from modeling.evaluation.table import INSTRUMENT, PREDICTED, Table
from modeling.evaluation.thresholds import CalibrationActions
from modeling.judging import MODEL, fold_metrics
from modeling.measures import rung_label
from modeling.network.heads import FiveHeads
from modeling.specs import ModelSpec
from modeling.training.fit import FittedFold, FoldTask
from modeling.training.machine import Precision
from modeling.training.predict import HeadOutputs, predict
from modeling.training.resident import (
    ResidentWindows,
    Standard,
    Standards,
    window_log_volatility,
)
from modeling.windows.learned import AppliedFit, FoldWindows
from modeling.windows.make import Bars, Windows
from modeling.windows.targets import Labels


@dataclass(frozen=True)
class FoldResult:
    """Tables by rung ("model" is ours; NaN throughout where a rung failed), actions on the calibration
    slice, scores, what to keep, and the ladder they come from.
    """

    tables: dict[str, Table]
    calibration: CalibrationActions
    metrics: dict[str, Any]
    state: dict[str, Any]
    ladder: Ladder


def finish_fold(
    spec: ModelSpec,
    windows: Windows,
    fold: FoldWindows,
    fitted: FittedFold,
    task: FoldTask,
    *,
    seed: int,
    unspent_s: float = 0.0,
    between: Callable[[str], None] = lambda doing: None,
) -> FoldResult:
    """Calibrate on the calibration slice, predict every window of the test block, climb the ladder of
    baselines, score the fold.

    `unspent_s` are the seconds that the ladders of earlier folds have left.
    `between` is called with what is being done, between batches of predictions and again and again in
    each rung, and may raise.
    """
    calibration = windows.bars(fold.fold.calibration)
    predicted = windows.bars(fold.fold.predicted)
    seen, ahead = (
        head_outputs(
            fitted.network,
            task.resident,
            windows.each(bars),
            fold,
            precision=fitted.precision,
            between=lambda: between("predicting"),
        )
        for bars in (calibration, predicted)
    )
    cost_bps = spec.target.cost_bps
    pays = trade_pays(seen.action, fold.labels.realised_return[calibration], cost_bps)
    calibrator = fit_calibrator(seen.confidence_raw, pays)
    known = known_columns(windows, fold.labels, predicted, fold=fold.fold.number, seed=seed)
    ours = known | model_columns(ahead, calibrator.apply(ahead.confidence_raw))
    case = LadderCase(spec, windows, fold, task, float(pays.mean()), seed)
    ladder = climb(
        case,
        budget_s=budget_of(fitted.seconds, len(windows.folds), unspent_s),
        between=lambda rung: between(f"baseline {rung_label(rung)}"),
    )
    empty: Table = {}
    columns = {
        name: ladder.rungs[name].columns if name in ladder.rungs else empty
        for name in ladder_of(spec)
    }
    tables = {MODEL: ours} | {
        name: known | _filled(found, len(predicted)) for name, found in columns.items()
    }
    return FoldResult(
        tables=tables,
        calibration=CalibrationActions(
            windows.open_time[calibration], {MODEL: seen.action, **_calibration_actions(ladder)}
        ),
        metrics=fold_metrics(tables, spec, fold.fold.effective["test"]),
        state={
            **fold.learned.to_json(),
            "calibrator": calibrator.to_json(),
            "volatility_band": fit_band(
                seen.volatility, np.exp(fold.labels.log_volatility[calibration])
            ).to_json(),
            "half_lives": fitted.network.half_lives(),
            **window_volatility(spec, windows, windows.bars(fold.fold.fit)).to_json(),
            "effective": fold.fold.effective,
            "notes": {
                name: list(found.notes) for name, found in ladder.rungs.items() if found.notes
            },
            "failed": ladder.failed,
            "ladder_time": ladder.time,
        },
        ladder=ladder,
    )


def head_outputs(
    network: FiveHeads,
    resident: ResidentWindows,
    bars: Sequence[Bars],
    applied: AppliedFit,
    *,
    precision: Precision,
    between: Callable[[], None],
) -> HeadOutputs:
    """Outputs for the bars of each instrument, one after the other; no batch holds bars of two, so
    that an instrument alone gives the same bits.
    """
    each = [
        predict(
            network,
            resident,
            own,
            volatility_mean=applied.volatility_mean[own],
            volatility_std=applied.volatility_std[own],
            precision=precision,
            between=between,
        )
        for own in [own for own in bars if own.size] or bars[:1]
    ]
    return HeadOutputs.joined(each)


def window_volatility(spec: ModelSpec, windows: Windows, fit_bars: Bars) -> Standards:
    """Mean and spread of the windows' log volatility in the fit slice; the network sees its z-score."""
    volatility = log_volatility_of(windows, spec.windows.context_bars)
    own = {}
    if windows.is_pooled:
        own = {
            part.instrument: Standard.fitted(volatility[part.span], part.own(fit_bars))
            for part in windows.parts
        }
    return Standards(Standard.fitted(volatility, fit_bars), own)


def log_volatility_of(windows: Windows, context_bars: int) -> NDArray[np.float64]:
    """Log volatility of the window that ends at each bar [N], each instrument by itself."""
    each = [
        window_log_volatility(windows.returns[part.span], context_bars) for part in windows.parts
    ]
    return np.concatenate(each)


def _calibration_actions(ladder: Ladder) -> dict[str, NDArray[np.float64]]:
    return {
        name: found.calibration_action
        for name, found in ladder.rungs.items()
        if found.calibration_action is not None
    }


def known_columns(windows: Windows, labels: Labels, bars: Bars, *, fold: int, seed: int) -> Table:
    """Times and realised values of the predicted bars; NaN and −1 where not yet known."""
    return {
        **({INSTRUMENT: windows.instruments_of(bars)} if windows.is_pooled else {}),
        "open_at": windows.open_time[bars],
        "known_at": windows.close_time[bars],
        "fold": np.full(len(bars), fold, dtype=np.int64),
        "seed": np.full(len(bars), seed, dtype=np.int64),
        "realised_return": labels.realised_return[bars],
        "realised_regime": labels.regime[bars].astype(np.int64),
        "realised_volatility": np.exp(labels.log_volatility[bars]),
        "realised_risk": labels.risk[bars].astype(np.int64),
    }


def model_columns(outputs: HeadOutputs, confidence: NDArray[np.float64]) -> Table:
    return {
        "action": outputs.action,
        **{f"regime_{k}": outputs.market_regime[:, k] for k in range(4)},
        "confidence": confidence,
        "confidence_raw": outputs.confidence_raw,
        "volatility": outputs.volatility,
        **{f"risk_{k}": outputs.risk[:, k] for k in range(3)},
    }


def _filled(columns: dict[str, Any], rows: int) -> Table:
    """All predicted columns; NaN for heads the rung does not have."""
    return {name: columns.get(name, np.full(rows, np.nan)) for name in PREDICTED}
