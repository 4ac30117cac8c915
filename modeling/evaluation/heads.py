"""Scores of the five heads from a prediction table, and their verdicts against the baseline rungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation import metrics as measure
from modeling.evaluation.calibration import is_calibrated
from modeling.evaluation.effective import no_skill_band
from modeling.evaluation.intervals import (
    Interval,
    Metric,
    Resampling,
    intervals,
    mean_block_length,
    verdict_word,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = Mapping[str, NDArray[np.generic]]
Scores = dict[str, dict[str, object]]

HEADS = ("action", "regime", "confidence", "volatility", "risk")
MIN_SAMPLES = 200
REGIMES = 4
RISKS = 3
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


def score_heads(
    predictions: Columns, scoring: Scoring, *, side: Floats | None = None
) -> dict[str, Scores]:
    """Score each head of a prediction table (columns of the prediction set; rows in time order).

    Answers JSON data {head: {metric: {"value", "interval"?, "reason"?, …}}}. Heads whose columns
    are missing are left out; rows with an unknown label or a NaN prediction are left out and
    counted. Below 200 rows, or with one class only, a value is None with its reason. Confidence is
    about a trade: a table without an action is scored on `side` [n], the action of another table
    (that of the model for the prior rung), and without either has no confidence score.
    """
    if side is not None:
        predictions = {"side": side, **predictions}
    scores: dict[str, Scores] = {}
    with _one_blas_thread():
        for head in HEADS:
            if _has_head(predictions, head) and (head != "confidence" or _has_side(predictions)):
                rows = scorable_rows(predictions, head)
                scores[head] = _score_head(predictions, head, rows, scoring)
    return scores


def judge_heads(
    predictions: Columns, rungs: Mapping[str, Columns], scoring: Scoring
) -> dict[str, dict[str, object]]:
    """Verdict of each head against the rungs that have it, by paired differences on equal rows.

    `rungs` maps a rung's name to its prediction columns, row by row those of `predictions` (labels
    and times are taken from there). Metrics: RankIC, macro-F1, −Brier, volatility R2, −ordinal
    Brier. The verdict names the best rung by that metric; every compared rung is listed.
    """
    verdicts: dict[str, dict[str, object]] = {}
    with _one_blas_thread():
        for head in HEADS:
            if _has_head(predictions, head):
                able = {name: rung for name, rung in rungs.items() if _has_head(rung, head)}
                tables = {name: _beside(predictions, rung) for name, rung in able.items()}
                verdicts[head] = _judge_head(predictions, head, tables, scoring)
    return verdicts


def scorable_rows(table: Columns, head: str) -> Ints:
    """Rows [m] of a table whose label of this head is known and whose prediction is finite."""
    needed = [*_PREDICTED[head], *_REALISED[head]]
    known = np.ones(_length(table), dtype=bool)
    for name in needed:
        known &= np.isfinite(_side(table) if name == "action" else _floats(table, name))
    if head in ("regime", "risk"):
        known &= _floats(table, _REALISED[head][0]) >= 0
    return np.flatnonzero(known)


def _score_head(table: Columns, head: str, rows: Ints, scoring: Scoring) -> Scores:
    scores: Scores = {
        "samples": {"value": len(rows)},
        "left_out": {"value": _length(table) - len(rows)},
    }
    case = _CASES[head](table, rows, scoring)
    if len(rows) < MIN_SAMPLES:
        reason = f"found {len(rows)} test samples; a score needs {MIN_SAMPLES}"
        return scores | {name: {"value": None, "reason": reason} for name in case.metrics}
    scores |= _measured(case, _plan(table, rows, case, scoring))
    if head == "action":
        for name in ("accuracy", "auc"):
            scores[name] |= {
                "effective_samples": scoring.effective,
                "no_skill": _as_list(no_skill_band(scoring.effective)),
            }
    if head == "confidence":
        error, skill = scores["calibration_error"]["value"], scores["brier_skill"]["value"]
        scores["calibrated"] = {"value": is_calibrated(_number(error), _number(skill))}
    return scores | {name: {"value": value} for name, value in case.details.items()}


def _measured(case: HeadCase, plan: Resampling) -> Scores:
    everyone = np.ones(len(case.loss))
    open_metrics = {n: m for n, m in case.metrics.items() if n not in case.reasons}
    values = {name: float(metric(everyone)) for name, metric in open_metrics.items()}
    defined = {name: open_metrics[name] for name, value in values.items() if np.isfinite(value)}
    found = intervals(defined, plan) if plan.draws else {}
    scores: Scores = {}
    for name in case.metrics:
        if name in defined:
            scores[name] = {"value": values[name]}
            if name in found:
                scores[name]["interval"] = _as_list(found[name])
            continue
        reason = case.reasons.get(name, "the predictions or the outcomes are all equal")
        scores[name] = {"value": None, "reason": reason}
    return scores


def _judge_head(
    ours: Columns, head: str, rungs: Mapping[str, Columns], scoring: Scoring
) -> dict[str, object]:
    rows = scorable_rows(ours, head)
    for table in rungs.values():
        rows = np.intersect1d(rows, scorable_rows(table, head), assume_unique=True)
    case = _CASES[head](ours, rows, scoring)
    name, sign = case.verdict_metric, case.verdict_sign
    if len(rows) < MIN_SAMPLES:
        reason = f"found {len(rows)} test samples; a verdict needs {MIN_SAMPLES}"
        return {"word": "undecided", "metric": name, "rung": None, "sentence": reason, "rungs": {}}
    everyone = np.ones(len(rows))
    own_value = float(case.metrics[name](everyone))
    rivals = {rung: _CASES[head](table, rows, scoring) for rung, table in rungs.items()}
    values = {rung: float(rival.metrics[name](everyone)) for rung, rival in rivals.items()}
    values = {rung: value for rung, value in values.items() if np.isfinite(value)}
    if not values or not np.isfinite(own_value) or scoring.draws == 0:
        reason = "no rung could be compared on this head"
        return {"word": "undecided", "metric": name, "rung": None, "sentence": reason, "rungs": {}}
    differences = intervals(
        {
            rung: _difference(case.metrics[name], rivals[rung].metrics[name], sign)
            for rung in values
        },
        _plan(ours, rows, case, scoring),
    )
    best = max(values, key=lambda rung: sign * values[rung])
    word = verdict_word(differences[best])
    return {
        "word": word,
        "metric": name,
        "rung": best,
        "ours": own_value,
        "theirs": values[best],
        "difference": sign * (own_value - values[best]),
        "interval": _as_list(differences[best]),
        "sentence": _sentence(word, head, best, differences[best]),
        "rungs": {
            rung: {
                "value": values[rung],
                "word": verdict_word(differences[rung]),
                "interval": _as_list(differences[rung]),
            }
            for rung in values
        },
    }


def _action_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    score, gain = _floats(table, "action")[rows], _floats(table, "realised_return")[rows]
    one_way = {
        name: "the test rows moved in one direction only"
        for name in ("accuracy", "majority_accuracy", "auc")
        if not (gain > 0).any() or not (gain < 0).any()
    }
    return HeadCase(
        head="action",
        metrics={
            "accuracy": lambda w: measure.accuracy(score, gain, w),
            "majority_accuracy": lambda w: measure.majority_accuracy(gain, w),
            "auc": lambda w: measure.direction_auc(score, gain, w),
            "rank_ic": lambda w: measure.rank_ic(score, gain, w),
            "pearson_ic": lambda w: measure.pearson_ic(score, gain, w),
            "top_hit_rate": lambda w: measure.top_hit_rate(score, gain, w),
            "top_net_bps": lambda w: measure.top_net_bps(score, gain, scoring.cost_bps, w),
        },
        verdict_metric="rank_ic",
        verdict_sign=1.0,
        loss=score * gain,
        reasons=one_way,
    )


def _regime_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    chances, actual = _classes(table, "regime", REGIMES, rows)
    prior = _prior(scoring.priors.regime, table, rows, REGIMES)
    guess = chances.argmax(axis=1)
    metrics: dict[str, Metric] = {
        "macro_f1": lambda w: measure.macro_f1(actual, guess, REGIMES, w),
        "log_loss": lambda w: measure.log_loss(chances, actual, w),
        "prior_log_loss": lambda w: measure.log_loss(prior, actual, w),
    }
    return HeadCase(
        head="regime",
        metrics=metrics,
        verdict_metric="macro_f1",
        verdict_sign=1.0,
        loss=_row_log_loss(chances, actual),
        reasons=_one_class(actual, metrics),
        details={"confusion": _counted(actual, guess, REGIMES)},
    )


def _confidence_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    chance = _floats(table, "confidence")[rows]
    gain = np.sign(_side(table)[rows]) * _floats(table, "realised_return")[rows]
    paid = gain > scoring.cost_bps / 1e4
    base_rate = np.broadcast_to(scoring.priors.confidence, (_length(table),))[rows]
    metrics: dict[str, Metric] = {
        "brier": lambda w: measure.brier(chance, paid, w),
        "brier_skill": lambda w: measure.brier_skill(chance, paid, base_rate, w),
        "auc": lambda w: measure.auc(chance, paid, w),
        "calibration_error": lambda w: measure.calibration_error(chance, paid, w),
    }
    return HeadCase(
        head="confidence",
        metrics=metrics,
        verdict_metric="brier",
        verdict_sign=-1.0,
        loss=(chance - paid) ** 2,
        reasons=_one_class(paid.astype(np.int64), metrics),
        details={"reliability": [list(point) for point in measure.reliability(chance, paid)]},
    )


def _volatility_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    guess, truth = _floats(table, "volatility")[rows], _floats(table, "realised_volatility")[rows]
    return HeadCase(
        head="volatility",
        metrics={
            "r2": lambda w: measure.log_r2(guess, truth, w),
            "qlike": lambda w: measure.qlike(guess, truth, w),
        },
        verdict_metric="r2",
        verdict_sign=1.0,
        loss=np.log(np.maximum(guess, 1e-6) / np.maximum(truth, 1e-6)) ** 2,
    )


def _risk_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    chances, actual = _classes(table, "risk", RISKS, rows)
    prior = _prior(scoring.priors.risk, table, rows, RISKS)
    guess = chances.argmax(axis=1)
    metrics: dict[str, Metric] = {
        "ordinal_brier": lambda w: measure.ordinal_brier(chances, actual, w),
        "top_recall": lambda w: measure.recall(actual, guess, TOP_RISK, w),
        "log_loss": lambda w: measure.log_loss(chances, actual, w),
        "prior_log_loss": lambda w: measure.log_loss(prior, actual, w),
    }
    return HeadCase(
        head="risk",
        metrics=metrics,
        verdict_metric="ordinal_brier",
        verdict_sign=-1.0,
        loss=_row_log_loss(chances, actual),
        reasons=_one_class(actual, metrics),
        details={"confusion": _counted(actual, guess, RISKS)},
    )


_CASES: dict[str, Callable[[Columns, Ints, Scoring], HeadCase]] = {
    "action": _action_case,
    "regime": _regime_case,
    "confidence": _confidence_case,
    "volatility": _volatility_case,
    "risk": _risk_case,
}
_PREDICTED: dict[str, tuple[str, ...]] = {
    "action": ("action",),
    "regime": tuple(f"regime_{k}" for k in range(REGIMES)),
    "confidence": ("confidence",),
    "volatility": ("volatility",),
    "risk": tuple(f"risk_{k}" for k in range(RISKS)),
}
_REALISED: dict[str, tuple[str, ...]] = {
    "action": ("realised_return",),
    "regime": ("realised_regime",),
    "confidence": ("realised_return", "action"),
    "volatility": ("realised_volatility",),
    "risk": ("realised_risk",),
}
_MEANING = {
    "action": "ranking the coming returns",
    "regime": "naming the coming regime",
    "confidence": "knowing when a trade pays its costs",
    "volatility": "forecasting volatility",
    "risk": "ordering the coming risk",
}


def _sentence(word: str, head: str, rung: str, difference: Interval | None) -> str:
    task = _MEANING[head]
    if difference is None:
        return f"Too few resamples could be scored to compare {task} with {rung}."
    low, high = (f"{value:+.4f}".replace("-", "−") for value in difference)
    span = f"95 % interval of the difference {low} to {high}"
    if word == "beats":
        return f"Better than {rung} at {task} ({span}). A backtest shows what it earns."
    if word == "loses":
        return f"Worse than {rung} at {task} ({span}). Look at the loss curve, or use {rung}."
    return f"Not better than {rung} at {task} ({span}). Try more history, or use {rung}."


def _plan(table: Columns, rows: Ints, case: HeadCase, scoring: Scoring) -> Resampling:
    """Draws over distinct times in order; rows of several instruments at one time share a draw."""
    loss, steps, positions = case.loss, len(rows), None
    if "open_at" in table:
        times, places = np.unique(np.asarray(table["open_at"])[rows], return_inverse=True)
        if len(times) < steps or np.any(np.diff(places) < 0):
            loss = np.bincount(places, weights=loss) / np.bincount(places)
            steps, positions = len(times), places.astype(np.int64)
    block = mean_block_length(loss, scoring.horizon_bars) if scoring.draws else 1
    return Resampling(steps, block, scoring.draws, scoring.seed, positions)


def _one_blas_thread() -> AbstractContextManager[object]:
    """Sums are then the same bits whatever number of cores a machine has."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


