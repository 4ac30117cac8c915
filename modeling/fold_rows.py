"""The folds of a run as its page shows them: each stored row with what is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeling.capacity import capacities
from modeling.models import Fold, TrainingRun


def fold_rows(run: TrainingRun, folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """Each fold with the samples for each parameter of its network."""
    experiment = run.experiment
    minutes = experiment.version.dataset.timeframe_minutes
    found = capacities(experiment.model_spec, [fold.splits for fold in folds], minutes)
    return [
        {"fold": fold, "capacity": capacity} for fold, capacity in zip(folds, found, strict=True)
    ]
