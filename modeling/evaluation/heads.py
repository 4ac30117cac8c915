"""Scores of the five heads from a prediction table, and their verdicts against the baseline rungs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
from modeling.evaluation.draws import (
    OURS,
    Asked,
    Key,
    Measured,
    measured_together,
    one_blas_thread,
)
from modeling.evaluation.effective import no_skill_band
from modeling.evaluation.intervals import Between, interval_of, no_pause
from modeling.evaluation.prepared import Metric
from modeling.evaluation.verdicts import as_list, undecided, verdict_of

Scores = dict[str, dict[str, object]]
PAIRED = "="  # what is asked for the verdict; no rung is called so


class Judged(NamedTuple):
    """Scores and verdicts of a prediction table by head, and the scores of each rung by head."""

    scores: dict[str, Scores]
    verdicts: dict[str, dict[str, object]]
    rungs: dict[str, dict[str, Scores]]


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
    return judge_heads(predictions, {}, scoring).scores


def judge_heads(
    predictions: Columns,
    rungs: Mapping[str, Columns],
    scoring: Scoring,
    *,
    between: Between = no_pause,
) -> Judged:
    """Scores of each head as `score_heads`, the same of each rung, and the verdicts against the rungs.

    `rungs` maps a rung's name to its prediction columns, row by row those of `predictions` (labels
    and times are taken from there); one without an action is scored on our side of the trade.
    Tables that can be scored on equal rows share their draws. Verdicts are paired differences on
    the rows that all compared tables have. Metrics: RankIC, macro-F1, −Brier, volatility R2,
    −ordinal Brier. The verdict names the best rung by that metric; every compared rung is listed.
    Confidence is compared only with rungs that
    speak of the same trades (the prior): a rung with an action of its own has other outcomes to
    foretell, and a smaller Brier score on easier outcomes says nothing.
    `between` is called with the share of the work done, several times a head, and may raise.
    """
    found = Judged({}, {}, {name: {} for name in rungs})
    beside_ours = {name: beside(predictions, rung) for name, rung in rungs.items()}
    with one_blas_thread():
        for place, head in enumerate(HEADS):
            if not _has_scores(predictions, head):
                continue

            def within(share: float, place: int = place) -> None:
                between((place + share) / len(HEADS))

            within(0.0)
            tables = {OURS: predictions} | {
                name: rung for name, rung in beside_ours.items() if _has_scores(rung, head)
            }
            compared = [name for name in tables if name and _is_comparable(rungs[name], head)]
            scores, found.verdicts[head] = _judge_head(tables, head, compared, scoring, within)
            found.scores[head] = scores.pop(OURS)
            for name, score in scores.items():
                found.rungs[name][head] = score
    return found


def _has_scores(table: Columns, head: str) -> bool:
    return has_head(table, head) and (head != "confidence" or has_side(table))


def _is_comparable(rung: Columns, head: str) -> bool:
    return head != "confidence" or "action" not in rung


def _judge_head(
    tables: Mapping[str, Columns],
    head: str,
    compared: Sequence[str],
    scoring: Scoring,
    between: Between,
) -> tuple[dict[str, Scores], dict[str, object]]:
    """Scores of every table on the rows that it has, and the verdict on those that all compared have."""
    rows = {name: scorable_rows(table, head) for name, table in tables.items()}
    cases = {name: CASES[head](table, rows[name], scoring) for name, table in tables.items()}
    common = rows[OURS]
    for name in compared:
        common = np.intersect1d(common, rows[name], assume_unique=True)
    pair = {name: CASES[head](tables[name], common, scoring) for name in (OURS, *compared)}
    asked = {name: Asked(rows[name], case.loss, _open(name, case)) for name, case in cases.items()}
    asked = {OURS: asked[OURS], PAIRED: Asked(common, pair[OURS].loss, _deciding(pair)), **asked}
    measured = measured_together(tables[OURS], asked, scoring, between)
    scores = {
        name: _scores(tables[name], case, rows[name], name, measured[name], scoring)
        for name, case in cases.items()
    }
    if len(common) < MIN_SAMPLES:
        return scores, undecided(cases[OURS], _found(common, "a verdict"))
    return scores, verdict_of(cases[OURS], measured[PAIRED], compared)


def _open(name: str, case: HeadCase) -> dict[Key, Metric]:
    """What can be measured of a table: all metrics that no reason forbids."""
    return {(name, metric): of for metric, of in case.metrics.items() if metric not in case.reasons}


def _deciding(pair: Mapping[str, HeadCase]) -> dict[Key, Metric]:
    """The metric of the verdict, of each that is compared."""
    return {
        key: metric
        for name, case in pair.items()
        for key, metric in _open(name, case).items()
        if key[1] == case.verdict_metric
    }


def _scores(
    table: Columns,
    case: HeadCase,
    rows: Ints,
    owner: str,
    measured: Mapping[Key, Measured],
    scoring: Scoring,
) -> Scores:
    if len(rows) < MIN_SAMPLES:
        return _too_few(table, case, rows)
    scores = _counts(table, rows)
    for name in case.metrics:
        found = measured.get((owner, name))
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
