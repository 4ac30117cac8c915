"""The certificate of a long history, for which recomputing all of it at each bar would take too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from markets.candles.frame import Candles
from markets.features.certificate import Compute, bars_with_all_features, certify_features
from markets.features.compute import compute_features
from markets.features.registry import history_bars
from markets.features.table import FeatureTable

BARS = 200
STRETCHES = 10
WHOLE_BARS = 4  # of the whole history, which ties the stored values to the stretches


def certify_history(
    candles: Candles,
    table: FeatureTable,
    *,
    bars: int = BARS,
    seed: int = 0,
    compute: Compute = compute_features,
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """The certificate of `certify_features` at `bars` seeded bars, in bounded time.

    A history of more than ten stretches is checked in ten stretches spread evenly over it, each
    twice as long as the history that all features need, and each with an equal share of the bars:
    its table is computed from the stretch alone, then with the future removed and altered. Four
    more bars are checked on the whole history against `table` itself. A shorter history is checked
    whole. Timescales on which no bar knows all features are listed under `untested_scales`; when
    none is left nothing was tested and nothing passes.
    """
    testable = tuple(k for k in table.scales if _is_testable(table, k))
    untested = [k for k in table.scales if k not in testable]
    if not testable:
        empty = certify_features(candles, table, bars=0, seed=seed, compute=compute)
        return empty | {"untested_scales": untested, "stretches": 0, "stretch_bars": 0}
    table = FeatureTable(table.names, {k: table.scales[k] for k in testable})
    length = 2 * history_bars(candles.timeframe_minutes, testable)
    if len(candles) <= STRETCHES * length:
        found = certify_features(candles, table, bars=bars, seed=seed, compute=compute)
        return found | {"untested_scales": untested, "stretches": 0, "stretch_bars": 0}
    parts = [certify_features(candles, table, bars=WHOLE_BARS, seed=seed, compute=compute)]
    for number, start in enumerate(_starts(len(candles), length)):
        stretch = candles.slice(start, start + length)
        own = compute(stretch, table.names, testable)
        share = bars // STRETCHES
        parts.append(
            certify_features(stretch, own, bars=share, seed=seed + 1 + number, compute=compute)
        )
    facts = {"untested_scales": untested, "stretches": STRETCHES, "stretch_bars": length}
    return _joined(parts, seed) | facts


def _is_testable(table: FeatureTable, k: int) -> bool:
    """Whether some bar but the last knows all features of this scale."""
    alone = FeatureTable(table.names, {1: table.base, k: table.scales[k]})
    return bool(bars_with_all_features(alone)[:-1].any())


def _starts(total: int, length: int) -> list[int]:
    return [int(start) for start in np.linspace(0, total - length, STRETCHES)]


def _joined(parts: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """One certificate of several: it passes when all do, and keeps the first reason of a failure."""
    return {
        "passed": all(part["passed"] for part in parts),
        "code_version": parts[0]["code_version"],
        "bars_tested": sum(part["bars_tested"] for part in parts),
        "seed": seed,
        "features": _joined_entries([part["features"] for part in parts]),
        "maps": _joined_entries([part["maps"] for part in parts]),
    }


def _joined_entries(parts: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        next((entry for entry in same if entry["verdict"] == "failed"), same[0])
        | {"bars_tested": sum(entry["bars_tested"] for entry in same)}
        for same in zip(*parts, strict=True)
    ]
