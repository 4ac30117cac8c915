"""What a finished fold gives: predictions of the network and of the rungs, thresholds, scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from modeling.baselines.logistic import run_logistic
from modeling.baselines.persistence import persistence_volatility
from modeling.baselines.prior import prior_columns
from modeling.baselines.rungs import RungFailed, RungLabels, trade_pays
from modeling.evaluation.calibration import auto_threshold, fit_calibrator
from modeling.evaluation.table import PREDICTED, Column, Table
from modeling.judging import LOGISTIC, MODEL, PERSISTENCE, PRIOR, fold_metrics
from modeling.specs import ModelSpec
from modeling.training.fit import FittedFold
from modeling.training.predict import HeadOutputs, predict
from modeling.training.resident import ResidentWindows
from modeling.windows.make import FoldWindows, Windows
from modeling.windows.targets import Labels

Bars = NDArray[np.int64]


@dataclass(frozen=True)
class FoldResult:
    """Tables by rung ("model" is ours), thresholds on |action|, scores, and what to keep."""

    tables: dict[str, Table]
    thresholds: dict[str, float]
    metrics: dict[str, Any]
    state: dict[str, Any]
    notes: dict[str, list[str]] = field(default_factory=dict)


def finish_fold(
    spec: ModelSpec,
    windows: Windows,
    fold: FoldWindows,
    fitted: FittedFold,
    resident: ResidentWindows,
    *,
    seed: int,
    between: Callable[[], None] = lambda: None,
) -> FoldResult:
    """Calibrate on the calibration slice, predict every window of the test block, score the fold.

    `between` is called between batches of predictions and between rungs, and may raise.
    """
    calibration = windows.bars(fold.fold.calibration)
    predicted = windows.bars(fold.fold.predicted)
    seen, ahead = (
        predict(
            fitted.network,
            resident,
            bars,
            volatility_mean=fold.scale.volatility_mean,
            volatility_std=fold.scale.volatility_std,
            precision=fitted.precision,
            between=between,
        )
        for bars in (calibration, predicted)
    )
    cost_bps = spec.target.cost_bps
    pays = trade_pays(seen.action, fold.labels.realised_return[calibration], cost_bps)
    calibrator = fit_calibrator(seen.confidence_raw, pays)
    known = _known(windows, fold, predicted, seed)
    ours = known | _model_columns(ahead, calibrator.apply(ahead.confidence_raw))
    tables = {MODEL: ours}
    thresholds = {MODEL: auto_threshold(seen.action)}
    notes: dict[str, list[str]] = {}
    between()
    _add_logistic(tables, thresholds, notes, spec, windows, fold, known)
    between()
    rows = len(predicted)
    tables[PRIOR] = known | _filled(
        prior_columns(
            fold.scale.regime_prior,
            fold.scale.risk_prior,
            float(pays.mean()),
            rows,
        ),
        rows,
    )
    volatility = persistence_volatility(windows.returns, predicted, spec.windows.horizon_bars)
    tables[PERSISTENCE] = known | _filled({"volatility": volatility}, rows)
    between()
    return FoldResult(
        tables=tables,
        thresholds=thresholds,
        metrics=fold_metrics(tables, spec, fold.fold.effective["test"]),
        state={
            **fold.learned.to_json(),
            "calibrator": calibrator.to_json(),
            "half_lives": fitted.network.half_lives(),
            "effective": fold.fold.effective,
        },
        notes=notes,
    )


def _add_logistic(
    tables: dict[str, Table],
    thresholds: dict[str, float],
    notes: dict[str, list[str]],
    spec: ModelSpec,
    windows: Windows,
    fold: FoldWindows,
    known: Table,
) -> None:
    """The logistic rung on the scaled features of the last bar; a failure is a note, not silence."""

    def at(positions: Bars) -> NDArray[np.float64]:
        return fold.scaled[1][windows.bars(positions)].astype(np.float64)

    try:
        result = run_logistic(
            (at(fold.fold.fit), _rung_labels(fold.labels, windows.bars(fold.fold.fit))),
            (
                at(fold.fold.calibration),
                _rung_labels(fold.labels, windows.bars(fold.fold.calibration)),
            ),
            at(fold.fold.predicted),
            cost_bps=spec.target.cost_bps,
        )
    except RungFailed as error:
        notes[LOGISTIC] = [str(error)]
        tables[LOGISTIC] = known | _filled({}, len(fold.fold.predicted))
        thresholds[LOGISTIC] = 1.0
        return
    notes[LOGISTIC] = list(result.notes)
    tables[LOGISTIC] = known | _filled(result.columns, len(fold.fold.predicted))
    thresholds[LOGISTIC] = result.threshold


def _rung_labels(labels: Labels, bars: Bars) -> RungLabels:
    return RungLabels(
        realised_return=labels.realised_return[bars],
        regime=labels.regime[bars].astype(np.int64),
        risk=labels.risk[bars].astype(np.int64),
        log_volatility=labels.log_volatility[bars],
    )


def _known(windows: Windows, fold: FoldWindows, bars: Bars, seed: int) -> Table:
    """Times and realised values of the predicted bars; NaN and −1 where not yet known."""
    labels = fold.labels
    return {
        "open_at": windows.candles.time[bars],
        "known_at": windows.candles.close_time[bars],
        "fold": np.full(len(bars), fold.fold.number, dtype=np.int64),
        "seed": np.full(len(bars), seed, dtype=np.int64),
        "realised_return": labels.realised_return[bars],
        "realised_regime": labels.regime[bars].astype(np.int64),
        "realised_volatility": np.exp(labels.log_volatility[bars]),
        "realised_risk": labels.risk[bars].astype(np.int64),
    }


def _model_columns(outputs: HeadOutputs, confidence: NDArray[np.float64]) -> Table:
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


def write_fold(path: Path, tables: dict[str, Table]) -> None:
    """All tables of a fold in one Parquet file, columns named `rung.column`."""
    arrays: dict[str, Column] = {
        f"{rung}.{name}": values for rung, table in tables.items() for name, values in table.items()
    }
    pq.write_table(pa.table(arrays), path, compression="zstd")


def read_fold(path: Path) -> dict[str, Table]:
    """What `write_fold` wrote."""
    stored = pq.read_table(path)
    tables: dict[str, Table] = {}
    for column in stored.column_names:
        rung, name = column.split(".", 1)
        tables.setdefault(rung, {})[name] = stored[column].to_numpy()
    return tables
