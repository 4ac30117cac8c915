"""Robust scaling of features with numbers from the fit slice only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from markets.features.registry import TIME_FEATURES
from markets.features.table import FeatureTable, ScaleFeatures
from modeling.windows.errors import NotEnoughHistory

CLIP = 6.0
MAD_TO_DEVIATION = 1.4826
LEAST_WIDTH = 1e-3
BLOCK = 65_536


@dataclass(frozen=True)
class Scalers:
    """Centre and width of each feature on each timescale; float64 [F] per scale."""

    names: tuple[str, ...]
    centre: dict[int, NDArray[np.float64]]
    width: dict[int, NDArray[np.float64]]

    def apply(self, table: FeatureTable) -> dict[int, NDArray[np.float32]]:
        """Scaled features per timescale, float32 [N_k, F] contiguous, within ±6.

        clip((x − centre)/width, −6, 6), computed in float64; time features are left as they are,
        NaN stays NaN.
        """
        return {k: self.apply_scale(scale) for k, scale in table.scales.items()}

    def apply_scale(self, scale: ScaleFeatures) -> NDArray[np.float32]:
        """Scaled features of one timescale, see `apply`."""
        count = scale.values.shape[1]
        scaled = np.empty((count, len(self.names)), dtype=np.float32)
        centre, width = self.centre[scale.factor], self.width[scale.factor]
        fixed = np.array([name in TIME_FEATURES for name in self.names])
        for start in range(0, count, BLOCK):
            raw = scale.values[:, start : start + BLOCK].T.astype(np.float64)
            block = np.clip((raw - centre) / width, -CLIP, CLIP)
            scaled[start : start + BLOCK] = np.where(fixed, raw, block)
        return scaled

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data; `from_json` gives equal scalers, bit for bit."""
        scales = {
            str(k): {"centre": self.centre[k].tolist(), "width": self.width[k].tolist()}
            for k in self.centre
        }
        return {"names": list(self.names), "scales": scales}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """The scalers that `to_json` wrote."""
        scales = data["scales"]
        return cls(
            names=tuple(data["names"]),
            centre={int(k): np.array(part["centre"]) for k, part in scales.items()},
            width={int(k): np.array(part["width"]) for k, part in scales.items()},
        )


def fit_scalers(table: FeatureTable, bars: NDArray[np.int64]) -> Scalers:
    """Median and 1.4826·MAD of each feature on each timescale over the bars of the fit slice.

    `bars` are numbers of base bars. A coarse scale uses its bars that are the latest closed one at
    any of them. The width is at least 1e-3·max(1, |median|); where MAD is 0 the standard deviation
    (ddof 0) takes its place. Time features get 0 and 1. Raises NotEnoughHistory without a bar.
    """
    return fit_pooled_scalers([(table, bars)])


def fit_pooled_scalers(slices: Sequence[tuple[FeatureTable, NDArray[np.int64]]]) -> Scalers:
    """`fit_scalers` over the fit slices of several instruments together, for one not among them."""
    table = slices[0][0]
    centre, width = {}, {}
    for k in table.scales:
        rows = [(of.scales[k].values, _closed_rows(of.scales[k], bars)) for of, bars in slices]
        if not any(closed.size for _, closed in rows):
            raise NotEnoughHistory(
                f"The fit slice has no closed bar of timescale {k}.", found=0, needed=1
            )
        pairs = [
            (0.0, 1.0)
            if name in TIME_FEATURES
            else _centre_and_width(np.concatenate([values[place][at] for values, at in rows]))
            for place, name in enumerate(table.names)
        ]
        centre[k] = np.array([pair[0] for pair in pairs])
        width[k] = np.array([pair[1] for pair in pairs])
    return Scalers(table.names, centre, width)


def _closed_rows(scale: ScaleFeatures, bars: NDArray[np.int64]) -> NDArray[np.int32]:
    """Numbers of the bars of a scale that are the latest closed one at any of the base bars."""
    rows = np.unique(scale.last_closed[bars])
    return rows[rows >= 0]


def _centre_and_width(values: NDArray[np.float32]) -> tuple[float, float]:
    numbers = values.astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return 0.0, 1.0
    median = float(np.median(numbers))
    spread = MAD_TO_DEVIATION * float(np.median(np.abs(numbers - median)))
    if spread == 0.0:
        spread = float(numbers.std())
    return median, max(spread, LEAST_WIDTH * max(1.0, abs(median)))
