"""Candles as a Plotly figure, and the points and times that every chart is made of.

Figures are plain JSON data with lists, no colours: the page gives a trace its colour by the role
in `meta` (accent, up, down, muted, series-3 …), so a theme switch needs no new figure.
`layout.meta` has the `title` for the heading above the chart and the `summary`, one sentence that
stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from markets.candles.aggregate import MAX_POINTS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Figure = dict[str, Any]  # Any: a Plotly figure is nested JSON


class Bars(Protocol):
    """What a candle chart needs: open times in ns and prices, all of equal length."""

    @property
    def time(self) -> Ints:
        """Open time of each bar in ns since 1970 UTC."""

    @property
    def open(self) -> Floats:
        """First price of each bar."""

    @property
    def high(self) -> Floats:
        """Highest price of each bar."""

    @property
    def low(self) -> Floats:
        """Lowest price of each bar."""

    @property
    def close(self) -> Floats:
        """Last price of each bar."""

    @property
    def volume(self) -> Floats:
        """Traded amount of each bar."""


def candles_figure(
    bars: Bars, title: str, *, price_unit: str = "", volume_unit: str = ""
) -> Figure:
    """Candlesticks over volume for at most 2000 bars (give aggregated ones); gaps stay empty.

    The time axis is true to time, so a gap is a hole in the row of candles. Raises ValueError for
    more bars. No bars give a figure without points that says so.
    """
    if len(bars.time) > MAX_POINTS:
        raise ValueError(f"found {len(bars.time)} bars, expected at most {MAX_POINTS}: aggregate")
    times = utc_times(bars.time)
    candles = {
        "type": "candlestick",
        "name": "Price",
        "meta": "candles",
        "x": times,
        "open": numbers(bars.open),
        "high": numbers(bars.high),
        "low": numbers(bars.low),
        "close": numbers(bars.close),
        "yaxis": "y",
    }
    volume = {
        "type": "bar",
        "name": "Volume",
        "meta": "muted",
        "x": times,
        "y": numbers(bars.volume),
        "yaxis": "y2",
    }
    panels = [_with_unit("Price", price_unit), _with_unit("Volume", volume_unit)]
    layout = stacked_layout(title, panels, _candle_summary(bars), shares=(4, 1))
    layout["yaxis2"]["nticks"] = 3  # the panel is low
    layout["xaxis"]["rangeslider"] = {"visible": False}
    return {"data": [candles, volume], "layout": layout}


def utc_times(times_ns: Ints) -> list[str]:
    """Instants in ns as `2024-03-24 12:40:00`, which Plotly reads as UTC."""
    seconds = (np.asarray(times_ns) // 10**9).astype("datetime64[s]")
    return [text.replace("T", " ") for text in np.datetime_as_string(seconds).tolist()]


def numbers(values: Floats) -> list[float | None]:
    """Plain numbers; what is not finite becomes None, a break in the line."""
    column = np.asarray(values, dtype=np.float64)
    known = np.isfinite(column).tolist()
    return [value if ok else None for value, ok in zip(column.tolist(), known, strict=True)]


def shortest(values: NDArray[np.float32]) -> list[float | None]:
    """The shortest decimals that read back as the same float32; what is not finite becomes None."""
    return numbers(np.asarray(values, dtype=np.float32).astype("U32").astype(np.float64))


def thinned(values: Floats, max_points: int = MAX_POINTS) -> Ints:
    """Rising positions of at most `max_points` values: ends, and the extremes of equal buckets.

    So the drawn line has the minimum and the maximum of the full one. NaN is never an extreme.
    Raises ValueError for fewer than 4 points.
    """
    if max_points < 4:
        raise ValueError(f"max_points is {max_points}, expected at least 4")
    total = len(values)
    if total <= max_points:
        return np.arange(total)
    edges = np.linspace(0, total, (max_points - 2) // 2 + 1).astype(np.int64)
    kept = [np.array([0, total - 1])]
    low, high = (
        np.where(np.isnan(values), np.inf, values),
        np.where(np.isnan(values), -np.inf, values),
    )
    for start, stop in pairwise(edges):
        kept.append(start + np.array([low[start:stop].argmin(), high[start:stop].argmax()]))
    return np.unique(np.concatenate(kept))


def line(
    times_ns: Ints, values: Floats, broken_before: Bools, max_points: int = MAX_POINTS
) -> tuple[list[str], list[float | None]]:
    """x and y of a line of at most `max_points`, with a break before each True of `broken_before`.

    More breaks than half the points cannot be drawn and are left out.
    """
    breaks = int(np.count_nonzero(broken_before))
    if breaks > max_points // 2:
        breaks, broken_before = 0, np.zeros(len(values), dtype=bool)
    kept = thinned(values, max_points - breaks)
    run = np.cumsum(broken_before)[kept]
    x, y = utc_times(times_ns[kept]), numbers(values[kept])
    # From behind, so that earlier positions stay right.
    for place in np.flatnonzero(np.diff(run))[::-1] + 1:
        x.insert(place, x[place])
        y.insert(place, None)
    return x, y


def stacked_layout(
    title: str, panels: Sequence[str], summary: str, *, shares: Sequence[float] = ()
) -> Figure:
    """Layout of panels over one time axis: titles with units, first panel on top, no colours."""
    shares = shares or [1.0] * len(panels)
    gap = 0.06 if len(panels) > 1 else 0.0
    unit = (1.0 - gap * (len(panels) - 1)) / sum(shares)
    layout: Figure = {
        "hovermode": "x unified",
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
        "margin": {"l": 64, "r": 16, "t": 24, "b": 40},
        "xaxis": {
            "type": "date",
            "title": {"text": "Time (UTC)"},
            "anchor": "y" if len(panels) == 1 else f"y{len(panels)}",
        },
        "meta": {"title": title, "summary": summary},
    }
    top = 1.0
    for place, (panel, share) in enumerate(zip(panels, shares, strict=True)):
        name = "yaxis" if place == 0 else f"yaxis{place + 1}"
        bottom = max(0.0, top - share * unit)
        layout[name] = {"title": {"text": panel}, "domain": [bottom, top], "anchor": "x"}
        top = bottom - gap
    return layout


def _candle_summary(bars: Bars) -> str:
    if len(bars.time) == 0:
        return "No candles in this span."
    first, last = (text[:16] for text in utc_times(bars.time[[0, -1]]))
    change = (bars.close[-1] / bars.open[0] - 1.0) * 100
    moved = f"{change:+.2f}".replace("-", "−")
    return (
        f"{first} to {last} UTC: from {bars.open[0]:.6g} to {bars.close[-1]:.6g} ({moved} %), "
        f"lowest {bars.low.min():.6g}, highest {bars.high.max():.6g}."
    )


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name
