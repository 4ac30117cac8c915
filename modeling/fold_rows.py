"""The folds of a run as its page shows them: each stored row with what is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeling.capacity import capacities
from modeling.models import Fold, TrainingRun

BLOCKS = "blocks."


def fold_rows(run: TrainingRun, folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """Each fold with the samples for each parameter of its network."""
    experiment = run.experiment
    minutes = experiment.version.dataset.timeframe_minutes
    found = capacities(experiment.model_spec, [fold.splits for fold in folds], minutes)
    return [
        {"fold": fold, "capacity": capacity} for fold, capacity in zip(folds, found, strict=True)
    ]


def half_lives_of(fold: Fold) -> dict[str, list[float]]:
    """Bars after which the attention of each head has halved, by layer; empty where nothing decays."""
    found: dict[str, list[float]] = fold.state.get("half_lives", {})
    return found


def half_life_rows(folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """One row for each fold and layer, in the order of the network: the bars by head."""
    return [
        {"fold": fold.number, "layer": _layer_name(layer), "bars": found[layer]}
        for fold in folds
        for found in [half_lives_of(fold)]
        for layer in sorted(found, key=_place)
    ]


def _place(layer: str) -> int:
    """Blocks are numbered from 0; the fusion of timescales stands before them."""
    return int(layer.split(".")[1]) if layer.startswith(BLOCKS) else -1


def _layer_name(layer: str) -> str:
    return f"Layer {_place(layer) + 1}" if layer.startswith(BLOCKS) else "Timescales"
