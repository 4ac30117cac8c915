"""Curves of several runs or backtests over each other; conventions as in backtests.charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backtests.charts import Array, Figure, Times, broken_line
from markets.candles.aggregate import MAX_POINTS
from markets.charts import thinned

# No two of ten lines share the dash; the colour only helps.
DASHES = (
    "solid",
    "dash",
    "dot",
    "dashdot",
    "longdash",
    "longdashdot",
    "12px,3px,3px,3px,3px,3px",
    "2px,6px",
    "14px,8px",
    "6px,2px,2px,2px,2px,2px,2px,2px",
)
ROLES = ("accent", "series-3", "series-4", "series-5", "series-6")

Curve = tuple[Sequence[int | None], Sequence[float | None]]


def equities_figure(tracks: Mapping[str, tuple[Times, Array]]) -> Figure:
    """Growth of one unit of capital, one line for each named track of (times in ns UTC [N], growth [N]).

    Growth is equity / capital, so that accounts of different size share an axis. All lines together
    have at most 2000 points, extremes kept; a gap in time breaks a line. No track gives an empty figure.
    """
    points = MAX_POINTS // max(1, len(tracks))
    lines = {name: broken_line(times, values, points) for name, (times, values) in tracks.items()}
    ends = [f"{name} ended at {values[-1]:.4g}" for name, (_, values) in tracks.items()]
    sentence = f"{'; '.join(ends)}." if ends else "No backtest has an equity yet."
    is_thinned = any(len(times) > points for times, _ in tracks.values())
    layout = _layout("Equity", sentence, "Equity / capital", is_thinned=is_thinned)
    layout["xaxis"] = {"type": "date", "title": {"text": "Time (UTC)"}}
    return {"data": _traces(lines), "layout": layout}


def losses_figure(curves: Mapping[str, Curve]) -> Figure:
    """Training loss over steps, one line for each named curve of (steps [N], losses [N]).

    None is a break, between folds for example. All lines together have at most 2000 points,
    extremes kept. No curve gives an empty figure.
    """
    points = max(4, MAX_POINTS // max(1, len(curves)))
    lines = {name: _thinned_curve(curve, points) for name, curve in curves.items() if curve[0]}
    known = {name: [y for y in ys if y is not None] for name, (_, ys) in lines.items()}
    ends = [f"{name} ended at {values[-1]:.4g}" for name, values in known.items() if values]
    sentence = f"{'; '.join(ends)}." if ends else "No run has logged a loss yet."
    is_thinned = any(len(xs) > points for xs, _ in curves.values())
    layout = _layout("Training loss", sentence, "Loss", is_thinned=is_thinned)
    layout["xaxis"] = {
        "title": {"text": "Step (folds one after the other)"},
        "rangemode": "tozero",
    }
    return {"data": _traces(lines), "layout": layout}


def _thinned_curve(curve: Curve, points: int) -> tuple[list[int | None], list[float | None]]:
    xs, ys = curve
    values = np.array([np.nan if y is None else y for y in ys], dtype=np.float64)
    kept = set(thinned(values, points).tolist())
    # A break costs nothing to keep, and without it two folds would be joined.
    kept |= {place for place, x in enumerate(xs) if x is None}
    places = sorted(kept)
    return [xs[place] for place in places], [ys[place] for place in places]


def _traces(lines: Mapping[str, tuple[Sequence[Any], Sequence[Any]]]) -> list[Figure]:
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "meta": ROLES[place % len(ROLES)],
            "line": {"dash": DASHES[place % len(DASHES)], "width": 2 if place == 0 else 1.5},
            "x": list(x),
            "y": list(y),
            "connectgaps": False,
        }
        for place, (name, (x, y)) in enumerate(lines.items())
    ]


def _layout(title: str, sentence: str, unit: str, *, is_thinned: bool) -> Figure:
    return {
        "meta": {"title": title, "summary": sentence, "aggregated": is_thinned},
        "hovermode": "x unified",
        "showlegend": True,
        "yaxis": {"title": {"text": unit}},
    }
