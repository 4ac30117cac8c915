"""Which measures of a quality report exceed what a dataset may have without someone looking."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markets.specs import TIMEFRAME_MINUTES
from specs.writing import grouped

Report = dict[str, Any]  # Any: JSON has no narrower type


@dataclass(frozen=True)
class Limit:
    """One measure of a report and the largest value that needs no acceptance."""

    code: str
    label: str
    at_most: float
    unit: str  # "share" (a fraction), "hours", "bars" or "factor"
    measure: Callable[[Report], float]


@dataclass(frozen=True)
class Finding:
    """A measure above its limit, in the unit of the limit; `message` says both in words."""

    code: str
    message: str
    found: float
    at_most: float

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """The finding as it is stored and as the API shows it."""
        return {
            "code": self.code,
            "message": self.message,
            "found": self.found,
            "at_most": self.at_most,
        }


def _share_of_rows(key: str) -> Callable[[Report], float]:
    return lambda report: report[key] / max(1, report["rows_kept"])


def _dropped_share(report: Report) -> float:
    return sum(item["count"] for item in report["dropped"]) / max(1, report["rows_read"])


def _longest_gap_hours(report: Report) -> float:
    longest = max((gap["missing_bars"] for gap in report["largest_gaps"]), default=0)
    return float(longest * TIMEFRAME_MINUTES[report["timeframe"]] / 60)


def _largest_move(report: Report) -> float:
    return math.exp(max((abs(row["log_return"]) for row in report["outliers"]), default=0.0))


LIMITS = (
    Limit("missing_share", "Missing bars", 0.02, "share", lambda report: report["missing_share"]),
    Limit("longest_gap", "Longest gap", 72.0, "hours", _longest_gap_hours),
    Limit("dropped_share", "Rows dropped", 0.001, "share", _dropped_share),
    Limit("zero_volume_share", "No volume", 0.05, "share", _share_of_rows("zero_volume_bars")),
    Limit("flat_share", "Flat bars", 0.10, "share", _share_of_rows("flat_bars")),
    Limit("flat_run", "Longest flat run", 96, "bars", lambda report: report["longest_flat_run"]),
    Limit("outlier_share", "Outliers", 0.005, "share", _share_of_rows("outlier_count")),
    Limit("largest_move", "Largest move of one bar", 2.0, "factor", _largest_move),
)


def findings(report: Report) -> tuple[Finding, ...]:
    """What in a quality report exceeds the limits, in their order; nothing when all is within.

    `report` is that of a sealed version (`quality_report`, or `candle_quality` with rows_read,
    rows_kept, dropped and timeframe). A value equal to its limit is within. Raises KeyError when the
    report lacks a measure.
    """
    found = ((limit, float(limit.measure(report))) for limit in LIMITS)
    return tuple(
        Finding(limit.code, _message(limit, value), value, limit.at_most)
        for limit, value in found
        if value > limit.at_most
    )


def _message(limit: Limit, value: float) -> str:
    found, allowed = _in_words(value, limit.unit), _in_words(limit.at_most, limit.unit)
    return f"{limit.label}: found {found}, expected at most {allowed}."


def _in_words(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.2f} %"
    if unit == "factor":
        return f"a factor of {value:.2f}"
    return f"{grouped(value)} {unit}"


def counted(count: int, noun: str) -> str:
    """A count and its noun in messages, such as 1 gap or 51 840 bars; the plural takes an s."""
    return f"{grouped(count)} {noun}" if count == 1 else f"{grouped(count)} {noun}s"
