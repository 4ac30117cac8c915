"""Training curves and predictions as Plotly figures; conventions as in markets.charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from markets.charts import (
    MAX_POINTS,
    Figure,
    Floats,
    Ints,
    line,
    numbers,
    stacked_layout,
    thinned,
    utc_times,
)

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
ROLES = ("accent", "series-3", "series-4", "series-5", "series-6", "muted")


class CurvePoint(NamedTuple):
    """One logged value: `step` counts from 1 within its fold."""

    fold: int
    name: str
    step: int
    value: float | None


def loss_figure(
    points: Iterable[tuple[int, str, int, float | None]],
    *,
    labels: Mapping[str, str],
    unit: str = "loss",
    title: str = "Loss",
) -> Figure:
    """Curves over steps, one for each name of `labels` (metric name → words), folds side by side.

    Points are (fold, name, step, value) in any order; other names are ignored, None is a break, a
    point that comes twice counts once. At most 2000 points for each curve, extremes kept.
    """
    kept = sorted(
        {CurvePoint(*point) for point in points if point[1] in labels}, key=lambda p: p[:3]
    )
    starts = _fold_starts(kept)
    data = []
    for place, (name, label) in enumerate(labels.items()):
        x, y = _curve([point for point in kept if point.name == name], starts)
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(x) < 50 else "lines",
                "name": label,
                "meta": ROLES[place % len(ROLES)],
                "line": {"dash": DASHES[place % len(DASHES)]},
                "x": x,
                "y": y,
            }
        )
    layout = stacked_layout(title, [unit], _loss_summary(kept, labels))
    layout["xaxis"] = {"title": {"text": "Step (folds one after the other)"}, "rangemode": "tozero"}
    folds = {fold: start for fold, start in starts.items() if len(starts) > 1}
    layout["shapes"] = [_border(start) for start in folds.values() if start]
    layout["annotations"] = [_note(start, f"fold {fold}") for fold, start in folds.items()]
    return {"data": data, "layout": layout}


def predictions_figure(
    columns: Mapping[str, NDArray[np.generic]], *, bar_ns: int, title: str, price_unit: str = ""
) -> Figure:
    """Close with ▲▼ at decisions, action score with thresholds, confidence, volatility; stacked.

    `columns` hold rows of one instrument in time order: `open_at` (ns), `fold`, `close`, `action`,
    `threshold` (on |action|), `confidence`, `volatility`, `realised_volatility` (NaN = unknown).
    A decision is a bar whose |action| reaches its threshold and whose side differs from the bar
    before. Lines break at gaps and at fold borders, which are marked. At most 2000 points for each
    trace, extremes kept.
    """
    times = np.asarray(columns["open_at"], dtype=np.int64)
    fold = np.asarray(columns["fold"], dtype=np.int64)
    broken = np.zeros(len(times), dtype=bool)
    broken[1:] = (np.diff(times) != bar_ns) | (np.diff(fold) != 0)

    def trace(column: Floats, name: str, axis: str, role: str, dash: str) -> Figure:
        x, y = line(times, column, broken)
        return {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "meta": role,
            "line": {"dash": dash},
            "x": x,
            "y": y,
            "yaxis": axis,
        }

    values = {name: np.asarray(columns[name], dtype=np.float64) for name in _DRAWN}
    data = [
        trace(values["close"], "Close", "y", "muted", "solid"),
        *_decision_marks(times, values, broken),
        trace(values["action"], "Action score", "y2", "accent", "solid"),
        trace(values["threshold"], "Threshold, long", "y2", "up", "dot"),
        trace(-values["threshold"], "Threshold, short", "y2", "down", "dot"),
        trace(values["confidence"], "Confidence", "y3", "series-3", "solid"),
        trace(values["volatility"], "Predicted volatility", "y4", "accent", "solid"),
        trace(values["realised_volatility"], "Realised volatility", "y4", "muted", "dash"),
    ]
    price = f"Price ({price_unit})" if price_unit else "Price"
    panels = [price, "Score, −1 to 1", "Confidence", "σ per bar"]
    layout = stacked_layout(title, panels, _prediction_summary(times, values), shares=(3, 2, 1, 2))
    firsts = np.flatnonzero(np.diff(fold, prepend=fold[:1] - 1))
    starts = utc_times(times[firsts])
    layout["shapes"] = [_border(start) for start in starts[1:]]
    layout["annotations"] = [
        _note(start, f"fold {number}") for start, number in zip(starts, fold[firsts], strict=True)
    ]
    return {"data": data, "layout": layout}


_DRAWN = ("close", "action", "threshold", "confidence", "volatility", "realised_volatility")


def _decision_marks(
    times: Ints, values: Mapping[str, Floats], broken: NDArray[np.bool_]
) -> list[Figure]:
    action, close = values["action"], values["close"]
    side = np.where(np.abs(action) >= values["threshold"], np.sign(action), 0.0)
    changed = np.ones(len(side), dtype=bool)
    changed[1:] = (side[1:] != side[:-1]) | broken[1:]
    marks = []
    for sign, name, symbol, role in (
        (1.0, "Long decision", "triangle-up", "up"),
        (-1.0, "Short decision", "triangle-down", "down"),
    ):
        at = np.flatnonzero(changed & (side == sign))
        at = at[thinned(np.abs(action[at]))]
        marks.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "meta": role,
                "marker": {"symbol": symbol, "size": 8},
                "x": utc_times(times[at]),
                "y": numbers(close[at]),
                "customdata": numbers(action[at]),
                "hovertemplate": "score %{customdata:.3f}",
                "yaxis": "y",
            }
        )
    return marks


def _fold_starts(points: list[CurvePoint]) -> dict[int, int]:
    """Steps that lie before each fold, folds in order."""
    longest: dict[int, int] = {}
    for point in points:
        longest[point.fold] = max(longest.get(point.fold, 0), point.step)
    starts, total = {}, 0
    for fold in sorted(longest):
        starts[fold] = total
        total += longest[fold]
    return starts


def _curve(
    points: list[CurvePoint], starts: Mapping[int, int]
) -> tuple[list[int | None], list[float | None]]:
    """x and y, thinned, with a break between folds."""
    values = np.array([np.nan if p.value is None else p.value for p in points], dtype=np.float64)
    x: list[int | None] = []
    y: list[float | None] = []
    folds = len({point.fold for point in points})
    last = None
    for place in thinned(values, max(4, MAX_POINTS - folds)).tolist():
        point = points[place]
        if last is not None and point.fold != last:
            x.append(None)
            y.append(None)
        x.append(starts[point.fold] + point.step)
        y.append(float(values[place]) if np.isfinite(values[place]) else None)
        last = point.fold
    return x, y


def _loss_summary(points: list[CurvePoint], labels: Mapping[str, str]) -> str:
    parts = []
    for name, label in labels.items():
        known = [p for p in points if p.name == name and p.value is not None]
        if known:
            newest = max(known, key=lambda p: (p.fold, p.step))
            parts.append(f"{label} {newest.value:.4g} at fold {newest.fold}, step {newest.step}")
    return "; ".join(parts) + "." if parts else "No point has been logged yet."


def _prediction_summary(times: Ints, values: Mapping[str, Floats]) -> str:
    if len(times) == 0:
        return "No predictions in this span."
    first, last = (text[:16] for text in utc_times(times[[0, -1]]))
    reached = np.abs(values["action"]) >= values["threshold"]
    long, short = (
        int((reached & (values["action"] > 0)).sum()),
        int((reached & (values["action"] < 0)).sum()),
    )
    return (
        f"{len(times)} predicted bars from {first} to {last} UTC; the score reaches its threshold "
        f"on {long} bars upwards and {short} downwards."
    )


def _border(x: str | int) -> Figure:
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "line": {"dash": "dot", "width": 1},
    }


def _note(x: str | int, text: str) -> Figure:
    return {
        "text": text,
        "xref": "x",
        "yref": "paper",
        "x": x,
        "y": 0,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }
