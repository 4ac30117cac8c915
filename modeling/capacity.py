"""How many effective samples a network learns from, beside how many parameters it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeling.network.size import size_of
from modeling.specs import ModelSpec
from specs.writing import grouped

CAPACITY = "capacity"
LEAST_SAMPLES_PER_PARAMETER = 1 / 100

Splits = Mapping[str, Any]  # Any: the JSON of a fold's splits, planned or stored


@dataclass(frozen=True)
class Capacity:
    """Parameters of a network and the effective samples of the fit slice of one fold."""

    fold: int
    parameters: int
    effective_samples: float

    @property
    def samples_per_parameter(self) -> float:
        return self.effective_samples / self.parameters

    @property
    def is_short(self) -> bool:
        return self.samples_per_parameter < LEAST_SAMPLES_PER_PARAMETER

    @property
    def warning(self) -> str:
        """What is wrong and what to do; empty when there are enough samples."""
        if not self.is_short:
            return ""
        return (
            f"{_count(self.parameters)} parameters for {grouped(self.effective_samples)} effective "
            f"samples in fold {self.fold}: fewer than 1 sample per 100 parameters, the network can "
            "learn the noise by heart. Choose a smaller preset or more candles."
        )


def capacities(
    spec: ModelSpec, splits: Sequence[Splits], timeframe_minutes: int
) -> list[Capacity | None]:
    """The capacity in each fold, whose splits are as `Fold.to_json`; None without a network."""
    if spec.network.is_linear:
        return [None] * len(splits)
    parameters = size_of(spec, timeframe_minutes)["parameters"]
    return [
        Capacity(fold["number"], parameters, fit_samples(spec, fold))
        if "slices" in fold  # not yet stored for a fold that has just begun
        else None
        for fold in splits
    ]


def scarcest(spec: ModelSpec, splits: Sequence[Splits], timeframe_minutes: int) -> Capacity | None:
    """The capacity in the fold that has the fewest samples; None without a network."""
    known = [found for found in capacities(spec, splits, timeframe_minutes) if found]
    return min(known, key=lambda found: found.effective_samples, default=None)


def fit_samples(spec: ModelSpec, fold: Splits) -> float:
    """Effective samples of the fit slice, thinned by the stride.

    A stride up to the horizon leaves as many: labels then still cover every bar.
    """
    whole: float = fold["slices"]["fit"]["effective_samples"]
    return whole * min(1.0, spec.windows.horizon_bars / spec.windows.stride)


def capacity_notices(
    spec: ModelSpec, splits: Sequence[Splits], timeframe_minutes: int
) -> list[dict[str, str]]:
    """The notice of a run whose network has too few samples, or none."""
    found = scarcest(spec, splits, timeframe_minutes)
    if found is None or not found.is_short:
        return []
    return [{"code": CAPACITY, "message": found.warning}]


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e6 else grouped(parameters)
