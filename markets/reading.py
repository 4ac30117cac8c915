"""Slices of sealed candles for pages and the API; nothing here needs pandas."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from artifacts.store import local_path
from markets.candles.aggregate import ChartBars, aggregate_candles
from markets.candles.frame import Candles, read_candles
from markets.models import DatasetVersion

CANDLES_MAX = 2000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
NS_MAX = 2**63 - 1


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
    most: int = CANDLES_MAX

    @classmethod
    def parse(cls, params: Any) -> CandleRange:  # Any: a QueryDict or a dict of texts
        """Read `from`, `to` and `max`. Raises InvalidRange."""
        most = params.get("max", str(CANDLES_MAX))
        is_number = most.isascii() and most.isdigit() and len(most) < 10
        if not (is_number and 1 <= int(most) <= CANDLES_MAX):
            raise InvalidRange("max", f"found {most[:20]!r}; expected 1 to {CANDLES_MAX}")
        return cls(_instant(params, "from"), _instant(params, "to"), int(most))


def candles_in(version: DatasetVersion, span: CandleRange) -> Candles:
    """The candles of a version whose open lies in [from_at, to_at)."""
    candles = read_candles(local_path(version.file), version.dataset.timeframe_minutes)
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
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def ns_of(instant: datetime) -> int:
    """Nanoseconds since 1970, or the nearest end of what 64 bits can hold."""
    since = (instant - EPOCH) // timedelta(microseconds=1) * 1000
    return max(-NS_MAX, min(NS_MAX, since))
