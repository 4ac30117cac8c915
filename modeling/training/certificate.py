"""Proof that what a fold predicted at a bar knows nothing behind that bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.certificate import altered_after
from markets.features.compute import compute_features
from modeling.specs import ModelSpec
from modeling.training.predict import BATCH
from modeling.windows.make import Windows, cut_windows

Bars = NDArray[np.int64]
Columns = Mapping[str, NDArray[np.generic]]
Again = Callable[[Windows, Bars], Columns]


@dataclass(frozen=True)
class PredictedBlock:
    """What a fold said at its rising `bars` [n] of one instrument, and how it says it anew.

    `columns` hold n values each; `again` gives the same columns for bars of windows of other candles,
    by the selection, scalers, network and calibrator that the fold keeps.
    """

    windows: Windows
    bars: Bars
    columns: Columns
    again: Again


def certify_predictions(
    block: PredictedBlock, spec: ModelSpec, *, seed: int = 0
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Predict anew after altering, then without, all candles behind a seeded bar t of the block.

    Features and windows are made anew; what was said up to t must be bit-equal in every column, and
    the same bars must have a window. A whole batch of `predict` is predicted, since the last bits may
    depend on its size; t lies in its later half and, where one does, a bar before the close of every
    coarse bar, so that one joined too early shows. Returns plain JSON: the verdict, t, how many bars
    were compared and what differed. Raises ValueError with fewer than 2 bars.
    """
    start, row = _chosen(block, seed)
    t = int(block.bars[start + row])
    future, changed = _first_change(block, spec, start, row, seed)
    return {
        "passed": not changed,
        "altered_after_bar": t,
        "bars_tested": row + 1,
        "seed": seed,
        "changed": changed,
        "future": future,
    }


def _chosen(block: PredictedBlock, seed: int) -> tuple[int, int]:
    """The first position of a batch, and the row of t in it; a later bar of the block exists."""
    last = len(block.bars) - 1
    if last < 1:
        raise ValueError(f"found {len(block.bars)} predicted bars; expected at least 2")
    generator = np.random.default_rng(seed)
    start = int(generator.integers(last)) // BATCH * BATCH
    size = min(BATCH, len(block.bars) - start)
    rows = np.arange((size - 1) // 2, min(size, last - start))
    bars = block.bars[start + rows]
    coarse = [scale for k, scale in block.windows.only.table.scales.items() if k > 1]
    closing = [scale.last_closed[bars + 1] > scale.last_closed[bars] for scale in coarse]
    best = rows[np.logical_and.reduce(closing)] if closing else rows
    return start, int(generator.choice(best if best.size else rows))


def _first_change(
    block: PredictedBlock, spec: ModelSpec, start: int, row: int, seed: int
) -> tuple[str, list[str]]:
    """Which future changed what; altered first, since a window that reads on would end with the candles."""
    candles, t = block.windows.only.candles, int(block.bars[start + row])
    futures = {"altered": altered_after(candles, t, seed), "removed": candles.slice(0, t + 1)}
    for future, other in futures.items():
        if changed := _changed(block, spec, other, start, row):
            return future, changed
    return "", []


def _changed(
    block: PredictedBlock, spec: ModelSpec, candles: Candles, start: int, row: int
) -> list[str]:
    """Names of the columns whose values up to the row differ on other candles; `bars` when windows do."""
    names, scales = block.windows.names, block.windows.scales
    features = compute_features(candles, names, scales)
    windows = cut_windows(candles, features, spec, block.windows.only.instrument)
    batch = block.bars[start : start + BATCH]
    t = int(batch[row])
    before, after = block.windows.samples.bar, windows.samples.bar
    if not np.array_equal(before[before <= t], after[after <= t]):
        return ["bars"]
    again = block.again(windows, np.minimum(batch, len(candles) - 1))
    said = {name: values[start : start + row + 1] for name, values in block.columns.items()}
    return [
        name
        for name, values in said.items()
        if values.tobytes() != again[name][: row + 1].tobytes()
    ]
