"""Slices of prediction sets for pages and the API; nothing here needs pandas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.store import FileChanged, local_path
from markets.reading import CandleRange, iso_times, ns_of
from modeling.evaluation.table import (
    INSTRUMENT,
    NO_CLASS,
    Table,
    of_instrument,
    read_predictions,
)
from modeling.models import PredictionSet, instrument_name


def prediction_columns(row: PredictionSet, span: CandleRange) -> Table:
    """The rows of a prediction set whose bar opens in the span; times are int64 nanoseconds. Of several
    instruments they are those of the one that is looked at, or of all, one after the other.

    Raises FileChanged when the file is gone or damaged.
    """
    try:
        table = read_predictions(local_path(row.file))
    except (OSError, pa.ArrowException) as error:
        raise FileChanged("the predictions are gone or damaged") from error
    if row.place:
        table = of_instrument(table, instrument_name(row.version))
    opens = np.asarray(table["open_at"], dtype=np.int64)
    if INSTRUMENT in table:
        first = ns_of(span.from_at) if span.from_at else opens.min()
        end = ns_of(span.to_at) if span.to_at else opens.max() + 1
        inside = (opens >= first) & (opens < end)
        return {name: values[inside] for name, values in table.items()}
    start = np.searchsorted(opens, ns_of(span.from_at)) if span.from_at else 0
    stop = np.searchsorted(opens, ns_of(span.to_at)) if span.to_at else len(opens)
    return {name: values[start:stop] for name, values in table.items()}


def prediction_rows(row: PredictionSet, span: CandleRange) -> list[dict[str, Any]]:
    """The first `span.most` predictions of the span as plain JSON; what is not known is null."""
    table = {name: values[: span.most] for name, values in prediction_columns(row, span).items()}
    opens, knowns = iso_times(table["open_at"]), iso_times(table["known_at"])
    own = np.full(len(opens), instrument_name(row.version), dtype=object)
    instruments = table.get(INSTRUMENT, own)
    return [
        {
            "instrument": instruments[place],
            "open_at": opens[place],
            "known_at": knowns[place],
            "fold": int(table["fold"][place]),
            "action": _number(table, "action", place),
            "market_regime": [_number(table, f"regime_{k}", place) for k in range(4)],
            "confidence": _number(table, "confidence", place),
            "volatility": _number(table, "volatility", place),
            "risk": [_number(table, f"risk_{k}", place) for k in range(3)],
            "realised_return": _number(table, "realised_return", place),
            "realised_regime": _class(table, "realised_regime", place),
            "realised_volatility": _number(table, "realised_volatility", place),
            "realised_risk": _class(table, "realised_risk", place),
        }
        for place in range(len(opens))
    ]


def _number(table: Table, name: str, place: int) -> float | None:
    value = float(table[name][place])
    return value if math.isfinite(value) else None


def _class(table: Table, name: str, place: int) -> int | None:
    """The number of the class, in the order of the chances."""
    value = int(table[name][place])
    return None if value == NO_CLASS else value
