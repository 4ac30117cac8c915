"""Rows to candles: every rule a candle must keep, and what to do with a row that breaks one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.candles.errors import InvalidCandles as InvalidCandles
from markets.candles.frame import NS_PER_MINUTE, Candles
from markets.candles.raw import Notice, RawCandles
from markets.candles.report import Dropped, quality_report, utc_text
from markets.specs import TIMEFRAME_MINUTES, ImportSpec

FIRST_INSTANT_NS = 1_230_940_800_000_000_000  # 2009-01-03, the day of the first Bitcoin block
MIN_ROWS = 3
MAX_DROPPED_SHARE = 0.01
SHOWN_LINES = 5
STRAIGHT_FROM, STRAIGHT_TO = 0.9, 1.1

RULES = {
    "bad_value": "a price or the volume is empty, NaN or infinite",
    "bad_price": "a price is zero or below",
    "negative_volume": "the volume is below zero",
    "ohlc_violation": "the low, open, close and high are not in order "
    "(expected low ≤ min(open, close) ≤ max(open, close) ≤ high)",
    "off_grid": "the time is not a multiple of the timeframe",
    "conflicting_duplicate": "the same time occurs again with other values",
}


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows in work: `values` is [5, N] in the order of VALUE_COLUMNS."""

    time: NDArray[np.int64]
    values: NDArray[np.float64]
    line: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def where(self, keep: NDArray[Any]) -> Rows:  # Any: a mask or indices
        """The rows that a mask or a list of indices picks, in its order."""
        return Rows(self.time[keep], self.values[:, keep], self.line[keep])


def validate_candles(
    raw: RawCandles, spec: ImportSpec, now_ns: int
) -> tuple[Candles, dict[str, Any]]:  # Any: JSON has no narrower type
    """Checked candles, sorted and without duplicates, and their quality report as JSON data.

    A last bar that is not closed at `now_ns` is dropped with a notice. Rows that break a rule end
    the import under `reject`; under `drop` they are left out and counted, at most 1 % of all rows.
    Equal duplicates are dropped under both. Missing bars are reported, never filled; prices are
    never touched. Raises InvalidCandles.
    """
    if not len(raw):
        raise InvalidCandles("no_rows", "The file has no rows of candles. Choose another file.")
    notices = list(raw.notices)
    rows, volume_notices = rows_of(raw)
    notices += volume_notices
    check_range(rows, now_ns, raw.place)
    order = order_of(rows.time)
    if order != "ascending":
        rows = rows.where(np.argsort(rows.time, kind="stable"))
        notices.append(Notice("sorted", f"The rows were {order} and have been sorted by time."))
    minutes = timeframe_of(rows.time, spec)
    rows, unfinished = without_unfinished(rows, minutes, now_ns)
    notices += unfinished
    rows, dropped = _apply_rules(rows, minutes, spec, raw.place, len(raw))
    rows, duplicates = _without_equal_duplicates(rows)
    if duplicates:
        text = "Rows that repeat another row exactly were dropped."
        notices.append(Notice("duplicates_dropped", text, duplicates))
    candles = Candles(minutes, rows.time, *(rows.values + 0.0))
    report = quality_report(
        candles,
        raw=raw,
        policy=spec.on_violation,
        order=order,
        dropped=dropped,
        duplicates=duplicates,
        notices=notices,
    )
    return candles, report


def rows_of(raw: RawCandles) -> tuple[Rows, list[Notice]]:
    """The rows as read, with the base volume, and notices of what was swapped."""
    volume, notices = base_volume(raw)
    values = np.stack([raw.open, raw.high, raw.low, raw.close, volume])
    return Rows(raw.time, values, raw.line), notices


