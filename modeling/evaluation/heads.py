"""Scores of the five heads from a prediction table, and their verdicts against the baseline rungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation import prepared
from modeling.evaluation.calibration import is_calibrated
from modeling.evaluation.effective import no_skill_band
from modeling.evaluation.intervals import (
    Between,
    Interval,
    Resampling,
    draw_values,
    interval_of,
    mean_block_length,
    no_pause,
    verdict_word,
)
from modeling.evaluation.metrics import ECE_BINS, confusion_matrix, reliability
from modeling.evaluation.prepared import Metric
from modeling.measures import rung_words

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
    """One head on the rows that can be scored: its metrics as functions of the drawn weights.

    `shown` are the metrics of a rung that get an interval, besides the one of the verdict.
    """

    head: str
    metrics: dict[str, Metric]
    verdict_metric: str
    verdict_sign: float
    loss: Floats
    reasons: dict[str, str] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A metric on all rows, and on each draw [draws]; without draws where none were asked for."""

    value: float
    drawn: Floats | None = None


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
    with _one_blas_thread():
        for place, head in enumerate(HEADS):
            if not _has_head(predictions, head):
                continue
            if head == "confidence" and not _has_side(predictions):
                continue

            def within(share: float, place: int = place) -> None:
                between((place + share) / len(HEADS))

            within(0.0)
            rivals = {
                name: _beside(predictions, rung)
                for name, rung in rungs.items()
                if _is_comparable(rung, head)
            }
            scores[head], verdicts[head] = _judge_head(predictions, head, rivals, scoring, within)
    return scores, verdicts


def _is_comparable(rung: Columns, head: str) -> bool:
    return _has_head(rung, head) and (head != "confidence" or "action" not in rung)


def scorable_rows(table: Columns, head: str) -> Ints:
    """Rows [m] of a table whose label of this head is known and whose prediction is finite."""
    needed = [*_PREDICTED[head], *_REALISED[head]]
    known = np.ones(_length(table), dtype=bool)
    for name in needed:
        known &= np.isfinite(_side(table) if name == "action" else _floats(table, name))
    if head in ("regime", "risk"):
        known &= _floats(table, _REALISED[head][0]) >= 0
    return np.flatnonzero(known)


def _judge_head(
    table: Columns, head: str, rivals: Mapping[str, Columns], scoring: Scoring, between: Between
) -> tuple[Scores, dict[str, object]]:
    rows = scorable_rows(table, head)
    common = rows
    for rival in rivals.values():
        common = np.intersect1d(common, scorable_rows(rival, head), assume_unique=True)
    case = _CASES[head](table, rows, scoring)
    if len(rows) < MIN_SAMPLES:
        return _too_few(table, case, rows), _undecided(case, _found(common, "a verdict"))
    if len(common) < MIN_SAMPLES:
        own = _measured(_open(case), _plan(table, rows, case, scoring), between)
        return _scores(table, case, rows, own, scoring), _undecided(
            case, _found(common, "a verdict")
        )
    name = case.verdict_metric
    others = {rung: _CASES[head](rival, common, scoring) for rung, rival in rivals.items()}
    if len(common) == len(rows):  # the usual case: one pass over one set of draws serves both
        plan = _plan(table, rows, case, scoring)
        both = _measured({**_open(case), **_keyed(others)}, plan, between)
        own, paired = both, both
    else:
        own = _measured(_open(case), _plan(table, rows, case, scoring), between)
        shared = _CASES[head](table, common, scoring)
        plan = _plan(table, common, shared, scoring)
        compared = {("", name): shared.metrics[name], **_keyed(others)}
        paired = _measured(compared, plan, between)
    return _scores(table, case, rows, own, scoring), _verdict(case, paired, list(others))


Key = tuple[str, str]  # the rung ("" is the table itself) and the metric


def _open(case: HeadCase) -> dict[Key, Metric]:
    return {("", name): metric for name, metric in case.metrics.items() if name not in case.reasons}


def _keyed(rivals: Mapping[str, HeadCase]) -> dict[Key, Metric]:
    return {
        (rung, name): case.metrics[name]
        for rung, case in rivals.items()
        for name in (case.verdict_metric, *case.shown)
    }


def _measured(
    metrics: Mapping[Key, Metric], plan: Resampling, between: Between
) -> dict[Key, Measured]:
    """The defined ones among the metrics, with their draws."""
    everyone = np.ones(plan.rows if plan.positions is None else len(plan.positions))
    values = {key: float(metric(everyone)) for key, metric in metrics.items()}
    defined = {key: metrics[key] for key, value in values.items() if np.isfinite(value)}
    drawn = draw_values(defined, plan, between=between) if plan.draws else {}
    return {key: Measured(values[key], drawn.get(key)) for key in defined}


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
            scores[name]["interval"] = _as_list(interval_of(found.drawn))
    if case.head == "action":
        for name in ("accuracy", "auc"):
            scores[name] |= {
                "effective_samples": scoring.effective,
                "no_skill": _as_list(no_skill_band(scoring.effective)),
            }
    if case.head == "confidence":
        error, skill = scores["calibration_error"]["value"], scores["brier_skill"]["value"]
        scores["calibrated"] = {"value": is_calibrated(_number(error), _number(skill))}
    return scores | {name: {"value": value} for name, value in case.details.items()}


def _too_few(table: Columns, case: HeadCase, rows: Ints) -> Scores:
    missing: dict[str, object] = {"value": None, "reason": _found(rows, "a score")}
    return _counts(table, rows) | {name: dict(missing) for name in case.metrics}


