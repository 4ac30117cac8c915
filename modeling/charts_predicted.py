"""Predictions of a span as one Plotly figure and as its table; conventions as in markets.charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from markets.charts import (
    Bools,
    Figure,
    Floats,
    Ints,
    numbers,
    stacked_layout,
    thinned,
    utc_times,
)
from modeling.charts import border, note
from modeling.measures import REGIME_NAMES, RISK_NAMES

# As many as the table has rows, so that table and chart hold the same numbers.
MOST_INSTANTS = 500
MOST_CANDLES = 300
MOST_BREAKS = 100
UNKNOWN = -1

PRICES = ("open", "high", "low", "close")
RISKS = tuple(f"risk_{k}" for k in range(3))
REGIMES = tuple(f"regime_{k}" for k in range(4))
LINES = ("close", "action", "confidence", "volatility", "realised_volatility", *RISKS)

# Class → role of its colour and pattern of its hatching.
REGIME_LOOKS = (("muted", "."), ("up", "/"), ("down", "\\"), ("warn", "x"))
SPAN_LOOKS = {
    "purge": ("Purge", "warn", "/"),
    "embargo": ("Embargo", "series-3", "|"),
    "gap": ("Gap", "down", "x"),
}
RISK_LOOKS = (("muted", "dot"), ("warn", "dash"), ("down", "solid"))


class Span(NamedTuple):
    """A shaded stretch of bars by open time, [from_ns, to_ns); `kind` is a key of SPAN_LOOKS."""

    kind: str
    from_ns: int
    to_ns: int
    about: str


@dataclass(frozen=True)
class Shown:
    """The instants of a span that are drawn and listed, with all their values [n].

    `values` have six significant digits. `broken` is True where a gap or a fold border lies before.
    `side` is 1 or −1 where |action| reaches the threshold of the bar's fold, else 0. `regime` is the
    most frequent predicted class from the instant to the next one, which begins at `until`; −1 where
    none is predicted. `bars`, `long` and `short` count all bars of the span and its decisions, `gaps`
    are its stretches without a prediction.
    """

    times: Ints
    until: Ints
    fold: Ints
    values: Mapping[str, Floats]
    broken: Bools
    side: Ints
    regime: Ints
    bars: int
    long: int
    short: int
    gaps: Sequence[Span]
    bar_ns: int

    @property
    def is_thinned(self) -> bool:
        """Whether some bars of the span are not drawn."""
        return len(self.times) < self.bars

    @property
    def has_candles(self) -> bool:
        """Whether prices are drawn as candles: every bar, and few enough to be told apart."""
        return not self.is_thinned and len(self.times) <= MOST_CANDLES

    @property
    def marked(self) -> int:
        """How many decisions are marked."""
        return int(np.count_nonzero(self.side))


def shown_bars(
    columns: Mapping[str, NDArray[np.generic]], *, bar_ns: int, most: int = MOST_INSTANTS
) -> Shown:
    """What of a span is shown, at most `most` instants with all their values.

    `columns` hold rows of one instrument in time order: `open_at` (ns), `fold`, the four prices, the
    predicted columns, `realised_volatility`, and `threshold` (on |action|); NaN = unknown. A longer
    span keeps its ends, both sides of its gaps and fold borders (up to 100 of them), and, of equal
    stretches, the lowest and highest value of each line and of action / threshold, so that no
    stretch with a decision goes without a mark; the rest is spread evenly.
    """
    times = np.asarray(columns["open_at"], dtype=np.int64)
    fold = np.asarray(columns["fold"], dtype=np.int64)
    values = {
        name: np.asarray(columns[name], dtype=np.float64)
        for name in (*PRICES, *LINES, *REGIMES, "threshold")
    }
    broken = np.zeros(len(times), dtype=bool)
    broken[1:] = (np.diff(times) != bar_ns) | (np.diff(fold) != 0)
    reached = np.abs(values["action"]) >= values["threshold"]
    side = np.where(reached, np.sign(values["action"]), 0.0).astype(np.int64)
    kept = _kept(values, broken, most)
    runs = np.cumsum(broken)[kept]
    return Shown(
        times=times[kept],
        until=times[np.append(kept[1:], len(times))[: len(kept)] - 1] + bar_ns,
        fold=fold[kept],
        values={name: _six_digits(column[kept]) for name, column in values.items()},
        broken=np.diff(runs, prepend=runs[:1]) != 0,
        side=side[kept],
        regime=_most_frequent(values, kept),
        bars=len(times),
        long=int((side > 0).sum()),
        short=int((side < 0).sum()),
        gaps=_gaps(times, bar_ns),
        bar_ns=bar_ns,
    )


def _kept(values: Mapping[str, Floats], broken: Bools, most: int) -> Ints:
    total = len(broken)
    if total <= most:
        return np.arange(total)
    breaks = np.flatnonzero(broken)
    breaks = breaks if len(breaks) <= MOST_BREAKS else breaks[:0]
    edges = np.concatenate([breaks - 1, breaks])
    reach = values["action"] / np.where(values["threshold"] > 0, values["threshold"], np.nan)
    lines = [values[name] for name in LINES] + [reach]
    each = (most - len(edges)) // len(lines)
    kept = np.unique(np.concatenate([edges, *(thinned(line, each) for line in lines)]))
    more = np.linspace(0, total - 1, most - len(kept)).astype(np.int64)
    return np.unique(np.concatenate([kept, more]))


def _most_frequent(values: Mapping[str, Floats], kept: Ints) -> Ints:
    """The class predicted most often from each kept row to the next; ties to the lower class."""
    chances = np.column_stack([values[name] for name in REGIMES])
    known = np.isfinite(chances).all(axis=1)
    named = np.zeros(chances.shape)
    named[known, chances[known].argmax(axis=1)] = 1.0
    if not len(kept):
        return kept
    counts = np.add.reduceat(named, kept, axis=0)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), UNKNOWN)


def _gaps(times: Ints, bar_ns: int) -> list[Span]:
    """Stretches without a prediction, the longest first."""
    steps = np.diff(times)
    after = np.flatnonzero(steps != bar_ns)
    after = after[np.argsort(-steps[after], kind="stable")]
    return [
        Span("gap", int(times[i]) + bar_ns, int(times[i + 1]), _bars_words(steps[i] // bar_ns - 1))
        for i in after.tolist()
    ]


def _bars_words(count: int) -> str:
    return f"{count} bar{'' if count == 1 else 's'} without a prediction"


def _six_digits(values: Floats) -> Floats:
    """As the pages write them: no digit of chart or table that the other does not have."""
    return np.char.mod("%.6g", values).astype(np.float64)


def predictions_figure(shown: Shown, *, title: str, spans: Sequence[Span] = ()) -> Figure:
    """Panels over one time axis: price with ▲▼ at decisions, action score with its thresholds, ribbon
    of regimes, confidence, volatility, risk, and a strip of `spans` (purge, embargo) and gaps.

    An instant with all its values is one point, as a candle is: at most 500. Lines break at gaps and
    at fold borders, which are marked; spans and gaps are shaded through all panels.
    """
    cut = _inside(shown, [*spans, *shown.gaps[:MOST_BREAKS]])
    panels = ["Price", "Score, −1 to 1", "Regime", "Confidence", "σ per bar", "Risk"]
    shares = [3.0, 1.8, 0.5, 1.0, 1.5, 1.5]
    if cut:
        panels, shares = [*panels, "Cuts"], [*shares, 0.4]
    layout = stacked_layout(title, panels, _summary(shown), shares=shares)
    layout["meta"]["aggregated"] = shown.is_thinned
    layout["barmode"] = "overlay"
    for axis in ("yaxis3", "yaxis7"):
        if axis in layout:
            layout[axis] |= {"range": [0, 1], "fixedrange": True, "showticklabels": False}
            layout[axis] |= {"showgrid": False, "zeroline": False}
    for place in range(2, len(panels) + 1):
        top = layout[f"yaxis{place}"]["domain"][1]
        layout[f"legend{place}"] = {"orientation": "h", "x": 0, "y": top, "yanchor": "bottom"}
    starts = utc_times(shown.times)
    firsts = np.flatnonzero(np.diff(shown.fold, prepend=shown.fold[:1] - 1)).tolist()
    layout["shapes"] = [_shade(span) for span in cut] + [border(starts[i]) for i in firsts[1:]]
    layout["annotations"] = [note(starts[i], f"fold {shown.fold[i]}") for i in firsts]
    data = [*_price(shown), *_marks(shown), *_lines(shown), *_ribbon(shown), *_strip(cut)]
    return {"data": data, "layout": layout}


def _inside(shown: Shown, spans: Sequence[Span]) -> list[Span]:
    """The parts of spans that lie in what is shown."""
    if not len(shown.times):
        return []
    first, end = int(shown.times[0]), int(shown.until[-1])
    clipped = [
        span._replace(from_ns=max(span.from_ns, first), to_ns=min(span.to_ns, end))
        for span in spans
    ]
    return [span for span in clipped if span.from_ns < span.to_ns]


def _trace(shown: Shown, column: Floats, name: str, axis: int, role: str, dash: str) -> Figure:
    x, y = utc_times(shown.times), numbers(column)
    places = np.flatnonzero(shown.broken)
    # From behind, so that earlier positions stay right.
    for place in places[::-1].tolist():
        x.insert(place, x[place])
        y.insert(place, None)
    return {
        "type": "scatter",
        # Between breaks on every second point there is nothing to connect.
        "mode": "lines" if 2 * len(places) <= len(column) else "markers",
        "name": name,
        "meta": role,
        "line": {"dash": dash},
        "x": x,
        "y": y,
        **_place(axis),
    }


def _place(axis: int) -> Figure:
    return {} if axis == 1 else {"yaxis": f"y{axis}", "legend": f"legend{axis}"}


def _price(shown: Shown) -> list[Figure]:
    if not shown.has_candles:
        return [_trace(shown, shown.values["close"], "Close", 1, "muted", "solid")]
    prices = {name: numbers(shown.values[name]) for name in PRICES}
    x = utc_times(shown.times)
    return [{"type": "candlestick", "name": "Price", "meta": "candles", "x": x, **prices}]


def _marks(shown: Shown) -> list[Figure]:
    below, above = ("low", "high") if shown.has_candles else ("close", "close")
    marks = []
    for sign, name, symbol, role, price in (
        (1, "Long decision", "triangle-up", "up", below),
        (-1, "Short decision", "triangle-down", "down", above),
    ):
        at = np.flatnonzero(shown.side == sign)
        marks.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "meta": role,
                "marker": {"symbol": symbol, "size": 8},
                "x": utc_times(shown.times[at]),
                "y": numbers(shown.values[price][at]),
                "customdata": numbers(shown.values["action"][at]),
                "hovertemplate": "score %{customdata:.3f}",
            }
        )
    return marks


def _lines(shown: Shown) -> list[Figure]:
    values, threshold = shown.values, shown.values["threshold"]
    risks = [
        _trace(shown, values[name], f"{label} risk", 6, role, dash)
        for name, label, (role, dash) in zip(RISKS, RISK_NAMES, RISK_LOOKS, strict=True)
    ]
    confidence = _trace(shown, values["confidence"], "Confidence", 4, "series-3", "solid")
    return [
        _trace(shown, values["action"], "Action score", 2, "accent", "solid"),
        _trace(shown, threshold, "Threshold, long", 2, "up", "dot"),
        _trace(shown, -threshold, "Threshold, short", 2, "down", "dot"),
        confidence | {"showlegend": False},
        _trace(shown, values["volatility"], "Predicted volatility", 5, "accent", "solid"),
        _trace(shown, values["realised_volatility"], "Realised volatility", 5, "muted", "dash"),
        *risks,
    ]


def _ribbon(shown: Shown) -> list[Figure]:
    """One bar for each stretch of one regime."""
    new = shown.broken | (np.diff(shown.regime, prepend=UNKNOWN - 1) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(new))[: len(first)] - 1
    data = []
    for place, (name, (role, pattern)) in enumerate(zip(REGIME_NAMES, REGIME_LOOKS, strict=True)):
        mine = shown.regime[first] == place
        bars = _bars(shown.times[first[mine]], shown.until[last[mine]], 3, role, pattern)
        data.append({**bars, "name": name, "hovertemplate": name})
    return data


def _strip(spans: Sequence[Span]) -> list[Figure]:
    data = []
    for kind, (name, role, pattern) in SPAN_LOOKS.items():
        mine = [span for span in spans if span.kind == kind]
        if mine:
            ends = np.array([(span.from_ns, span.to_ns) for span in mine], dtype=np.int64)
            bars = _bars(ends[:, 0], ends[:, 1], 7, role, pattern)
            about = [span.about for span in mine]
            hover = f"{name}, %{{customdata}}"
            data.append({**bars, "name": name, "customdata": about, "hovertemplate": hover})
    return data


def _bars(starts: Ints, ends: Ints, axis: int, role: str, pattern: str) -> Figure:
    return {
        "type": "bar",
        "meta": role,
        # Only the hatching is drawn, in the colour of the role.
        "marker": {"pattern": {"shape": pattern, "fillmode": "replace", "size": 6}},
        "x": utc_times(starts),
        "width": ((ends - starts) // 10**6).tolist(),
        "offset": 0,
        "y": [1] * len(starts),
        **_place(axis),
    }


def _shade(span: Span) -> Figure:
    start, end = utc_times(np.array([span.from_ns, span.to_ns]))
    return {
        "type": "rect",
        "name": SPAN_LOOKS[span.kind][1],
        "xref": "x",
        "yref": "paper",
        "x0": start,
        "x1": end,
        "y0": 0,
        "y1": 1,
        "line": {"width": 0},
        "opacity": 0.15,
        "layer": "below",
    }


def _summary(shown: Shown) -> str:
    """One sentence of what the span holds."""
    if not len(shown.times):
        return "No predictions in this span."
    first, last = (text[:16] for text in utc_times(shown.times[[0, -1]]))
    return (
        f"{shown.bars} predicted bars from {first} to {last} UTC; the score reaches its threshold "
        f"on {shown.long} bars upwards and {shown.short} downwards."
    )


def thinning_note(shown: Shown) -> str:
    """What is drawn of a long span, and what is kept; empty where every bar is drawn."""
    gaps = len(shown.gaps)
    more = f" The {MOST_BREAKS} longest of {gaps} gaps are shaded." if gaps > MOST_BREAKS else ""
    if not shown.is_thinned:
        return more.strip()
    return (
        f"Thinned to {len(shown.times)} of {shown.bars} bars: every line keeps the lowest and the "
        f"highest value of each stretch. Marked are {shown.marked} of {shown.long + shown.short} "
        "decisions, the strongest of each stretch among them; the ribbon names the most frequent "
        f"regime. Zoom in for every bar.{more}"
    )


Row = tuple[str, int, list[float | None], str, str]


def predictions_table(shown: Shown) -> dict[str, Any]:  # Any: names and rows of a template
    """The drawn numbers as rows: time (UTC), fold, the values of `columns`, decision and regime."""
    prices = PRICES if shown.has_candles else ("close",)
    names = {
        **{name: name.capitalize() for name in prices},
        "action": "Score",
        "threshold": "Threshold",
        "confidence": "Confidence",
        "volatility": "Predicted σ",
        "realised_volatility": "Realised σ",
        **{name: f"{label} risk" for name, label in zip(RISKS, RISK_NAMES, strict=True)},
    }
    columns = [numbers(shown.values[name]) for name in names]
    marks = {1: "▲ long", -1: "▼ short", 0: ""}
    rows: list[Row] = [
        (time[:16], fold, list(cells), marks[side], REGIME_NAMES[regime] if regime >= 0 else "")
        for time, fold, side, regime, *cells in zip(
            utc_times(shown.times),
            shown.fold.tolist(),
            shown.side.tolist(),
            shown.regime.tolist(),
            *columns,
            strict=True,
        )
    ]
    return {"columns": list(names.values()), "rows": rows}