def check_range(rows: Rows, now_ns: int, place: str) -> None:
    """Raises InvalidCandles `timestamp_out_of_range` for a time before 2009-01-03 or after now."""
    wrong = np.flatnonzero((rows.time < FIRST_INSTANT_NS) | (rows.time > now_ns))
    if not len(wrong):
        return
    line = int(rows.line[wrong[0]])
    raise InvalidCandles(
        "timestamp_out_of_range",
        f"{place} {line}: the time {utc_text(int(rows.time[wrong[0]]))} is not between 2009-01-03 "
        "and now. Check the time column and its unit.",
        line=line,
        count=len(wrong),
        lines=rows.line[wrong[:SHOWN_LINES]].tolist(),
    )


def order_of(time: NDArray[np.int64]) -> str:
    """How the times come: ascending, newest first or unsorted."""
    step = np.diff(time)
    if (step >= 0).all():
        return "ascending"
    return "newest first" if (step <= 0).all() else "unsorted"


def timeframe_of(time: NDArray[np.int64], spec: ImportSpec) -> int:
    """Minutes of the most frequent step between different sorted times, checked against the claim.

    Raises InvalidCandles `too_few_rows`, `unsupported_timeframe` or `timeframe_mismatch`.
    """
    steps = np.diff(time)
    steps = steps[steps > 0]
    if len(time) < MIN_ROWS or not len(steps):
        raise InvalidCandles(
            "too_few_rows", f"{len(time)} rows are too few to tell the timeframe; send at least 3."
        )
    sizes, counts = np.unique(steps, return_counts=True)
    step = int(sizes[counts.argmax()])
    known = {minutes * NS_PER_MINUTE: name for name, minutes in TIMEFRAME_MINUTES.items()}
    if step not in known:
        raise InvalidCandles(
            "unsupported_timeframe",
            f"Most rows are {step / NS_PER_MINUTE:g} minutes apart. "
            f"Supported timeframes: {', '.join(TIMEFRAME_MINUTES)}.",
        )
    if spec.timeframe not in ("auto", known[step]):
        raise InvalidCandles(
            "timeframe_mismatch",
            f"The form says {spec.timeframe}, but most rows are {known[step]} apart. "
            "Leave the timeframe on auto, or choose the right file.",
        )
    return TIMEFRAME_MINUTES[known[step]]


def without_unfinished(rows: Rows, minutes: int, now_ns: int) -> tuple[Rows, list[Notice]]:
    """The rows without a bar that is not yet closed, and a notice where there was one."""
    closed = rows.time + minutes * NS_PER_MINUTE <= now_ns
    count = int((~closed).sum())
    if not count:
        return rows, []
    notice = Notice("unfinished_bar_dropped", "The last bar was not yet closed; dropped.", count)
    return rows.where(closed), [notice]


def base_volume(raw: RawCandles) -> tuple[NDArray[np.float64], list[Notice]]:
    """Base volume, taken row by row from the other column where the two are swapped.

    With r = quote / base a row is straight when 0.9·low ≤ r ≤ 1.1·high, and swapped when 1/r is and
    r is not. Rows in which either volume is zero or not finite are left alone.
    """
    if raw.quote_volume is None:
        return raw.volume, []
    low, high = STRAIGHT_FROM * raw.low, STRAIGHT_TO * raw.high
    known = (raw.volume > 0) & (raw.quote_volume > 0)
    known &= np.isfinite(raw.volume) & np.isfinite(raw.quote_volume)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(known, raw.quote_volume / raw.volume, np.nan)
        straight = (low <= ratio) & (ratio <= high)
        swapped = (low <= 1 / ratio) & (1 / ratio <= high) & ~straight
    notices = []
    if swapped.any():
        last = utc_text(int(raw.time[swapped].max()))
        text = f"Base and quote volume were swapped in these rows, last at {last}."
        notices.append(Notice("volume_unit_switched", text, int(swapped.sum())))
    neither = known & ~straight & ~swapped
    if neither.any():
        text = "Quote volume divided by base volume is far from the price; the base volume is kept."
        notices.append(Notice("volume_mismatch", text, int(neither.sum())))
    return np.where(swapped, raw.quote_volume, raw.volume), notices


