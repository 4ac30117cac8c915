"""Scores of the five heads from a prediction table, and their verdicts against the baseline rungs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modeling.evaluation.calibration import is_calibrated
from modeling.evaluation.cases import CASES, HeadCase, Scoring
from modeling.evaluation.columns import (
    HEADS,
    MIN_SAMPLES,
    Columns,
    Floats,
    Ints,
    beside,
    has_head,
    has_side,
    length_of,
    scorable_rows,
)
from modeling.evaluation.draws import Key, Measured, measured_on, one_blas_thread, plan_of
from modeling.evaluation.effective import no_skill_band
from modeling.evaluation.intervals import Between, interval_of, no_pause
from modeling.evaluation.prepared import Metric
from modeling.evaluation.verdicts import as_list, undecided, verdict_of

Scores = dict[str, dict[str, object]]


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
    return judge_heads(predictions, {}, scoring)[0]


def judge_heads(
    predictions: Columns,
    rungs: Mapping[str, Columns],
    scoring: Scoring,
    *,
    between: Between = no_pause,
) -> tuple[dict[str, Scores], dict[str, dict[str, object]]]:
    """Scores of each head as `score_heads`, and its verdict against the rungs that have it.

    `rungs` maps a rung's name to its prediction columns, row by row those of `predictions` (labels
    and times are taken from there). Verdicts are paired differences on equal rows and equal draws.
    Metrics: RankIC, macro-F1, −Brier, volatility R2, −ordinal Brier. The verdict names the best
    rung by that metric; every compared rung is listed, with the intervals of its own metrics that
    come from the same draws. Confidence is compared only with rungs that
    speak of the same trades (the prior): a rung with an action of its own has other outcomes to
    foretell, and a smaller Brier score on easier outcomes says nothing.
    `between` is called with the share of the work done, several times a head, and may raise.
    """
    scores: dict[str, Scores] = {}
    verdicts: dict[str, dict[str, object]] = {}
    with one_blas_thread():
        for place, head in enumerate(HEADS):
            if not has_head(predictions, head):
                continue
            if head == "confidence" and not has_side(predictions):
                continue

            def within(share: float, place: int = place) -> None:
                between((place + share) / len(HEADS))

            within(0.0)
            rivals = {
                name: beside(predictions, rung)
                for name, rung in rungs.items()
                if _is_comparable(rung, head)
            }
            scores[head], verdicts[head] = _judge_head(predictions, head, rivals, scoring, within)
    return scores, verdicts


def _is_comparable(rung: Columns, head: str) -> bool:
    return has_head(rung, head) and (head != "confidence" or "action" not in rung)


def _judge_head(
    table: Columns, head: str, rivals: Mapping[str, Columns], scoring: Scoring, between: Between
) -> tuple[Scores, dict[str, object]]:
    rows = scorable_rows(table, head)
    common = rows
    for rival in rivals.values():
        common = np.intersect1d(common, scorable_rows(rival, head), assume_unique=True)
    case = CASES[head](table, rows, scoring)
    if len(rows) < MIN_SAMPLES:
        return _too_few(table, case, rows), undecided(case, _found(common, "a verdict"))
    if len(common) < MIN_SAMPLES:
        own = measured_on(_open(case), plan_of(table, rows, case, scoring), between)
        return _scores(table, case, rows, own, scoring), undecided(
            case, _found(common, "a verdict")
        )
    name = case.verdict_metric
    others = {rung: CASES[head](rival, common, scoring) for rung, rival in rivals.items()}
    if len(common) == len(rows):  # the usual case: one pass over one set of draws serves both
        plan = plan_of(table, rows, case, scoring)
        both = measured_on({**_open(case), **_keyed(others)}, plan, between)
        own, paired = both, both
    else:
        own = measured_on(_open(case), plan_of(table, rows, case, scoring), between)
        shared = CASES[head](table, common, scoring)
        plan = plan_of(table, common, shared, scoring)
        compared = {("", name): shared.metrics[name], **_keyed(others)}
        paired = measured_on(compared, plan, between)
    return _scores(table, case, rows, own, scoring), verdict_of(case, paired, list(others))


def _open(case: HeadCase) -> dict[Key, Metric]:
    return {("", name): metric for name, metric in case.metrics.items() if name not in case.reasons}


def _keyed(rivals: Mapping[str, HeadCase]) -> dict[Key, Metric]:
    return {
        (rung, name): case.metrics[name]
        for rung, case in rivals.items()
        for name in (case.verdict_metric, *case.shown)
    }


def _scores(
    table: Columns,
    case: HeadCase,
    rows: Ints,
    measured: Mapping[Key, Measured],
    scoring: Scoring,
) -> Scores:
    scores = _counts(table, rows)
    for name in case.metrics:
        found = measured.get(("", name))
        if found is None:
            reason = case.reasons.get(name, "the predictions or the outcomes are all equal")
            scores[name] = {"value": None, "reason": reason}
            continue
        scores[name] = {"value": found.value}
        if found.drawn is not None:
            scores[name]["interval"] = as_list(interval_of(found.drawn))
    if case.head == "action":
        for name in ("accuracy", "auc"):
            scores[name] |= {
                "effective_samples": scoring.effective,
                "no_skill": as_list(no_skill_band(scoring.effective)),
            }
    if case.head == "confidence":
        error, skill = scores["calibration_error"]["value"], scores["brier_skill"]["value"]
        scores["calibrated"] = {"value": is_calibrated(_number(error), _number(skill))}
    return scores | {name: {"value": value} for name, value in case.details.items()}


def _too_few(table: Columns, case: HeadCase, rows: Ints) -> Scores:
    missing: dict[str, object] = {"value": None, "reason": _found(rows, "a score")}
    return _counts(table, rows) | {name: dict(missing) for name in case.metrics}


def _counts(table: Columns, rows: Ints) -> Scores:
    return {"samples": {"value": len(rows)}, "left_out": {"value": length_of(table) - len(rows)}}


def _found(rows: Ints, what: str) -> str:
    return f"found {len(rows)} test samples; {what} needs {MIN_SAMPLES}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
