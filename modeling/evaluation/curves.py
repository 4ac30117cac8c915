"""Calibration curves of the five heads: what was said against what came, in bins of equal mass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.columns import MIN_SAMPLES, Columns, scorable_rows
from modeling.evaluation.metrics import reliability
from modeling.measures import REGIME_NAMES

Floats = NDArray[np.float64]
Bin = tuple[float, float, int]

BPS = 1e4


class Curve(NamedTuple):
    """One line of a reliability plot: its name, and of each bin (mean said, mean came, rows)."""

    name: str
    bins: list[Bin]


class TooFewSamples(Exception):
    """Fewer rows with a known outcome than a curve needs."""


def calibration_curves(table: Columns, head: str, *, cost_bps: float) -> list[Curve]:
    """The reliability curves of one head of a prediction table, 15 bins of equal mass by rank.

    Rows are those the head is scored on (`scorable_rows`). What is said → what came:
    action: score → realised return in bps; regime: probability of each class → its share;
    confidence: chance → share of trades sign(action) that earned more than `cost_bps`;
    volatility: predicted σ → realised σ (per bar); risk: P(class > k) of both cuts → its share.
    Raises TooFewSamples below 200 rows, with the count found.
    """
    rows = scorable_rows(table, head)
    if len(rows) < MIN_SAMPLES:
        raise TooFewSamples(f"found {len(rows)} test samples; a curve needs {MIN_SAMPLES}")
    values = {
        name: np.asarray(column, dtype=np.float64)[rows]
        for name, column in table.items()
        if name not in ("open_at", "known_at")
    }
    return [
        Curve(name, reliability(said, came)) for name, said, came in _PAIRS[head](values, cost_bps)
    ]


Pairs = list[tuple[str, Floats, Floats]]


def _action(values: dict[str, Floats], cost_bps: float) -> Pairs:
    return [("Realised return", values["action"], BPS * values["realised_return"])]


def _regime(values: dict[str, Floats], cost_bps: float) -> Pairs:
    return [
        (name, values[f"regime_{k}"], (values["realised_regime"] == k).astype(np.float64))
        for k, name in enumerate(REGIME_NAMES)
    ]


def _confidence(values: dict[str, Floats], cost_bps: float) -> Pairs:
    gain = np.sign(values["action"]) * values["realised_return"]
    return [("Trades that paid", values["confidence"], (gain > cost_bps / BPS).astype(np.float64))]


def _volatility(values: dict[str, Floats], cost_bps: float) -> Pairs:
    return [("Realised σ", values["volatility"], values["realised_volatility"])]


def _risk(values: dict[str, Floats], cost_bps: float) -> Pairs:
    above = [values["risk_1"] + values["risk_2"], values["risk_2"]]
    names = ("Medium or high", "High")
    return [
        (name, said, (values["realised_risk"] > k).astype(np.float64))
        for k, (name, said) in enumerate(zip(names, above, strict=True))
    ]


_PAIRS = {
    "action": _action,
    "regime": _regime,
    "confidence": _confidence,
    "volatility": _volatility,
    "risk": _risk,
}
