"""The baseline ladder of a run as its page shows it: by fold while folds end, joined when all have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from modeling.measures import (
    KEY_SCORES,
    Scores,
    best_cells,
    in_order,
    ladder_cells,
    rung_label,
)
from modeling.models import Fold, TrainingRun
from modeling.specs import EvaluationSpec
from modeling.windows.cpcv import SPLITS

MODEL = "model"


def run_ladder(run: TrainingRun, folds: Iterable[Fold]) -> dict[str, Any]:
    """This model and every rung, with the key score of each head.

    Before the joined test blocks are scored the scores are means over the folds that have ended:
    `ended` of `planned`. None have ended: no rows.
    """
    scores = list(run.baselines.all())
    if run.metrics or scores:
        return {"rows": _joined(run, {score.rung: score for score in scores})}
    ended = [fold for fold in folds if fold.finished_at is not None]
    return {
        "rows": _so_far(ended),
        "ended": len(ended),
        "planned": planned_folds(run.experiment.model_spec.evaluation),
    }


def planned_folds(spec: EvaluationSpec) -> int:
    """How many folds a run has when all have ended."""
    return {"cpcv": len(SPLITS), "single": 1}.get(spec.scheme, spec.folds)


def _joined(run: TrainingRun, scores: dict[str, Any]) -> list[dict[str, Any]]:
    best = best_cells(run.verdict)
    rows = [_row(MODEL, ladder_cells(run.metrics))]
    for rung in in_order(scores):
        cells = ladder_cells(scores[rung].metrics, rung=rung, best=best)
        rows.append(_row(rung, cells, scores[rung].reason))
    return rows


def _so_far(folds: Sequence[Fold]) -> list[dict[str, Any]]:
    rungs = {rung for fold in folds for rung in fold.metrics}
    return [
        _row(rung, ladder_cells(mean_scores(_scores_of(rung, folds))), _failures(rung, folds))
        for rung in in_order(rungs)
    ]


def _scores_of(rung: str, folds: Sequence[Fold]) -> dict[int, Scores]:
    return {fold.number: fold.metrics.get(rung, {}) for fold in folds}


def _failures(rung: str, folds: Sequence[Fold]) -> str:
    failed = {fold.number: fold.state.get("failed", {}).get(rung) for fold in folds}
    return "; ".join(f"Fold {number}: {why}" for number, why in failed.items() if why)


def _row(rung: str, cells: list[dict[str, Any]], reason: str = "") -> dict[str, Any]:
    return {"label": rung_label(rung), "cells": cells, "reason": reason}


def mean_scores(by_fold: dict[int, Scores]) -> dict[str, dict[str, dict[str, Any]]]:
    """The mean of each key score over folds; where one of them has no value there is none, and why."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for head, metric in KEY_SCORES:
        values = {
            fold: scores.get(head, {}).get(metric, {}).get("value")
            for fold, scores in by_fold.items()
        }
        known = [value for value in values.values() if value is not None]
        score: dict[str, Any] = {"value": fmean(known) if len(known) == len(values) else None}
        if known and score["value"] is None:
            without = ", ".join(str(fold) for fold, value in values.items() if value is None)
            score["reason"] = f"no value in fold {without}"
        found.setdefault(head, {})[metric] = score
    return found
