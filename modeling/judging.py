"""Scores of a run: every head beside its rungs, the leak alarm, and what to say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.baselines.rungs import PRIOR
from modeling.evaluation.abstention import abstention
from modeling.evaluation.alarm import BlockScore, leak_alarm
from modeling.evaluation.bands import Band, band_share
from modeling.evaluation.calibration import uncalibrated_reason
from modeling.evaluation.cases import Priors, Scoring
from modeling.evaluation.columns import HEADS
from modeling.evaluation.heads import judge_heads, score_heads
from modeling.evaluation.intervals import Between, no_pause
from modeling.evaluation.paths import Path, spread_of, value_of
from modeling.evaluation.table import PREDICTED, Table, of_instrument
from modeling.measures import HEAD_MEASURES
from modeling.specs import ModelSpec

MODEL = "model"
# Columns that tell whether a rung has a head.
HEAD_COLUMN = {
    "action": "action",
    "regime": "regime_0",
    "confidence": "confidence",
    "volatility": "volatility",
    "risk": "risk_0",
}
LONGEST_REASON = 500
HEADS_SHARE = 0.85  # of the work of judging


@dataclass(frozen=True)
class Judgement:
    """JSON data of a run: head metrics, head verdicts, rungs, leak alarm and notices.

    `predicting` names the tables that become prediction sets: those that have an action.
    """

    metrics: dict[str, Any]
    verdict: dict[str, Any]
    rungs: dict[str, dict[str, Any]]
    alarm: dict[str, Any]
    notices: list[dict[str, str]]
    predicting: tuple[str, ...]


def judge(
    paths: Sequence[Path],
    folds: Sequence[Any],  # Any: Fold rows
    *,
    spec: ModelSpec,
    timeframe_minutes: int,
    is_synthetic: bool,
    between: Between = no_pause,
) -> Judgement:
    """Score the joined test blocks of all folds, and judge every head against its rungs.

    Of several paths the first, fixed beforehand, is scored and judged; the spread of every score over
    all of them stands beside, and the alarm looks at each.
    `between` is called with the share of the work done, at least once in a few draws, and may raise.
    """
    tables, effective = paths[0].tables, paths[0].effective
    scoring = _scoring(tables, spec, effective, draws=spec.evaluation.bootstrap_draws)
    names = [name for name in tables if name != MODEL]
    reasons = _failures(names, folds)
    rungs = {name: _own_heads(tables[name]) for name in names if name not in reasons}
    metrics, verdict, scores = judge_heads(
        tables[MODEL], rungs, scoring, between=lambda share: between(HEADS_SHARE * share)
    )
    add_certainty(
        metrics,
        tables[MODEL],
        folds,
        scoring,
        between=lambda share: between(HEADS_SHARE + (1 - HEADS_SHARE) * share),
    )
    by_path = [{MODEL: metrics, **scores}]
    for path in paths[1:]:
        between(1.0)
        found = fold_metrics(path.tables, spec, path.effective)
        by_path.append({name: found[name] for name in by_path[0]})
    _add_spreads(by_path)
    of_each = _instrument_scores(paths[0], folds, spec, between)
    alarm = leak_alarm(
        _blocks(folds, paths, by_path) | _instrument_blocks(paths[0], of_each),
        market="noise" if is_synthetic else "real",
        timeframe_minutes=timeframe_minutes,
        horizon_bars=spec.windows.horizon_bars,
    )
    return Judgement(
        metrics=metrics | ({"instruments": of_each} if of_each else {}),
        verdict=verdict,
        rungs={
            name: {
                "metrics": scores.get(name, {}),
                "reason": (reasons.get(name) or _notes(name, folds))[:LONGEST_REASON],
            }
            for name in names
        },
        alarm=alarm.to_json(),
        notices=_notices(metrics),
        predicting=tuple(
            name for name in (MODEL, *rungs) if np.isfinite(tables[name]["action"]).any()
        ),
    )


def add_certainty(
    metrics: dict[str, Any],
    table: Table,
    folds: Sequence[Any],  # Any: Fold rows
    scoring: Scoring,
    *,
    between: Between = no_pause,
) -> None:
    """Put what the confidence cuts leave, and how often the volatility bands held, beside the scores.

    `between` is called with the share of the draws done and may raise.
    """
    bands = {
        fold.number: Band.from_json(fold.state["volatility_band"])
        for fold in folds
        if "volatility_band" in fold.state  # folds finished by an earlier release have none
    }
    cuts = abstention(table, scoring, between=lambda share: between(share / 2))
    held = band_share(table, bands, scoring, between=lambda share: between((1 + share) / 2))
    metrics["confidence"]["abstention"] = {"value": cuts}
    metrics["volatility"]["band_share"] = held


def _failures(names: Sequence[str], folds: Sequence[Any]) -> dict[str, str]:  # Any: Fold rows
    """Why a rung has no score: it is compared on all folds or on none."""
    found = {
        name: [
            (fold.number, reason)
            for fold in folds
            if (reason := fold.state.get("failed", {}).get(name))
        ]
        for name in names
    }
    return {name: _in_words(failures, len(folds)) for name, failures in found.items() if failures}


def _in_words(failures: Sequence[tuple[int, str]], folds: int) -> str:
    """In how many folds it failed and in which, and the first reason with its fold."""
    first, reason = failures[0]
    if folds == 1:
        return f"Fold {first}: {reason}"
    if len(failures) == folds:
        return f"Failed in all {folds} folds. Fold {first}: {reason}"
    numbers = ", ".join(str(number) for number, _ in failures)
    return f"Failed in {len(failures)} of {folds} folds ({numbers}). Fold {first}: {reason}"


def _notes(name: str, folds: Sequence[Any]) -> str:  # Any: Fold rows
    """What was simplified, each sentence once."""
    texts = [text for fold in folds for text in fold.state.get("notes", {}).get(name, [])]
    return " ".join(dict.fromkeys(texts))


def fold_metrics(tables: Mapping[str, Table], spec: ModelSpec, effective: float) -> dict[str, Any]:
    """Scores of one fold by rung, without intervals."""
    scoring = _scoring(tables, spec, effective, draws=0)
    return {
        name: score_heads(
            table if name == MODEL else _own_heads(table), scoring, side=_side_of(name, tables)
        )
        for name, table in tables.items()
    }


def _side_of(name: str, tables: Mapping[str, Table]) -> NDArray[np.float64] | None:
    """The side whose trades a confidence is about: a rung's own, for the prior ours."""
    return np.asarray(tables[MODEL]["action"], dtype=float) if name == PRIOR else None


