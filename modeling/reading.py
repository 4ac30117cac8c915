"""Slices of prediction sets for pages and the API; nothing here needs pandas."""

from __future__ import annotations

import math
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.store import local_path
from markets.reading import CandleRange, iso_times
from modeling.models import PredictionSet


def prediction_columns(row: PredictionSet, span: CandleRange) -> dict[str, Any]:
    """The columns of a prediction set as arrays, for bars whose open lies in the span.

    Times are int64 nanoseconds. More rows than `span.most` are not thinned here.
    """
    table = pq.read_table(local_path(row.file))
    for bound, compare in ((span.from_at, pc.greater_equal), (span.to_at, pc.less)):
        if bound is not None:
            instant = round(bound.timestamp() * 1e6) * 1000
            table = table.filter(compare(table["open_at"], instant))
    return {
        name: table[name].to_numpy() if name != "instrument" else table[name].to_pylist()
        for name in table.column_names
    }


def prediction_rows(row: PredictionSet, span: CandleRange) -> list[dict[str, Any]]:
    """At most `span.most` predictions, the first of the span, as plain JSON; NaN is null."""
    columns = prediction_columns(row, span)
    count = min(span.most, len(columns["open_at"]))
    opens, knowns = iso_times(columns["open_at"][:count]), iso_times(columns["known_at"][:count])

    def number(name: str, place: int) -> float | None:
        value = float(columns[name][place])
        return value if math.isfinite(value) else None

    return [
        {
            "instrument": columns["instrument"][place],
            "open_at": opens[place],
            "known_at": knowns[place],
            "fold": int(columns["fold"][place]),
            "action": number("action", place),
            "market_regime": [number(f"regime_{k}", place) for k in range(4)],
            "confidence": number("confidence", place),
            "volatility": number("volatility", place),
            "risk": [number(f"risk_{k}", place) for k in range(3)],
            "realised_return": number("realised_return", place),
            "realised_volatility": number("realised_volatility", place),
        }
        for place in range(count)
    ]
