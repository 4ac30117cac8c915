"""The columns of a prediction table that each head needs, and the rows that can be scored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = Mapping[str, NDArray[np.generic]]

HEADS = ("action", "regime", "confidence", "volatility", "risk")
MIN_SAMPLES = 200
REGIMES = 4
RISKS = 3

_PREDICTED: dict[str, tuple[str, ...]] = {
    "action": ("action",),
    "regime": tuple(f"regime_{k}" for k in range(REGIMES)),
    "confidence": ("confidence",),
    "volatility": ("volatility",),
    "risk": tuple(f"risk_{k}" for k in range(RISKS)),
}
_REALISED: dict[str, tuple[str, ...]] = {
    "action": ("realised_return",),
    "regime": ("realised_regime",),
    "confidence": ("realised_return", "action"),
    "volatility": ("realised_volatility",),
    "risk": ("realised_risk",),
}


def scorable_rows(table: Columns, head: str) -> Ints:
    """Rows [m] of a table whose label of this head is known and whose prediction is finite."""
    needed = [*_PREDICTED[head], *_REALISED[head]]
    known = np.ones(length_of(table), dtype=bool)
    for name in needed:
        known &= np.isfinite(side_of(table) if name == "action" else floats_of(table, name))
    if head in ("regime", "risk"):
        known &= floats_of(table, _REALISED[head][0]) >= 0
    return np.flatnonzero(known)


def beside(ours: Columns, rung: Columns) -> Columns:
    """A rung's columns with our labels and times; without own action it is judged on our side."""
    shared = {name: column for name, column in ours.items() if name.startswith("realised_")}
    if "open_at" in ours:
        shared["open_at"] = ours["open_at"]
    if "action" in ours:
        shared["side"] = ours["action"]
    return {**shared, **rung}


def has_head(table: Columns, head: str) -> bool:
    """Whether the table has the predictions of a head."""
    return all(name in table for name in _PREDICTED[head])


def has_side(table: Columns) -> bool:
    """Whether the table says which way a trade goes, by its own action or that of another."""
    return "action" in table or "side" in table


def length_of(table: Columns) -> int:
    """Rows of a table."""
    return len(next(iter(table.values())))


def floats_of(table: Columns, name: str) -> Floats:
    """A column [n] as float64."""
    return np.asarray(table[name], dtype=np.float64)


def side_of(table: Columns) -> Floats:
    """The action [n] whose sign is the side of a trade: the table's own, or that of another."""
    return floats_of(table, "action" if "action" in table else "side")


def classes_of(table: Columns, head: str, classes: int, rows: Ints) -> tuple[Floats, Ints]:
    """Predicted chances [m, classes] and what came true [m] of a class head, on these rows [m]."""
    chances = np.stack([floats_of(table, f"{head}_{k}")[rows] for k in range(classes)], axis=1)
    return chances, floats_of(table, f"realised_{head}")[rows].astype(np.int64)