def _scoring(
    tables: Mapping[str, Table], spec: ModelSpec, effective: float, *, draws: int
) -> Scoring:
    prior = tables[PRIOR]
    return Scoring(
        priors=Priors(
            regime=np.column_stack([prior[f"regime_{k}"] for k in range(4)]),
            risk=np.column_stack([prior[f"risk_{k}"] for k in range(3)]),
            confidence=np.asarray(prior["confidence"], dtype=float),
        ),
        cost_bps=spec.target.cost_bps,
        horizon_bars=spec.windows.horizon_bars,
        effective=effective,
        draws=draws,
        seed=spec.evaluation.bootstrap_seed,
    )


def _own_heads(table: Table) -> Table:
    """The table without the columns of heads that the rung does not have."""
    missing = {
        head
        for head, column in HEAD_COLUMN.items()
        if not np.isfinite(np.asarray(table[column], dtype=float)).any()
    }
    return {
        name: values
        for name, values in table.items()
        if name not in PREDICTED or _head_of(name) not in missing
    }


def _head_of(column: str) -> str:
    return next(head for head in HEADS if column.startswith(head))


def _blocks(
    folds: Sequence[Any],  # Any: Fold rows
    paths: Sequence[Path],
    by_path: Sequence[Mapping[str, Any]],  # Any: scores are plain JSON
) -> dict[str, BlockScore]:
    """Every test block, and all of a path pooled, of ours and of each rung."""
    blocks = {}
    for fold in folds:
        for name, score in fold.metrics.items():
            where = f"fold {fold.number}" if name == MODEL else f"{name}, fold {fold.number}"
            blocks[where] = _block(score, fold.state["effective"]["test"])
    for path, scores in zip(paths, by_path, strict=True):
        for name, score in scores.items():
            where = path.title if name == MODEL else f"{name}, {path.title}"
            blocks[where] = _block(score, path.effective)
    return blocks


def _instrument_scores(
    path: Path,
    folds: Sequence[Any],  # Any: Fold rows
    spec: ModelSpec,
    between: Between,
) -> dict[str, Any]:
    """Scores of our heads on each of several instruments, with intervals and their certainty."""

    def pause(share: float) -> None:
        between(1.0)

    found = {}
    for name, effective in path.effective_of.items():
        tables = {rung: of_instrument(path.tables[rung], name) for rung in (MODEL, PRIOR)}
        scoring = _scoring(tables, spec, effective, draws=spec.evaluation.bootstrap_draws)
        found[name] = judge_heads(tables[MODEL], {}, scoring, between=pause).scores
        add_certainty(found[name], tables[MODEL], folds, scoring, between=pause)
    return found


def _instrument_blocks(path: Path, of_each: Mapping[str, Any]) -> dict[str, BlockScore]:
    """All test blocks of each of several instruments."""
    return {
        f"{name}, {path.title}": _block(score, path.effective_of[name])
        for name, score in of_each.items()
    }


def _add_spreads(by_path: Sequence[dict[str, Any]]) -> None:
    """Put the values on all paths beside those on the first, of each rung and score that all have."""
    first, *others = by_path
    for name, scores in first.items() if others else ():
        for head, found in scores.items():
            for metric in HEAD_MEASURES.keys() & found.keys():
                if all(metric in other[name].get(head, {}) for other in others):
                    values = [value_of(one[name], head, metric) for one in by_path]
                    found[metric]["spread"] = spread_of(values)


def _block(score: dict[str, Any], effective: float) -> BlockScore:
    action = score.get("action", {})
    return BlockScore(
        accuracy=action.get("accuracy", {}).get("value"),
        auc=action.get("auc", {}).get("value"),
        effective=effective,
    )


def _notices(metrics: dict[str, Any]) -> list[dict[str, str]]:
    reason = uncalibrated_reason(metrics.get("confidence", {}))
    if not reason:
        return [{"code": "calibrated", "message": "Confidence is calibrated."}]
    message = f"{reason}. It may rank, but it is no probability: no backtest sizes or gates by it."
    return [{"code": "uncalibrated", "message": message}]