def _apply_rules(
    rows: Rows, minutes: int, spec: ImportSpec, place: str, rows_read: int
) -> tuple[Rows, list[Dropped]]:
    broken = broken_by_rule(rows, minutes)
    dropped: list[Dropped] = []
    wrong = np.zeros(len(rows), dtype=np.bool_)
    for code, mask in broken.items():
        mask = mask & ~wrong
        if not mask.any():
            continue
        lines = np.sort(rows.line[mask])
        if spec.on_violation == "reject":
            raise violation(code, lines, place)
        dropped.append(Dropped(code, int(mask.sum()), tuple(lines[:SHOWN_LINES].tolist())))
        wrong |= mask
    rows, conflicts = without_conflicts(rows.where(~wrong))
    if len(conflicts):
        code, lines = "conflicting_duplicate", np.sort(conflicts)
        if spec.on_violation == "reject":
            raise violation(code, lines, place)
        dropped.append(Dropped(code, len(lines), tuple(lines[:SHOWN_LINES].tolist())))
    _check_share(dropped, rows_read)
    return rows, dropped


def broken_by_rule(rows: Rows, minutes: int) -> dict[str, NDArray[np.bool_]]:
    """Which rows break each rule that a row can break alone, as masks [N]."""
    opened, high, low, close, volume = rows.values
    prices = rows.values[:4]
    with np.errstate(invalid="ignore"):
        in_order = (
            (low <= np.minimum(opened, close)) & (np.maximum(opened, close) <= high) & (low <= high)
        )
        return {
            "bad_value": ~np.isfinite(rows.values).all(axis=0),
            "bad_price": (prices <= 0).any(axis=0),
            "negative_volume": volume < 0,
            "ohlc_violation": ~in_order,
            "off_grid": rows.time % (minutes * NS_PER_MINUTE) != 0,
        }


def without_conflicts(rows: Rows) -> tuple[Rows, NDArray[np.int64]]:
    """Sorted rows without all rows of a time that has different values, and the lines of those."""
    starts = np.flatnonzero(np.diff(rows.time, prepend=-1))
    if len(starts) == len(rows):
        return rows, np.empty(0, dtype=np.int64)
    counts = np.diff(starts, append=len(rows))
    first = np.repeat(starts, counts)
    differs = (rows.values != rows.values[:, first]).any(axis=0)
    conflicting = np.repeat(np.logical_or.reduceat(differs, starts), counts)
    return rows.where(~conflicting), rows.line[conflicting]


def _without_equal_duplicates(rows: Rows) -> tuple[Rows, int]:
    is_first = np.diff(rows.time, prepend=-1) != 0
    return (rows, 0) if is_first.all() else (rows.where(is_first), int((~is_first).sum()))


def violation(code: str, lines: NDArray[np.int64], place: str) -> InvalidCandles:
    """The refusal for rows that break one rule, with the first five lines and the count."""
    shown = ", ".join(str(line) for line in lines[:SHOWN_LINES].tolist())
    more = len(lines) - SHOWN_LINES
    rows = "row" if len(lines) == 1 else "rows"
    where = place if len(lines) == 1 else f"{place}s"
    listed = f"{where} {shown} and {more} more" if more > 0 else f"{where} {shown}"
    return InvalidCandles(
        code,
        f"{len(lines)} {rows}: {RULES[code]}. {listed}. "
        "Correct the file, or choose to drop such rows.",
        line=int(lines[0]),
        count=len(lines),
        lines=lines[:SHOWN_LINES].tolist(),
    )


def _check_share(dropped: list[Dropped], rows_read: int) -> None:
    count = sum(item.count for item in dropped)
    if count <= MAX_DROPPED_SHARE * rows_read:
        return
    listed = ", ".join(f"{item.code} {item.count}" for item in dropped)
    raise InvalidCandles(
        "too_many_violations",
        f"{count} of {rows_read} rows break a rule ({listed}); at most 1 % may be dropped. "
        "Correct the file.",
        count=count,
        lines=dropped[0].lines,
    )
