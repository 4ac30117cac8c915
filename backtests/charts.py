"""Figures of the backtest report, as plain Plotly JSON without colours: the page script themes them.

Each trace carries its part in `meta` (`model`, `benchmark`, `band`), each layout its title, a sentence
of what is to be seen and whether the lines are thinned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.candles.aggregate import MAX_POINTS
from specs.writing import grouped

Array = NDArray[np.float64]
Times = NDArray[np.int64]
Figure = dict[str, Any]  # Any: Plotly's JSON has no narrower type

MOST_BREAKS = 40
HEIGHT_PX = 320


def equity_figure(
    times: Times,
    equity: Array,
    benchmark: Array | None = None,
    band: tuple[Array, Array] | None = None,
) -> Figure:
    """Equity against buy and hold, with the intrabar band under it when there is one.

    `times` [N] are the instants of the marks in ns UTC; `equity`, `benchmark` and both of `band`
    (lowest, highest) are money, [N]. All lines together have at most 2000 points, and keep their
    extremes and the ends of their maximum drawdown. Raises ValueError without marks.
    """
    _require_marks(times)
    lines = 1 + (benchmark is not None) + 2 * (band is not None)
    points = MAX_POINTS // lines
    traces = []
    if band is not None:
        traces += _band(times, band, points)
    if benchmark is not None:
        line = {"dash": "dash", "width": 1.5}
        traces.append(_trace("Buy and hold", "benchmark", times, benchmark, points, line))
    traces.append(_trace("Model", "model", times, equity, points, {"width": 2}))
    sentence = f"Equity went from {grouped(equity[0], 2)} to {grouped(equity[-1], 2)}"
    if benchmark is not None:
        sentence += f"; buy and hold ended at {grouped(benchmark[-1], 2)}"
    layout = _layout("Equity", f"{sentence}.", "Equity (quote currency)", len(times) > points)
    return {"data": traces, "layout": layout}


def drawdown_figure(times: Times, equity: Array, benchmark: Array | None = None) -> Figure:
    """Share of the highest equity so far that is lost at each mark, 0 or negative.

    `equity` and `benchmark` are those of `equity_figure`, with the capital before the first mark at
    `times[0]` when the first drawdown is to count it. At most 2000 points; the depth survives.
    Raises ValueError without marks.
    """
    _require_marks(times)
    points = MAX_POINTS // (1 + (benchmark is not None))
    traces = []
    if benchmark is not None:
        line = {"dash": "dash", "width": 1.5}
        below = _below_peak(benchmark)
        traces.append(_trace("Buy and hold", "benchmark", times, below, points, line))
    below = _below_peak(equity)
    model = _trace("Model", "model", times, below, points, {"width": 2})
    traces.append({**model, "fill": "tozeroy"})
    depth = f"{abs(below.min()) * 100:.2f} %"
    sentence = f"The largest loss from a peak is {depth}, reached on {_day(times[below.argmin()])}."
    layout = _layout("Drawdown", sentence, "Below the peak", len(times) > points)
    layout["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    return {"data": traces, "layout": layout}


def thinned(values: Array, points: int) -> NDArray[np.int64]:
    """Indices of at most `points` of the values (points ≥ 8), in order, that keep the look of the line.

    The first and last, the smallest and largest of equal buckets, and the peak and trough of the
    maximum drawdown. All of them when there are no more than `points`.
    """
    if len(values) <= points:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), (points - 4) // 2 + 1).astype(np.int64)
    kept = [0, len(values) - 1, *_deepest_fall(values)]
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        bucket = values[start:stop]
        kept += [start + int(bucket.argmin()), start + int(bucket.argmax())]
    return np.unique(np.array(kept, np.int64))


def _deepest_fall(values: Array) -> tuple[int, int]:
    trough = int(np.argmin(_below_peak(values)))
    return int(np.argmax(values[: trough + 1])), trough


def _below_peak(values: Array) -> Array:
    peak = np.maximum.accumulate(values)
    return np.where(peak > 0, values / np.where(peak > 0, peak, 1.0) - 1, 0.0)


def _band(times: Times, band: tuple[Array, Array], points: int) -> list[Figure]:
    line = {"width": 0}
    lowest = _trace("Lowest", "band", times, band[0], points, line)
    highest = _trace("Highest", "band", times, band[1], points, line)
    return [lowest, {**highest, "fill": "tonexty"}]


def _trace(
    name: str, part: str, times: Times, values: Array, points: int, line: dict[str, Any]
) -> Figure:
    x, y = broken_line(times, values, points)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "meta": {"part": part},
        "x": x,
        "y": y,
        "line": line,
        "connectgaps": False,
    }


def broken_line(times: Times, values: Array, points: int) -> tuple[list[str], list[float | None]]:
    """The thinned line with a break at each gap in time (the widest 40 when there are more)."""
    gaps = _gaps(times) if len(times) > 2 else np.empty(0, np.int64)
    kept = thinned(values, points - 3 * len(gaps))
    kept = np.unique(np.concatenate([kept, gaps - 1, gaps]))
    instants = np.datetime_as_string(times[kept].astype("datetime64[ns]"), unit="s", timezone="UTC")
    x: list[str] = instants.tolist()
    y: list[float | None] = values[kept].tolist()
    for place in reversed(np.searchsorted(kept, gaps).tolist()):
        x.insert(place, x[place - 1])
        y.insert(place, None)
    return x, y


def _gaps(times: Times) -> NDArray[np.int64]:
    """Indices of the marks that follow a gap, in order."""
    steps = np.diff(times)
    found = np.flatnonzero(steps > steps.min())
    widest = found[np.argsort(-steps[found], kind="stable")[:MOST_BREAKS]]
    return np.sort(widest) + 1


def _layout(title: str, sentence: str, unit: str, is_thinned: bool) -> Figure:
    return {
        "meta": {"title": title, "summary": sentence, "aggregated": is_thinned},
        "height": HEIGHT_PX,
        "hovermode": "x unified",
        "showlegend": True,
        "legend": {"orientation": "h"},
        "margin": {"l": 64, "r": 16, "t": 16, "b": 40},
        "xaxis": {"type": "date", "title": {"text": "Time (UTC)"}},
        "yaxis": {"title": {"text": unit}},
    }


def _day(ns: np.int64) -> str:
    return str(np.datetime64(int(ns), "ns").astype("datetime64[D]"))


def _require_marks(times: Times) -> None:
    if not len(times):
        raise ValueError("expected at least one mark, found none")
