"""Training curves as Plotly figures; conventions as in markets.charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from markets.candles.aggregate import MAX_POINTS
from markets.charts import Figure, stacked_layout, thinned

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
ROLES = ("accent", "series-3", "series-4", "series-5", "series-6", "muted")
# Of more folds than this only some are named, so that the names do not run into each other.
MOST_NAMED = 10


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
    if len(labels) > 2:  # two names in a line: one in each takes the place of the curves
        layout["legend"] |= {"entrywidth": 0.49, "entrywidthmode": "fraction"}
    folds = {fold: start for fold, start in starts.items() if len(starts) > 1}
    layout["shapes"] = [border(start) for start in folds.values() if start]
    every = -(-len(folds) // MOST_NAMED) or 1
    named = list(folds.items())[::every]
    layout["annotations"] = [note(start, f"fold {fold}") for fold, start in named]
    return {"data": data, "layout": layout}


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


def border(x: str | int) -> Figure:
    """A line through all panels at one place of the x axis."""
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


def note(x: str | int, text: str) -> Figure:
    """Words above the panels at one place of the x axis."""
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
