"""The mean prediction over seeds: stored folds of several runs in, its paths, folds and thresholds out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from artifacts.store import verified_path
from modeling.evaluation.paired import mean_prediction
from modeling.evaluation.paths import Path
from modeling.evaluation.seeds import path_of_pieces, piece_of_path
from modeling.evaluation.table import Table, read_fold, read_predictions
from modeling.evaluation.thresholds import mean_actions, read_actions
from modeling.judging import MODEL, fold_metrics
from modeling.models import Fold, TrainingRun

Json = dict[str, Any]  # Any: stored JSON
BAR_NS_PER_MINUTE = 60 * 10**9


@dataclass(frozen=True)
class MeanFold:
    """What judging reads of a fold: the scores of its test part and what is kept of it."""

    number: int
    metrics: Json
    state: Json


@dataclass(frozen=True)
class MeanPrediction:
    """The mean over seeds, shaped as the predictions of a single run: `thresholds` by rung and fold.

    `has_own_thresholds` tells whether they come from the mean itself, on the calibration slices. Runs
    that an earlier release trained have kept no predictions of those; the mean of the seeds' own
    thresholds then stands in.
    """

    paths: list[Path]
    folds: list[MeanFold]
    thresholds: dict[str, dict[int, float]]
    has_own_thresholds: bool


def mean_of_runs(
    runs: Sequence[TrainingRun], *, between: Callable[[float], None] = lambda share: None
) -> MeanPrediction:
    """The mean prediction of the model and of every rung over runs of one experiment.

    One fold of all runs is held at a time. `between` is called with the share of the folds done and may
    raise. Raises FileChanged where a stored file is not what it was.
    """
    spec, version = runs[0].experiment.model_spec, runs[0].experiment.version
    bars = _bars_of_paths(runs[0])
    pieces: dict[int, dict[int, dict[str, Table]]] = {number: {} for number in bars}
    folds, thresholds, are_own = [], {}, []
    by_seed = [run.folds.select_related("predictions", "calibration") for run in runs]
    for same in zip(*(rows.order_by("number") for rows in by_seed), strict=True):
        number = same[0].number
        between((number - 1) / len(by_seed[0]))
        part = _mean_part(same)
        effective = same[0].state["effective"]
        folds.append(
            MeanFold(
                number,
                fold_metrics(part, spec, effective["test"]),
                {"effective": effective, "failed": _failed(runs, same), "notes": {}},
            )
        )
        for path, own in bars.items():
            if (own["fold"] == number).any():
                pieces[path][number] = piece_of_path(part, own, fold=number)
        thresholds[number], is_own = _thresholds(same)
        are_own.append(is_own)
    minutes = version.dataset.timeframe_minutes
    paths = [
        path_of_pieces(
            path,
            found,
            horizon_bars=spec.windows.horizon_bars,
            bar_ns=minutes * BAR_NS_PER_MINUTE,
        )
        for path, found in pieces.items()
    ]
    return MeanPrediction(paths, folds, _by_rung(thresholds), all(are_own))


def _bars_of_paths(run: TrainingRun) -> dict[int, Table]:
    """By the number of a path: which fold predicts each of its bars."""
    stored = run.prediction_sets.filter(rung=MODEL, is_holdout=False).select_related("file")
    needed = ("open_at", "fold", "instrument")
    found = {row.path: read_predictions(verified_path(row.file)) for row in stored.order_by("path")}
    return {
        path: {name: table[name] for name in needed if name in table}
        for path, table in found.items()
    }


def _mean_part(same: Sequence[Fold]) -> dict[str, Table]:
    """The mean tables of one fold; a rung that learns has seeds as well."""
    parts = [read_fold(verified_path(fold.predictions)) for fold in same if fold.predictions]
    shared = [rung for rung in parts[0] if all(rung in part for part in parts)]
    return {rung: mean_prediction([part[rung] for part in parts]) for rung in shared}


def _failed(runs: Sequence[TrainingRun], same: Sequence[Fold]) -> dict[str, str]:
    """A rung that one seed lacks on a fold has no mean there; the first reason says whose it is."""
    reasons: dict[str, str] = {}
    for run, fold in zip(runs, same, strict=True):
        for rung, reason in fold.state.get("failed", {}).items():
            reasons.setdefault(rung, f"seed {run.seed}: {reason}")
    return reasons


def _thresholds(same: Sequence[Fold]) -> tuple[dict[str, float], bool]:
    """By rung, and whether they are those of the mean itself."""
    files = [fold.calibration for fold in same if fold.calibration is not None]
    if len(files) == len(same):
        seen = [read_actions(verified_path(file)) for file in files]
        return mean_actions(seen).thresholds(), True
    stored = [fold.state["thresholds"] for fold in same]
    shared = [rung for rung in stored[0] if all(rung in found for found in stored)]
    return {rung: float(np.mean([found[rung] for found in stored])) for rung in shared}, False


def _by_rung(thresholds: dict[int, dict[str, float]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for number, by_rung in thresholds.items():
        for rung, threshold in by_rung.items():
            found.setdefault(rung, {})[number] = threshold
    return found
