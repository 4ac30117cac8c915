"""Equity and trades of a finished backtest for pages and the API; nothing here needs pandas."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artifacts.store import local_path
from backtests.charts import thinned
from backtests.models import Backtest
from markets.reading import iso_times

Columns = dict[str, NDArray[Any]]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
TIMES = ("entry_time", "exit_time")


def equity_columns(row: Backtest) -> Columns:
    """time (ns UTC, bar open), equity, benchmark, position, and the intrabar band where there is one."""
    return _columns(row.equity)


def equity_points(row: Backtest, most: int) -> dict[str, list[Any]]:
    """At most `most` bars of the equity, extremes kept, as plain JSON."""
    columns = equity_columns(row)
    places = thinned(columns["equity"], most)
    points: dict[str, list[Any]] = {"time": iso_times(columns["time"][places])}
    for name, values in columns.items():
        if name != "time":
            points[name] = values[places].tolist()
    return points


def trade_rows(row: Backtest, start: int = 0, stop: int | None = None) -> list[dict[str, Any]]:
    """Trades in order of entry as plain JSON; an open trade has no exit time."""
    columns = _columns(row.trades)
    count = len(columns["side"])
    chosen = range(count)[start:stop]
    rows = [{name: _plain(values[place]) for name, values in columns.items()} for place in chosen]
    for place, trade in zip(chosen, rows, strict=True):
        for name in TIMES:
            trade[name] = iso_times([columns[name][place]])[0]
        trade["number"] = place + 1
        if trade["is_open"]:
            trade["exit_time"] = None
    return rows


def trade_count(row: Backtest) -> int:
    return int(pq.read_metadata(local_path(row.trades)).num_rows)  # type: ignore[arg-type]  # finished


def trades_csv(row: Backtest) -> str:
    """All trades as CSV."""
    rows = trade_rows(row)
    text = io.StringIO()
    names = ["number", *(name for name in _columns(row.trades))]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _harmless(value: Any) -> Any:  # Any: a cell
    """Text that a spreadsheet would run gets a leading quote; numbers stay as they are."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}".replace("\r", " ")  # the writer does not quote a carriage return
    return value


def _columns(stored: Any) -> Columns:  # Any: a StoredFile or None
    table = pq.read_table(local_path(stored))
    return {name: table[name].to_numpy() for name in table.column_names}


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return None
    return plain
