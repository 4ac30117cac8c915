"""The quality report of an import: what was read, what is missing, what looks odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.candles.raw import Notice, RawCandles
from markets.specs import timeframe_name

LARGEST_GAPS = 50
GAPS_LISTED = 10_000  # about half a megabyte; a rarely traded market has a gap at every other bar
LARGEST_OUTLIERS = 20
OUTLIER_MEDIANS = 25.0


@dataclass(frozen=True)
class Dropped:
    """Rows left out because they broke one rule; `lines` are the first five."""

    code: str
    count: int
    lines: tuple[int, ...]


def utc_text(time_ns: int) -> str:
    """An instant as ISO 8601 in UTC, to the second, such as 2024-01-31T00:00:00Z."""
    return f"{np.datetime64(time_ns // 1_000_000_000, 's')}Z"


def quality_report(
    candles: Candles,
    *,
    raw: RawCandles,
    policy: str,
    order: str,
    dropped: Sequence[Dropped],
    duplicates: int,
    notices: Sequence[Notice],
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Everything the quality tab shows, as plain JSON data; times are ISO 8601 in UTC."""
    settings = raw.settings
    return {
        "file": {
            "name": settings.file_name,
            "bytes": settings.file_bytes,
            "format": settings.format,
            "layout": settings.layout,
            "delimiter": settings.delimiter,
            "encoding": settings.encoding,
        },
        "columns": {"used": settings.used, "ignored": list(settings.ignored)},
        "timestamp": {
            "unit": settings.timestamp_unit,
            "timezone": settings.timezone,
            "order": order,
        },
        "timeframe": timeframe_name(candles.timeframe_minutes),
        "policy": policy,
        "rows_read": len(raw),
        "rows_kept": len(candles),
        "dropped": [
            {"code": item.code, "count": item.count, "lines": list(item.lines)} for item in dropped
        ],
        "duplicates_dropped": duplicates,
        **candle_quality(candles),
        "notices": [notice.to_json() for notice in notices],
    }


def candle_quality(candles: Candles) -> dict[str, Any]:  # Any: JSON has no narrower type
    """The part of the report that the candles alone give: gaps, flat and empty bars, outliers.

    At least one candle is needed. `missing_share` is of the bars from the first to the last. Of more
    than 10 000 gaps the longest are listed; all are counted.
    """
    after = np.flatnonzero(candles.gap_before)
    holes = (candles.time[after] - candles.time[after - 1]) // candles.bar_ns - 1
    gaps = _listed_gaps(candles.time[after - 1], holes)
    missing = int(holes.sum())
    flat = candles.high == candles.low
    outliers = _outliers(candles)
    return {
        "gap_count": len(holes),
        "missing_bars": missing,
        "missing_share": missing / (missing + len(candles)),
        "largest_gaps": sorted(gaps, key=lambda gap: -gap["missing_bars"])[:LARGEST_GAPS],
        "gaps": gaps,
        "zero_volume_bars": int((candles.volume == 0).sum()),
        "flat_bars": int(flat.sum()),
        "longest_flat_run": _longest_run(flat, candles.gap_before),
        "outlier_count": len(outliers),
        "outliers": outliers[:LARGEST_OUTLIERS],
        "price_range": [float(candles.low.min()), float(candles.high.max())],
        "volume_range": [float(candles.volume.min()), float(candles.volume.max())],
        "first_at": utc_text(int(candles.time[0])),
        "last_at": utc_text(int(candles.time[-1])),
    }


def _listed_gaps(
    before: NDArray[np.int64], holes: NDArray[np.int64]
) -> list[dict[str, Any]]:  # Any: JSON has no narrower type
    """The longest holes in order of time: the open (ns) of the bar before each, and its length in bars."""
    longest = np.sort(np.argsort(-holes, kind="stable")[:GAPS_LISTED])
    return [
        {"after": utc_text(time), "missing_bars": count}
        for time, count in zip(before[longest].tolist(), holes[longest].tolist(), strict=True)
    ]


def _outliers(candles: Candles) -> list[dict[str, Any]]:  # Any: JSON has no narrower type
    """Bars whose close moved by more than 25 times the median move of adjacent bars, largest first.

    The median is of the non-zero absolute log returns; a return across a gap is none.
    """
    returns = np.diff(np.log(candles.close))
    adjacent = ~candles.gap_before[1:]
    size = np.where(adjacent, np.abs(returns), 0.0)
    moved = size[size > 0]
    if not len(moved):
        return []
    found = np.flatnonzero(size > OUTLIER_MEDIANS * np.median(moved))
    found = found[np.argsort(-size[found], kind="stable")]
    return [
        {"at": utc_text(int(candles.time[index + 1])), "log_return": float(returns[index])}
        for index in found.tolist()
    ]


def _longest_run(flags: NDArray[np.bool_], breaks: NDArray[np.bool_]) -> int:
    """Length of the longest unbroken run of true flags; a break starts a new run."""
    starts = flags & (breaks | ~np.concatenate(([False], flags[:-1])))
    if not flags.any():
        return 0
    run_of_bar = np.cumsum(starts)[flags]
    return int(np.bincount(run_of_bar).max())