def _difference(ours: Metric, theirs: Metric, sign: float) -> Metric:
    return lambda weights: sign * (ours(weights) - theirs(weights))


def _beside(ours: Columns, rung: Columns) -> Columns:
    """A rung's columns with our labels and times; without own action it is judged on our side."""
    shared = {name: column for name, column in ours.items() if name.startswith("realised_")}
    if "open_at" in ours:
        shared["open_at"] = ours["open_at"]
    if "action" in ours:
        shared["side"] = ours["action"]
    return {**shared, **rung}


def _has_head(table: Columns, head: str) -> bool:
    return all(name in table for name in _PREDICTED[head])


def _has_side(table: Columns) -> bool:
    return "action" in table or "side" in table


def _length(table: Columns) -> int:
    return len(next(iter(table.values())))


def _floats(table: Columns, name: str) -> Floats:
    return np.asarray(table[name], dtype=np.float64)


def _side(table: Columns) -> Floats:
    return _floats(table, "action" if "action" in table else "side")


def _classes(table: Columns, head: str, classes: int, rows: Ints) -> tuple[Floats, Ints]:
    chances = np.stack([_floats(table, f"{head}_{k}")[rows] for k in range(classes)], axis=1)
    return chances, _floats(table, f"realised_{head}")[rows].astype(np.int64)


def _prior(prior: Floats, table: Columns, rows: Ints, classes: int) -> Floats:
    return np.broadcast_to(prior, (_length(table), classes))[rows]


def _row_log_loss(chances: Floats, actual: Ints) -> Floats:
    chosen = chances[np.arange(len(actual)), actual]
    return np.asarray(-np.log(np.maximum(chosen, measure.PROBABILITY_FLOOR)))


def _one_class(actual: Ints, names: Sequence[str] | Mapping[str, Metric]) -> dict[str, str]:
    if len(np.unique(actual)) > 1:
        return {}
    return dict.fromkeys(names, "the test rows have one class only")


def _counted(actual: Ints, guess: Ints, classes: int) -> list[list[int]]:
    matrix = measure.confusion_matrix(actual, guess, classes)
    return [[round(float(cell)) for cell in row] for row in matrix]


def _as_list(span: Interval | None) -> list[float] | None:
    return None if span is None else [span[0], span[1]]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
