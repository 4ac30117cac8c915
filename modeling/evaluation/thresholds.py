"""Actions on a fold's calibration slice, kept so that the mean over seeds has a threshold of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from modeling.evaluation.calibration import auto_threshold

Floats = NDArray[np.float64]
OPEN_AT = "open_at"


@dataclass(frozen=True)
class CalibrationActions:
    """Actions [n] by rung, of those that have one, at the bars of a calibration slice.

    `open_at` [n] are the opens of the bars in ns UTC; of several instruments the bars of one stand
    behind those of the other.
    """

    open_at: NDArray[np.int64]
    of: Mapping[str, Floats]

    def thresholds(self) -> dict[str, float]:
        """By rung the 0.90 quantile of |a|, as `auto_threshold` says; raises ValueError without bars."""
        return {rung: auto_threshold(action) for rung, action in self.of.items()}

    def write(self, path: Path) -> None:
        """As zstd Parquet, one column a rung."""
        columns = {OPEN_AT: self.open_at, **self.of}
        pq.write_table(pa.table(columns), path, compression="zstd")


def read_actions(path: Path) -> CalibrationActions:
    """Read what `write` wrote."""
    stored = pq.read_table(path)
    columns = {name: stored[name].to_numpy() for name in stored.column_names}
    return CalibrationActions(columns.pop(OPEN_AT), columns)


def mean_actions(seeds: Sequence[CalibrationActions]) -> CalibrationActions:
    """The mean over seeds of one fold, of the rungs that all of them have.

    Raises ValueError when they are not of the same bars: seeds of one spec on the same candles are.
    """
    first = seeds[0]
    for other in seeds[1:]:
        if not np.array_equal(first.open_at, other.open_at):
            raise ValueError(
                f"found calibration slices of {len(first.open_at)} and {len(other.open_at)} bars "
                "that are not the same; expected seeds of one spec on the same candles"
            )
    shared = [rung for rung in first.of if all(rung in seed.of for seed in seeds)]
    means = {rung: np.mean([seed.of[rung] for seed in seeds], axis=0) for rung in shared}
    return CalibrationActions(first.open_at, means)
