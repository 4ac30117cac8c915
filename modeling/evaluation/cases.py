"""What each head is measured by: its metrics, and the one that decides its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from modeling.evaluation import prepared
from modeling.evaluation.columns import (
    REGIMES,
    RISKS,
    Columns,
    Floats,
    Ints,
    classes_of,
    floats_of,
    length_of,
    side_of,
)
from modeling.evaluation.metrics import ECE_BINS, confusion_matrix, reliability
from modeling.evaluation.prepared import Metric

TOP_RISK = 2


@dataclass(frozen=True)
class Priors:
    """Class frequencies of the training part: one set [classes], or one for each row [n, classes]."""

    regime: Floats
    risk: Floats
    confidence: Floats


@dataclass(frozen=True)
class Scoring:
    """What scoring needs besides the table. `draws` 0 leaves the intervals out."""

    priors: Priors
    cost_bps: float
    horizon_bars: int
    effective: float
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class HeadCase:
    """One head on the rows that can be scored: its metrics as functions of the drawn weights."""

    head: str
    metrics: dict[str, Metric]
    verdict_metric: str
    verdict_sign: float
    loss: Floats
    reasons: dict[str, str] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)


def _action_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    score, gain = floats_of(table, "action")[rows], floats_of(table, "realised_return")[rows]
    one_way = {
        name: "the test rows moved in one direction only"
        for name in ("accuracy", "majority_accuracy", "auc")
        if not (gain > 0).any() or not (gain < 0).any()
    }
    return HeadCase(
        head="action",
        metrics={
            "accuracy": prepared.accuracy_of(score, gain),
            "majority_accuracy": prepared.majority_accuracy_of(gain),
            "auc": prepared.direction_auc_of(score, gain),
            "rank_ic": prepared.rank_correlation_of(score, gain),
            "pearson_ic": prepared.pearson_of(score, gain),
            "top_hit_rate": prepared.top_hit_rate_of(score, gain),
            "top_net_bps": prepared.top_net_bps_of(score, gain, scoring.cost_bps),
        },
        verdict_metric="rank_ic",
        verdict_sign=1.0,
        loss=score * gain,
        reasons=one_way,
    )


def _regime_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    chances, actual = classes_of(table, "regime", REGIMES, rows)
    prior = _prior(scoring.priors.regime, table, rows, REGIMES)
    guess = chances.argmax(axis=1)
    metrics: dict[str, Metric] = {
        "macro_f1": prepared.macro_f1_of(actual, guess, REGIMES),
        "log_loss": prepared.log_loss_of(chances, actual),
        "prior_log_loss": prepared.log_loss_of(prior, actual),
    }
    return HeadCase(
        head="regime",
        metrics=metrics,
        verdict_metric="macro_f1",
        verdict_sign=1.0,
        loss=prepared.row_log_loss(chances, actual),
        reasons=_one_class(actual, metrics),
        details={"confusion": _counted(actual, guess, REGIMES)},
    )


def _confidence_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    chance = floats_of(table, "confidence")[rows]
    gain = np.sign(side_of(table)[rows]) * floats_of(table, "realised_return")[rows]
    paid = gain > scoring.cost_bps / 1e4
    base_rate = np.broadcast_to(scoring.priors.confidence, (length_of(table),))[rows]
    metrics: dict[str, Metric] = {
        "brier": prepared.brier_of(chance, paid),
        "brier_skill": prepared.brier_skill_of(chance, paid, base_rate),
        "auc": prepared.auc_of(chance, paid),
        "calibration_error": prepared.calibration_error_of(chance, paid, ECE_BINS),
    }
    return HeadCase(
        head="confidence",
        metrics=metrics,
        verdict_metric="brier",
        verdict_sign=-1.0,
        loss=(chance - paid) ** 2,
        reasons=_one_class(paid.astype(np.int64), metrics),
        details={"reliability": [list(point) for point in reliability(chance, paid)]},
    )


def _volatility_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    guess, truth = (
        floats_of(table, "volatility")[rows],
        floats_of(table, "realised_volatility")[rows],
    )
    return HeadCase(
        head="volatility",
        metrics={
            "r2": prepared.log_r2_of(guess, truth),
            "qlike": prepared.qlike_of(guess, truth),
        },
        verdict_metric="r2",
        verdict_sign=1.0,
        loss=np.log(np.maximum(guess, 1e-6) / np.maximum(truth, 1e-6)) ** 2,
    )


def _risk_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    chances, actual = classes_of(table, "risk", RISKS, rows)
    prior = _prior(scoring.priors.risk, table, rows, RISKS)
    guess = chances.argmax(axis=1)
    metrics: dict[str, Metric] = {
        "ordinal_brier": prepared.ordinal_brier_of(chances, actual),
        "top_recall": prepared.recall_of(actual, guess, TOP_RISK),
        "log_loss": prepared.log_loss_of(chances, actual),
        "prior_log_loss": prepared.log_loss_of(prior, actual),
    }
    return HeadCase(
        head="risk",
        metrics=metrics,
        verdict_metric="ordinal_brier",
        verdict_sign=-1.0,
        loss=prepared.row_log_loss(chances, actual),
        reasons=_one_class(actual, metrics),
        details={"confusion": _counted(actual, guess, RISKS)},
    )


CASES: dict[str, Callable[[Columns, Ints, Scoring], HeadCase]] = {
    "action": _action_case,
    "regime": _regime_case,
    "confidence": _confidence_case,
    "volatility": _volatility_case,
    "risk": _risk_case,
}


def _prior(prior: Floats, table: Columns, rows: Ints, classes: int) -> Floats:
    return np.broadcast_to(prior, (length_of(table), classes))[rows]


def _one_class(actual: Ints, names: Sequence[str] | Mapping[str, Metric]) -> dict[str, str]:
    if len(np.unique(actual)) > 1:
        return {}
    return dict.fromkeys(names, "the test rows have one class only")


def _counted(actual: Ints, guess: Ints, classes: int) -> list[list[int]]:
    matrix = confusion_matrix(actual, guess, classes)
    return [[round(float(cell)) for cell in row] for row in matrix]
