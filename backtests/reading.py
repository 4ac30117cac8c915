"""Equity, trades and report of a finished backtest for pages and the API; nothing needs pandas."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artifacts.models import StoredFile
from artifacts.store import local_path
from backtests.charts import thinned
from backtests.models import Backtest
from markets.reading import iso_times

Columns = dict[str, NDArray[Any]]
Json = dict[str, Any]  # Any: plain JSON
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


def trade_rows(
    row: Backtest, start: int = 0, stop: int | None = None, *, sort: str = "number"
) -> list[Json]:
    """Trades as plain JSON with their number in order of entry; an open trade has no exit time.

    `sort` is a column, with a minus for the largest first; `start` and `stop` count in that order.
    """
    columns = _columns(row.trades)
    columns = {"number": np.arange(1, len(columns["side"]) + 1), **columns}
    order = np.argsort(_ascending(columns[sort.removeprefix("-")], sort), kind="stable")
    chosen = {name: values[order[start:stop]] for name, values in columns.items()}
    cells = {name: [_plain(value) for value in values] for name, values in chosen.items()}
    cells |= {name: iso_times(chosen[name]) for name in TIMES}
    cells["exit_time"] = [
        None if is_open else time
        for is_open, time in zip(cells["is_open"], cells["exit_time"], strict=True)
    ]
    return [dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True)]


def _ascending(values: NDArray[Any], sort: str) -> NDArray[Any]:
    return -values if sort.startswith("-") else values


def trade_count(row: Backtest) -> int:
    if row.trades is None:
        return 0
    return int(pq.read_metadata(local_path(row.trades)).num_rows)


def trades_csv(row: Backtest) -> str:
    """All trades as CSV: the file of the page and of the API."""
    names = ["number", *pq.read_schema(local_path(_finished(row.trades))).names]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for trade in trade_rows(row):
        writer.writerow({name: harmless(value) for name, value in trade.items()})
    return text.getvalue()


def report_json(row: Backtest) -> str:
    """report.json of the page and of the API: the stored report, and what it was made of.

    Everything that equal runs share stands under `numbers`; ids and times stand outside of it.
    """
    run, version = row.run, row.version
    document = {
        "id": row.pk,
        "name": row.name,
        "dataset": {"id": version.dataset_id, "version": version.number, "sha256": version.sha256},
        "run": {
            "id": run.pk,
            "seed": run.seed,
            "weights_sha256": run.weights_sha256,
            "predictions_sha256": run.predictions_sha256,
            "data_sha256": run.data_sha256,
            "code_version": run.code_version,
            "leak_alarm": run.leak_alarm,
            "alarm_explanation": run.alarm_explanation,
        },
        "model": _model_of(row),
        "spec": row.spec.to_json(),
        "spec_sha256": row.spec_sha256,
        **row.report,
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def _model_of(row: Backtest) -> Json | None:
    """The registered model that predicted, and what it said; None for predictions of a run."""
    later = row.model_prediction
    if later is None:
        return None
    return {
        "id": later.model_id,
        "name": later.model.name,
        "fold": later.model.fold.number,
        "weights_sha256": later.model.fold.weights_sha256,
        "prediction": later.pk,
        "predictions_sha256": later.predictions.sha256 if later.predictions else "",
        "out_of_sample_from": later.model.out_of_sample_from.isoformat().replace("+00:00", "Z"),
    }


def harmless(value: Any) -> Any:  # Any: a cell
    """Text that a spreadsheet would run gets a leading quote; numbers stay as they are."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}".replace("\r", " ")  # the writer does not quote a carriage return
    return value


def _finished(stored: StoredFile | None) -> StoredFile:
    if stored is None:
        raise FileNotFoundError("the backtest has no such file yet")
    return stored


def _columns(stored: StoredFile | None) -> Columns:
    table = pq.read_table(local_path(_finished(stored)))
    return {name: table[name].to_numpy() for name in table.column_names}


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return None
    return plain
