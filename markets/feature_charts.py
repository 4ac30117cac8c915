"""Features as Plotly figures and small drawings: a line under its candles, a map of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.charts import Bars, Figure, candles_figure, line, stacked_layout, utc_times
from markets.features.summary import strongest_pairs
from markets.features.table import ScaleFeatures

LINE_POINTS = 1000
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 120, 24


def feature_figure(
    bars: Bars, scale: ScaleFeatures, values: NDArray[np.float32], name: str, title: str
) -> Figure:
    """Candles above, one feature below on the same time axis; gaps and the warm-up break the line.

    `values` [N_k] belong to the bars of `scale`; at most 1000 points are drawn, the extremes kept.
    A value stands at the open of its bar. Raises ValueError for more than 2000 candles.
    """
    column = np.asarray(values, dtype=np.float64)
    gaps = np.array(scale.gap_before, dtype=np.bool_)
    gaps[:1] = False
    x, y = line(scale.open_time, column, gaps, LINE_POINTS)
    candles = candles_figure(bars, title)["data"][0]
    trace = {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "meta": "accent",
        "x": x,
        "y": y,
        "yaxis": "y2",
    }
    summary = _feature_summary(name, scale, column)
    layout = stacked_layout(title, ["Price", name], summary, shares=(1, 1))
    layout["xaxis"]["rangeslider"] = {"visible": False}
    return {"data": [candles, trace], "layout": layout}


def no_figure(title: str, text: str) -> Figure:
    """A chart without points whose sentence says why."""
    return {"data": [], "layout": stacked_layout(title, [""], text)}


def correlation_figure(correlation: dict[str, Any]) -> Figure:
    """The correlations of all pairs as a heat map from −1 to 1, in the order of the registry."""
    names = correlation["names"]
    axis = {"type": "category", "tickfont": {"size": 9}, "dtick": 1}
    title = "Correlation of the features"
    return {
        "data": [
            {
                "type": "heatmap",
                "x": names,
                "y": names,
                "z": correlation["matrix"],
                "zmin": -1,
                "zmax": 1,
                "hovertemplate": "%{x}, %{y}: %{z:.2f}<extra></extra>",
            }
        ],
        "layout": {
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": {**axis, "tickangle": 90},
            "yaxis": {**axis, "autorange": "reversed"},
            "meta": {"title": title, "summary": correlation_summary(correlation)},
        },
    }


def correlation_summary(correlation: dict[str, Any]) -> str:
    """One sentence about the most alike pair."""
    if not correlation["rows"]:
        return "No bar knows all features, so nothing can be compared."
    first, second, value = strongest_pairs(correlation, 1)[0]
    return (
        f"Spearman's correlation at {correlation['rows']} bars; most alike are {first} and {second} "
        f"({_signed(value, 2)})."
    )


def histogram_path(counts: Sequence[int]) -> str:
    """The outline of a histogram as the path of a drawing 120 wide and 24 high."""
    most = max(counts, default=0) or 1
    width = HISTOGRAM_WIDTH / max(1, len(counts))
    steps = [
        f"V{HISTOGRAM_HEIGHT * (1 - count / most):.1f}H{width * (place + 1):g}"
        for place, count in enumerate(counts)
    ]
    return f"M0 {HISTOGRAM_HEIGHT}{''.join(steps)}V{HISTOGRAM_HEIGHT}Z"


def _feature_summary(name: str, scale: ScaleFeatures, column: NDArray[np.float64]) -> str:
    known = column[np.isfinite(column)]
    if not known.size:
        return f"{name} has no value in this span: it lies in the warm-up, or has no candles."
    first, last = (text[:16] for text in utc_times(np.asarray(scale.open_time)[[0, -1]]))
    return (
        f"{name} from {first} to {last} UTC: lowest {_signed(known.min(), 4)}, mean "
        f"{_signed(known.mean(), 4)}, highest {_signed(known.max(), 4)}. "
        "A value stands at the open of its bar and is known at its close."
    )


def _signed(value: float, digits: int) -> str:
    return f"{value:.{digits}g}".replace("-", "−")
