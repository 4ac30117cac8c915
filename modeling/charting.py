"""What the charts of a run draw, gathered from rows and sealed files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from artifacts.store import FileChanged, local_path
from markets.charts import Figure
from markets.reading import CandleRange, candles_in
from modeling.evaluation.table import Table, read_predictions
from modeling.models import PredictionSet, TrainingRun

# Chart → (title, unit, logged name → words).
CURVES: dict[str, tuple[str, str, dict[str, str]]] = {
    "loss": ("Training loss", "loss", {"loss": "Balanced loss of all heads"}),
    "validation": (
        "Validation loss",
        "share of the constant's loss",
        {
            "validation_ratio": "Mean of the heads",
            "ratio/action": "Action",
            "ratio/regime": "Regime",
            "ratio/volatility": "Volatility",
            "ratio/risk": "Risk",
        },
    ),
    "learning_rate": ("Learning rate", "rate", {"learning_rate": "Learning rate"}),
    "gradient_norm": ("Gradient norm", "norm", {"gradient_norm": "Before clipping"}),
}


def curve_figure(run: TrainingRun, kind: str) -> Figure:
    """The figure of one kind of curve. Raises KeyError for an unknown kind."""
    from modeling.charts import loss_figure

    title, unit, labels = CURVES[kind]
    points = run.points.filter(name__in=labels).values_list("fold", "name", "step", "value")
    return loss_figure(points.iterator(), labels=labels, unit=unit, title=title)


def newest_point(run: TrainingRun) -> int:
    """Rises whenever a point was logged; 0 before the first."""
    return run.points.order_by("-pk").values_list("pk", flat=True).first() or 0


def prediction_figure(row: PredictionSet, span: CandleRange) -> Figure:
    """Close, decisions, score with thresholds, confidence and volatility of one span."""
    from modeling.charts import predictions_figure

    columns: dict[str, NDArray[np.generic]] = dict(_rows_in(row, span))
    opens = np.asarray(columns["open_at"], dtype=np.int64)
    candles = candles_in(row.version, CandleRange(span.from_at, span.to_at))
    columns["close"] = _at(candles.time, candles.close, opens)
    columns["threshold"] = _thresholds(row.folds, np.asarray(columns["fold"], dtype=np.int64))
    return predictions_figure(columns, bar_ns=candles.bar_ns, title=str(row.maker))


def _rows_in(row: PredictionSet, span: CandleRange) -> Table:
    """The predictions whose bar opens in the span. Raises FileChanged."""
    try:
        table = read_predictions(local_path(row.file))
    except (OSError, pa.ArrowException) as error:
        raise FileChanged("the predictions are gone or damaged") from error
    opens = table["open_at"]
    start = np.searchsorted(opens, _ns(span.from_at)) if span.from_at else 0
    stop = np.searchsorted(opens, _ns(span.to_at)) if span.to_at else len(opens)
    return {name: values[start:stop] for name, values in table.items()}


def _ns(instant: datetime) -> int:
    return round(instant.timestamp() * 1e6) * 1000


def _at(
    times: NDArray[np.int64], values: NDArray[np.float64], wanted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The value at each wanted instant, NaN where there is none."""
    if not len(times):
        return np.full(len(wanted), np.nan)
    place = np.minimum(np.searchsorted(times, wanted), len(times) - 1)
    return np.where(times[place] == wanted, values[place], np.nan)


def _thresholds(folds: list[dict[str, Any]], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """The threshold on |action| of each row; NaN where the fold has none."""
    by_fold = {int(item["fold"]): item.get("threshold") for item in folds}
    found = np.full(len(fold), np.nan)
    for number, threshold in by_fold.items():
        found[fold == number] = np.nan if threshold is None else float(threshold)
    return found