def _counts(table: Columns, rows: Ints) -> Scores:
    return {"samples": {"value": len(rows)}, "left_out": {"value": _length(table) - len(rows)}}


def _found(rows: Ints, what: str) -> str:
    return f"found {len(rows)} test samples; {what} needs {MIN_SAMPLES}"


def _undecided(case: HeadCase, reason: str) -> dict[str, object]:
    return {
        "word": "undecided",
        "metric": case.verdict_metric,
        "rung": None,
        "sentence": reason,
        "rungs": {},
    }


def _verdict(
    case: HeadCase, measured: Mapping[Key, Measured], rungs: Sequence[str]
) -> dict[str, object]:
    name, sign = case.verdict_metric, case.verdict_sign
    ours = measured.get(("", name))
    theirs = {rung: measured.get((rung, name)) for rung in rungs}
    known = {rung: found for rung, found in theirs.items() if found is not None}
    if not known or ours is None or ours.drawn is None:
        return _undecided(case, "no rung could be compared on this head")
    differences = {
        rung: interval_of(sign * (ours.drawn - found.drawn))
        for rung, found in known.items()
        if found.drawn is not None
    }
    best = max(known, key=lambda rung: sign * known[rung].value)
    word = verdict_word(differences[best])
    return {
        "word": word,
        "metric": name,
        "rung": best,
        "ours": ours.value,
        "theirs": known[best].value,
        "difference": sign * (ours.value - known[best].value),
        "interval": _as_list(differences[best]),
        "sentence": _sentence(word, case.head, best, differences[best]),
        "rungs": {
            rung: {
                "value": known[rung].value,
                "word": verdict_word(difference),
                "interval": _as_list(difference),
                "own_intervals": _own_intervals(rung, measured),
            }
            for rung, difference in differences.items()
        },
    }


def _own_intervals(rung: str, measured: Mapping[Key, Measured]) -> dict[str, object]:
    """Intervals of a rung's own metrics, by name."""
    return {
        name: _as_list(interval_of(found.drawn))
        for (owner, name), found in measured.items()
        if owner == rung and found.drawn is not None
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
        shown=("auc",),
    )


def _regime_case(table: Columns, rows: Ints, scoring: Scoring) -> HeadCase:
    chances, actual = _classes(table, "regime", REGIMES, rows)
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
    chance = _floats(table, "confidence")[rows]
    gain = np.sign(_side(table)[rows]) * _floats(table, "realised_return")[rows]
    paid = gain > scoring.cost_bps / 1e4
    base_rate = np.broadcast_to(scoring.priors.confidence, (_length(table),))[rows]
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
    guess, truth = _floats(table, "volatility")[rows], _floats(table, "realised_volatility")[rows]
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
    chances, actual = _classes(table, "risk", RISKS, rows)
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
    task, rung = _MEANING[head], rung_words(rung)
    if difference is None:
        return f"Too few resamples could be scored to compare {task} with {rung}."
    low, high = (f"{value:+.4f}".replace("-", "−") for value in difference)
    span = f"95 % interval of the difference {low} to {high}"
    if word == "beats":
        return f"Better than {rung} at {task} ({span}). A backtest shows what it earns."
    if word == "loses":
        # True of every kind of model: without a network there is no loss curve to look at.
        return f"Worse than {rung} at {task} ({span}). Look at folds and features, or use {rung}."
    return f"Not better than {rung} at {task} ({span}). Try more history, or use {rung}."


def _plan(table: Columns, rows: Ints, case: HeadCase, scoring: Scoring) -> Resampling:
    return resampling(table, rows, case.loss, scoring)


def resampling(table: Columns, rows: Ints, loss: Floats, scoring: Scoring) -> Resampling:
    """Draws over the distinct times of `rows` [n] of a table, in order; rows of one time share a draw.

    The block length follows `loss` [n], as `mean_block_length` says.
    """
    steps, positions = len(rows), None
    if "open_at" in table:
        loss, steps, positions = by_time(np.asarray(table["open_at"])[rows], loss)
    block = mean_block_length(loss, scoring.horizon_bars) if scoring.draws else 1
    return Resampling(steps, block, scoring.draws, scoring.seed, positions)


def by_time(times: NDArray[np.generic], loss: Floats) -> tuple[Floats, int, Ints | None]:
    """The mean loss of each distinct time in order, how many there are, and the place of each row [n]
    among them; no places where the rows are distinct times in order already.
    """
    distinct, places = np.unique(times, return_inverse=True)
    if len(distinct) == len(loss) and not np.any(np.diff(places) < 0):
        return loss, len(loss), None
    mean = np.bincount(places, weights=loss) / np.bincount(places)
    return mean, len(distinct), places.astype(np.int64)


def _one_blas_thread() -> AbstractContextManager[object]:
    """Sums are then the same bits whatever number of cores a machine has."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


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


def _one_class(actual: Ints, names: Sequence[str] | Mapping[str, Metric]) -> dict[str, str]:
    if len(np.unique(actual)) > 1:
        return {}
    return dict.fromkeys(names, "the test rows have one class only")


def _counted(actual: Ints, guess: Ints, classes: int) -> list[list[int]]:
    matrix = confusion_matrix(actual, guess, classes)
    return [[round(float(cell)) for cell in row] for row in matrix]


def _as_list(span: Interval | None) -> list[float] | None:
    return None if span is None else [span[0], span[1]]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
