"""A stored report and its files as the rows of a page; nothing is computed here that the report has."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from django.core.paginator import Page, Paginator

from accounts.editing import PER_PAGE
from backtests.measures import HEADLINE, MEASURES, NOTHING_TO_DEFLATE, PATH_MEASURES, REASONS
from backtests.models import Backtest
from backtests.reading import equity_columns, trade_count, trade_rows
from markets.charts import Figure
from markets.reading import CandleRange, ns_of
from modeling.measures import in_order, rung_label, rung_words

Json = dict[str, Any]  # Any: stored JSON
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The darkest shade of the month table stands for this return, in percent of the colour.
DEEPEST_SHADE, DEEPEST_RETURN = 45, 0.10
SPREAD = ("Lowest", "Median", "Highest")
RUNG_KEYS = ("total_return", "sharpe", "max_drawdown", "trades", "exposure", "turnover")


def verdict_words(report: Json) -> Json:
    """The verdict in the words of the page; the rung beside the word is the one that decided it."""
    verdict = report["verdict"]
    words = {"word": verdict["word"], "sentence": verdict["sentence"]}
    deciding = verdict["deciding"]
    if deciding is None:
        return words
    return words | {
        "against": rung_words(deciding["rung"]),
        "best": rung_words(verdict["best_rung"]),
        "rungs": verdict["rungs"],
        "low": deciding["low"],
        "high": deciding["high"],
    }


def measure_rows(report: Json, keys: tuple[str, ...] | None = None) -> list[Json]:
    """Measures with value, benchmark value and the reason of a null, in their declared order."""
    numbers, reasons = report.get("numbers", {}), report.get("reasons", {})
    benchmark = numbers.get("benchmark", {})
    plain = ("deflated_sharpe",) if numbers.get("deflated_is_plain") else ()
    return [
        {
            "measure": MEASURES[key],
            "value": numbers.get(key),
            "benchmark": benchmark.get(key),
            "reason": REASONS.get(reasons.get(key, ""), reasons.get(key, "").replace("_", " ")),
            "note": NOTHING_TO_DEFLATE if key in plain else "",
        }
        for key in (keys or MEASURES)
        if key in numbers
    ]


def headline(report: Json) -> list[Json]:
    """The few measures of the strip under the verdict."""
    return measure_rows(report, HEADLINE)


def deflated(report: Json) -> Json:
    """The deflated Sharpe ratio with its note; it ends the strip."""
    return measure_rows(report, ("deflated_sharpe",))[0]


def single(report: Json, key: str) -> Json:
    """One measure of a report; empty where the report was made before there was such a measure."""
    return next(iter(measure_rows(report, (key,))), {})


def rung_rows(report: Json) -> list[Json]:
    """This model first, then every rung, with the same few measures, or the reason for none."""
    numbers, verdict = report.get("numbers", {}), report.get("verdict", {})
    failed = report.get("failed_rungs", {})
    named = {"model": numbers, **numbers.get("rungs", {})}
    words = {found["rung"]: found for found in verdict.get("comparisons", [])}
    return [
        {
            "label": rung_label(name),
            "cells": [
                {"measure": MEASURES[key], "value": named.get(name, {}).get(key)}
                for key in RUNG_KEYS
            ],
            "comparison": words.get(name),
            "is_best": name == verdict.get("best_rung"),
            "reason": failed.get(name, ""),
        }
        for name in in_order([*named, *failed])
    ]


def path_rows(report: Json) -> list[Json]:
    """Every path of a combinatorial run, then the ends and the middle of all; else nothing."""
    spread = report.get("numbers", {}).get("paths", {})
    columns = [
        [*found["values"], found["min"], found["median"], found["max"]]
        for found in (spread.get(key) for key in PATH_MEASURES)
        if found
    ]
    rows = list(zip(*columns, strict=True))
    labels = [f"Path {number}" for number in range(1, len(rows) - 2)]
    return [
        {
            "label": label,
            "cells": [
                {"measure": MEASURES[key], "value": value}
                for key, value in zip(PATH_MEASURES, values, strict=True)
            ],
            "is_headline": label == "Path 1",
        }
        for label, values in zip([*labels, *SPREAD][: len(rows)], rows, strict=True)
    ]


def rung_heads() -> list[Any]:  # Any: Measure
    return [MEASURES[key] for key in RUNG_KEYS]


def month_rows(report: Json) -> list[Json]:
    """The month table with a shade for each cell, so that depth shows beside sign and number."""
    rows = []
    for year in report.get("numbers", {}).get("monthly", []):
        cells = [_shaded(value) for value in year["months"]]
        rows.append({"year": year["year"], "cells": cells, "total": _shaded(year["total"])})
    return rows


def _shaded(value: float | None) -> Json:
    if value is None:
        return {"value": None, "class": "", "depth": 0}
    depth = round(min(1.0, abs(value) / DEEPEST_RETURN) * DEEPEST_SHADE)
    return {
        "value": value,
        "class": "gain" if value > 0 else "loss" if value < 0 else "",
        "depth": depth,
    }


def equity_chart(row: Backtest, span: CandleRange) -> Figure:
    """Equity, benchmark and band within a span."""
    from backtests.charts import equity_figure

    columns = _within(equity_columns(row), span)
    band = None
    if "equity_min" in columns:
        band = (columns["equity_min"], columns["equity_max"])
    return equity_figure(columns["time"], columns["equity"], columns["benchmark"], band)


def drawdown_chart(row: Backtest) -> Figure:
    """Of the whole track: a part of it would not know its earlier peak."""
    from backtests.charts import drawdown_figure

    columns = equity_columns(row)
    times, capital = columns["time"], row.spec.capital
    bar_ns = int(np.diff(times).min()) if len(times) > 1 else 1
    return drawdown_figure(
        np.concatenate([[times[0] - bar_ns], times]),
        np.concatenate([[capital], columns["equity"]]),
        np.concatenate([[capital], columns["benchmark"]]),
    )


def trade_page(row: Backtest, number: str, sort: str) -> Page[Json]:
    """One page of the trades with their times as instants. Raises InvalidPage."""
    pages: Paginator[Any] = Paginator(range(trade_count(row)), PER_PAGE)  # Any: places, then rows
    page = pages.page(number)
    start = max(0, page.start_index() - 1)
    rows = trade_rows(row, start, page.end_index(), sort=sort) if row.trades else []
    for trade in rows:
        trade["entry_at"] = datetime.fromisoformat(trade["entry_time"])
        trade["exit_at"] = trade["exit_time"] and datetime.fromisoformat(trade["exit_time"])
    return Page(rows, page.number, pages)


def _within(columns: dict[str, Any], span: CandleRange) -> dict[str, Any]:
    times = columns["time"]
    start = np.searchsorted(times, ns_of(span.from_at)) if span.from_at else 0
    stop = np.searchsorted(times, ns_of(span.to_at)) if span.to_at else len(times)
    if stop <= start:
        return columns
    return {name: values[start:stop] for name, values in columns.items()}
