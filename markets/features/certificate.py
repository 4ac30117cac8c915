"""Proof that no feature and no index map of a table knows the future."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.compute import compute_features
from markets.features.registry import CODE_VERSION
from markets.features.table import FeatureTable, ScaleFeatures

QUICK_BARS = 30
PRICE_SHAKE = 0.05
VOLUME_SHAKE = 0.5

Compute = Callable[[Candles, Sequence[str], Sequence[int]], FeatureTable]


def certify_features(
    candles: Candles,
    table: FeatureTable,
    *,
    bars: int = QUICK_BARS,
    seed: int = 0,
    compute: Compute = compute_features,
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Recompute a table with the future removed and with the future altered, at seeded bars.

    At each of `bars` base bars t that know all features, values of every feature and scale and the index maps up to t must
    be bit-equal (a) on the candles up to t and (b) when all later prices and volumes are multiplied
    by random factors; (c) a coarse bar must be known at its close and not one base bar before, and
    consist of base bars that exist. Returns plain JSON with a verdict per feature and scale; failures
    are named, not raised. Where no bar knows all features nothing was tested and nothing passes.
    """
    failures = _Failures(table)
    for scale in table.scales.values():
        failures.note_map(scale.factor, _map_faults(candles, table.base, scale))
    tested = chosen_bars(bars_with_all_features(table), bars, seed)
    for number, t in enumerate(tested):
        removed = compute(candles.slice(0, int(t) + 1), table.names, tuple(table.scales))
        failures.compare(table, removed, int(t), "future removed")
        shaken = altered_after(candles, int(t), seed + number)
        altered = compute(shaken, table.names, tuple(table.scales))
        failures.compare(table, altered, int(t), "future altered")
    return failures.to_json(len(tested), seed)


def bars_with_all_features(table: FeatureTable) -> NDArray[np.bool_]:
    """True at each base bar that knows a finite value of every feature on every scale."""
    known = np.ones(table.base.open_time.size, dtype=np.bool_)
    for scale in table.scales.values():
        finite = np.append(np.isfinite(scale.values).all(axis=0), False)  # the last stands for −1
        known &= finite[scale.last_closed]
    return known


def chosen_bars(known: NDArray[np.bool_], bars: int, seed: int) -> NDArray[np.int64]:
    """Up to `bars` different seeded bars among the known ones, rising, never the last bar."""
    candidates = np.flatnonzero(known[:-1])
    count = min(bars, candidates.size)
    chosen = np.random.default_rng(seed).choice(candidates, size=count, replace=False)
    return np.sort(chosen).astype(np.int64)


def altered_after(candles: Candles, t: int, seed: int) -> Candles:
    """The same candles with every price and volume after bar t multiplied by a seeded factor.

    One factor per bar for its four prices, so that each candle stays well-formed.
    """
    generator = np.random.default_rng(seed)
    later = len(candles) - t - 1
    price, volume = np.ones(len(candles)), np.ones(len(candles))
    price[t + 1 :] = np.exp(PRICE_SHAKE * generator.standard_normal(later))
    volume[t + 1 :] = np.exp(VOLUME_SHAKE * generator.standard_normal(later))
    return dataclasses.replace(
        candles,
        open=candles.open * price,
        high=candles.high * price,
        low=candles.low * price,
        close=candles.close * price,
        volume=candles.volume * volume,
    )


class _Failures:
    """What differed, by feature and scale and by index map, each with the first bar and reason."""

    def __init__(self, table: FeatureTable) -> None:
        self.names = table.names
        self.features: dict[tuple[int, str], str] = {}
        self.maps: dict[int, str | None] = dict.fromkeys(table.scales)

    def note_map(self, factor: int, fault: str | None) -> None:
        self.maps[factor] = self.maps[factor] or fault

    def compare(self, table: FeatureTable, again: FeatureTable, t: int, how: str) -> None:
        for k, scale in table.scales.items():
            other = again.scales[k]
            known = int(scale.last_closed[t]) + 1
            if not np.array_equal(scale.last_closed[: t + 1], other.last_closed[: t + 1]):
                self.note_map(k, f"{how} after bar {t}: the index map changed")
            if other.values.shape[1] < known:
                self.note_map(k, f"{how} after bar {t}: bars are missing that were known")
                continue
            for name, before, after in zip(self.names, scale.values, other.values, strict=True):
                if not _bit_equal(before[:known], after[:known]):
                    self.features.setdefault(
                        (k, name), f"{how} after bar {t}: a past value changed"
                    )

    def to_json(self, bars_tested: int, seed: int) -> dict[str, Any]:  # Any: plain JSON
        features = [
            _entry(self.features.get((k, name)), feature=name, scale=k, bars_tested=bars_tested)
            for k in self.maps
            for name in self.names
        ]
        maps = [_entry(fault, scale=k, bars_tested=bars_tested) for k, fault in self.maps.items()]
        return {
            "passed": bars_tested > 0 and all(e["verdict"] == "passed" for e in features + maps),
            "code_version": CODE_VERSION,
            "bars_tested": bars_tested,
            "seed": seed,
            "features": features,
            "maps": maps,
        }


def _entry(fault: str | None, **facts: str | int) -> dict[str, Any]:  # Any: plain JSON
    return {**facts, "verdict": "failed" if fault else "passed", "reason": fault or ""}


def _map_faults(candles: Candles, base: ScaleFeatures, scale: ScaleFeatures) -> str | None:
    """What is wrong with the bars of a scale or with when they become known; None if nothing."""
    if not np.array_equal(base.open_time, candles.time):
        return "the base bars are not the candles"
    for step in range(scale.factor):
        if not np.isin(scale.open_time + step * candles.bar_ns, candles.time).all():
            return "a coarse bar stands on a base bar that does not exist"
    closes = scale.open_time + scale.factor * candles.bar_ns
    known = np.searchsorted(closes, candles.close_time, side="right") - 1
    if np.any(scale.last_closed > known):
        return "a coarse bar is known before it closes"
    if np.any(scale.last_closed < known):
        return "a closed coarse bar is not known"
    return None


def _bit_equal(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    same = first.view(np.uint32) == second.view(np.uint32)
    return bool(np.all(same | (np.isnan(first) & np.isnan(second))))
