"""Computed features of one candle series: one matrix for each timescale, and the map between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScaleFeatures:
    """Features of the bars that are `factor` base bars long.

    `values` is float32 [F, N_k], NaN in the warm-up; times are nanoseconds UTC. `gap_before` is
    True where a bar does not follow its predecessor. `last_closed` [N_base] gives for each base bar
    the number of the latest bar of this scale that is closed by the base bar's close, −1 for none.
    """

    factor: int
    values: NDArray[np.float32]
    open_time: NDArray[np.int64]
    close_time: NDArray[np.int64]
    gap_before: NDArray[np.bool_]
    last_closed: NDArray[np.int32]


@dataclass(frozen=True)
class FeatureTable:
    """The same features on several timescales. Scale 1 has one column of values per base bar."""

    names: tuple[str, ...]
    scales: dict[int, ScaleFeatures]

    @property
    def base(self) -> ScaleFeatures:
        """The features of the base bars."""
        return self.scales[1]

    def only(self, names: Sequence[str]) -> Self:
        """The table with some of its features; all scales and maps stay. No copy when all are asked for.

        Raises ValueError for a feature that the table does not hold.
        """
        names = tuple(names)
        if names == self.names:
            return self
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ValueError(f"the table does not hold {', '.join(missing)}")
        rows = [self.names.index(name) for name in names]
        scales = {
            k: dataclasses.replace(scale, values=scale.values[rows])
            for k, scale in self.scales.items()
        }
        return dataclasses.replace(self, names=names, scales=scales)
