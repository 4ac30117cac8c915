"""Slices of sealed candles for pages and the API; nothing here needs pandas."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from artifacts.store import FileChanged, local_path, verified_path
from markets.candles.aggregate import MAX_POINTS, ChartBars, aggregate_candles
from markets.candles.frame import VALUE_COLUMNS, Candles, read_candles
from markets.models import DatasetVersion

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LATEST = datetime(2262, 4, 11, tzinfo=timezone.utc)  # 64 bits hold no later nanosecond
NS_MAX = 2**63 - 1
DAY = timedelta(days=1)
SPANS = (("Last day", DAY), ("Last week", 7 * DAY), ("Last month", 30 * DAY))
FEWEST_BARS = 10  # of a span that is worth a link
BARS_AROUND = 60  # shown before and after a gap or an outlier
CSV_ROWS = 20_000


class InvalidRange(ValueError):
    """A range that cannot be shown; `field` names the parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class CandleRange:
    """Which candles, as a page or a program asks: instants in UTC, at most `most` bars."""

    from_at: datetime | None = None
    to_at: datetime | None = None
    most: int = MAX_POINTS

    @classmethod
    def parse(cls, params: Any) -> CandleRange:  # Any: a QueryDict or a dict of texts
        """Read `from`, `to` and `max`. Raises InvalidRange."""
        most = params.get("max", str(MAX_POINTS))
        is_number = most.isascii() and most.isdigit() and len(most) < 10
        if not (is_number and 1 <= int(most) <= MAX_POINTS):
            raise InvalidRange("max", f"found {most[:20]!r}; expected 1 to {MAX_POINTS}")
        return cls(_instant(params, "from"), _instant(params, "to"), int(most))


class Stretch(Protocol):
    """Bars from one open time to another, as a version or a prediction set has them."""

    @property
    def first_at(self) -> datetime: ...

    @property
    def last_at(self) -> datetime: ...

    @property
    def bar(self) -> timedelta: ...


@dataclass(frozen=True)
class Jump:
    """A link to another part of the chart; `query` is empty for the whole of it."""

    label: str
    query: str


def shown_span(shown: Stretch, params: Any) -> CandleRange:  # Any: as in `parse`
    """What a page shows: `from` and `to`, or the day of `at` and what follows. Raises InvalidRange."""
    if not params.get("at"):
        return CandleRange.parse(params)
    at = _instant(params, "at")
    assert at is not None  # it is not empty
    end = shown.last_at + shown.bar
    return CandleRange(at, min(at, end) + max(DAY, BARS_AROUND * shown.bar))


def range_links(shown: Stretch, span: CandleRange) -> list[Jump]:
    """Where one can go from a part of the chart: last spans, everything, earlier and later."""
    first, end = shown.first_at, shown.last_at + shown.bar
    links = [
        Jump(label, span_query(end - length, end))
        for label, length in SPANS
        if FEWEST_BARS * shown.bar <= length < end - first
    ]
    links.append(Jump("All", ""))
    left, right = max(span.from_at or first, first), min(span.to_at or end, end)
    if right <= left:
        return links
    if left > first:
        links.append(Jump("Earlier", span_query(max(first, left - (right - left)), left)))
    if right < end:
        links.append(Jump("Later", span_query(right, min(end, right + (right - left)))))
    return links


def jump_to(version: DatasetVersion, at: datetime, bars: int = 0) -> str:
    """The query of a span around a bar, or around a hole of so many `bars` behind it."""
    around = BARS_AROUND * version.bar
    return span_query(at - around, at + bars * version.bar + around)


def span_query(from_at: datetime, to_at: datetime) -> str:
    return urlencode({"from": f"{from_at:%Y-%m-%dT%H:%M}Z", "to": f"{to_at:%Y-%m-%dT%H:%M}Z"})


def candles_csv(version: DatasetVersion) -> Iterator[bytes]:
    """A version as CSV in pieces: ISO 8601 times with Z, numbers that read back to the same bits.

    Raises FileChanged before the first piece when the stored candles are not what was sealed.
    """
    candles = read_candles(verified_path(version.file), version.dataset.timeframe_minutes)
    return _csv_pieces(candles)


def _csv_pieces(candles: Candles) -> Iterator[bytes]:
    yield f"timestamp,{','.join(VALUE_COLUMNS)}\n".encode()
    plain = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    for start in range(0, len(candles), CSV_ROWS):
        part = candles.slice(start, start + CSV_ROWS)
        times = np.datetime_as_string(part.time.astype("datetime64[ns]"), unit="s", timezone="UTC")
        table = {"timestamp": times, **{name: getattr(part, name) for name in VALUE_COLUMNS}}
        piece = io.BytesIO()
        pa_csv.write_csv(pa.table(table), piece, plain)
        yield piece.getvalue()


def candles_in(version: DatasetVersion, span: CandleRange) -> Candles:
    """The candles of a version whose open lies in [from_at, to_at). Raises FileChanged."""
    try:
        candles = read_candles(local_path(version.file), version.dataset.timeframe_minutes)
    except (OSError, pa.ArrowException) as error:
        raise FileChanged(f"the candles of {version} are gone or damaged") from error
    start = np.searchsorted(candles.time, ns_of(span.from_at)) if span.from_at else 0
    stop = np.searchsorted(candles.time, ns_of(span.to_at)) if span.to_at else len(candles)
    return candles.slice(int(start), max(int(start), int(stop)))


def chart_bars(version: DatasetVersion, span: CandleRange) -> tuple[ChartBars, bool]:
    """At most `span.most` chart bars, and whether candles were joined."""
    return aggregate_candles(candles_in(version, span), span.most)


def iso_times(times_ns: Any) -> list[str]:  # Any: an int64 array
    """ISO 8601 with Z for each instant in nanoseconds."""
    return [
        datetime.fromtimestamp(int(time) / 1e9, timezone.utc).isoformat().replace("+00:00", "Z")
        for time in times_ns
    ]


def _instant(params: Any, name: str) -> datetime | None:
    """The time in UTC; one that no candle can have is the nearest that one can. Raises InvalidRange."""
    text = params.get(name, "")
    if not text:
        return None
    try:
        # A plus sign in a query string arrives as a blank.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise InvalidRange(
            name, f"found {text[:40]!r}; expected a time such as 2024-01-31T00:00Z"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    return min(max(found, EPOCH), LATEST).astimezone(timezone.utc)


def ns_of(instant: datetime) -> int:
    """Nanoseconds since 1970, or the nearest end of what 64 bits can hold."""
    since = (instant - EPOCH) // timedelta(microseconds=1) * 1000
    return max(-NS_MAX, min(NS_MAX, since))
