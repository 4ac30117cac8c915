"""Computed features of one candle series: one matrix for each timescale, and the map between them."""

from __future__ import annotations

from dataclasses import dataclass

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
