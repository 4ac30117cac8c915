"""An experiment over its seeds, as rows of a page: mean ± spread of the runs, and their mean prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from backtests.measures import MEASURES, PATH_MEASURES
from backtests.models import WITHHELD, Backtest, SeedVerdict, Verdict
from modeling.code_versions import MixedCode, mixed_code
from modeling.measures import (
    HEAD_MEASURES,
    HEADS,
    KEY_SCORES,
    best_cells,
    in_order,
    ladder_cells,
    ladder_heads,
    rung_label,
    rung_words,
)
from modeling.models import TrainingRun

Json = dict[str, Any]  # Any: rows of a page
OWN_THRESHOLDS = (
    "Its account enters at the mean's own threshold from each calibration slice, as that of a single "
    "run does."
)
THRESHOLDS_OF_SEEDS = (
    "Its account enters at the mean of the seeds' thresholds, because the release that trained them "
    "kept no predictions of the calibration slices: a mean score is smaller in size, so it trades less."
)
RUN_AGAIN = "Start the seeds trained by older code again: of equal runs the newest by the running code counts."
WITHHELD_OF_MEAN = (
    "The scores of the mean prediction are too good to be taken for skill. The verdict stays withheld. "
    "Find the leak and run again, or explain here why it is none."
)


def seeds_table(row: SeedVerdict, runs: Sequence[TrainingRun]) -> Json:
    """Head and equity rows of the runs that were pooled, with the words of the verdicts.

    While a leak alarm of one of the runs, or of the mean itself, keeps verdicts back, none is shown.
    The spread is over the paths of combinatorial cross-validation; of path 1 is what stands before it.
    """
    pooled = [run for run in runs if run.pk in row.runs]
    is_withheld = row.is_withheld
    return {
        **_words(row, is_withheld=is_withheld),
        "row": row,
        "seeds": [run.seed for run in pooled],
        "mixed_code": mixed_code_of(pooled),
        "paths": _paths(row),
        "entry": _entry(row),
        "missing": [(rung_label(rung), reason) for rung, reason in row.missing.items()],
        "heads": [_head_row(row, pooled, *key, is_withheld=is_withheld) for key in KEY_SCORES],
        "equity": [_equity_row(row, pooled, key) for key in PATH_MEASURES],
    }


def seeds_ladder(row: SeedVerdict) -> Json:
    """The baseline ladder of the mean prediction, with the heads of its columns.

    Of each head it has the score that the verdict compares: of a rung's mean no other one is kept.
    """
    keys = [key for key in KEY_SCORES if row.heads.get(key[0], {}).get("metric") == key[1]]
    best, rungs = best_cells(row.heads), _rung_scores(row)
    ours = {"label": "Mean prediction", "cells": ladder_cells(row.metrics, keys=keys)}
    theirs = [
        {
            "label": rung_label(rung),
            "cells": ladder_cells(rungs.get(rung, {}), rung=rung, best=best, keys=keys),
            "reason": row.missing.get(rung, ""),
        }
        for rung in in_order({*rungs, *row.missing})
    ]
    return {"columns": ladder_heads(keys), "rows": [ours, *theirs] if keys else []}


def _rung_scores(row: SeedVerdict) -> dict[str, Json]:
    """By rung, head and metric, what the head verdicts have compared with."""
    found: dict[str, Json] = {}
    for head, verdict in row.heads.items():
        for rung, score in verdict.get("rungs", {}).items():
            found.setdefault(rung, {})[head] = {verdict["metric"]: {"value": score["value"]}}
    return found


def mixed_code_of(pooled: Iterable[TrainingRun]) -> MixedCode | None:
    """What to say where several code versions have trained the runs of one mean prediction."""
    return mixed_code(pooled, RUN_AGAIN)


def _entry(row: SeedVerdict) -> str:
    """Which threshold the account enters at; nothing where there is no account."""
    if "verdict" not in row.equity:
        return ""
    return OWN_THRESHOLDS if row.equity.get("has_own_thresholds") else THRESHOLDS_OF_SEEDS


def _paths(row: SeedVerdict) -> int:
    """How many paths the scores are spread over; 0 for the one path of any other scheme."""
    spread = row.metrics.get("action", {}).get("auc", {}).get("spread", {})
    return len(spread.get("values", ()))


def _words(row: SeedVerdict, *, is_withheld: bool) -> dict[str, str]:
    """The verdict on the account of the mean prediction as the page writes it."""
    if is_withheld:
        sentence = WITHHELD_OF_MEAN if row.is_alarmed else WITHHELD
        return {"word": Verdict.WITHHELD, "title": "Verdict withheld", "sentence": sentence}
    found = row.equity.get("verdict")
    if found is None:
        return {"word": "", "title": "No account", "sentence": row.equity.get("reason", "")}
    title = Verdict(found["word"]).label.capitalize()
    if found["word"] != Verdict.UNDECIDED:
        title = f"{title} {rung_words(found['deciding']['rung'])}"
    return {"word": found["word"], "title": title, "sentence": found["sentence"]}


def _head_row(
    row: SeedVerdict, runs: Sequence[TrainingRun], head: str, metric: str, *, is_withheld: bool
) -> Json:
    found = row.metrics.get(head, {}).get(metric, {})
    verdict = row.heads.get(head, {})
    is_judged = verdict.get("metric") == metric
    return {
        "label": f"{HEADS[head]}: {HEAD_MEASURES[metric].label}",
        "kind": HEAD_MEASURES[metric].kind,
        **_spread([run.metrics.get(head, {}).get(metric, {}).get("value") for run in runs]),
        "value": found.get("value"),
        "interval": found.get("interval"),
        "spread": found.get("spread"),
        "word": verdict["word"] if is_judged and not is_withheld else "",
        "sentence": verdict["sentence"] if is_judged and not is_withheld else "",
    }


def _equity_row(row: SeedVerdict, runs: Sequence[TrainingRun], key: str) -> Json:
    own = [backtest for run in runs for backtest in run.backtests.all() if backtest.is_own]
    return {
        "label": MEASURES[key].label,
        "kind": MEASURES[key].kind,
        **_spread([_of_account(backtest, key) for backtest in own]),
        "value": row.equity.get("numbers", {}).get(key),
        "spread": row.equity.get("paths", {}).get(key),
    }


def _of_account(row: Backtest, key: str) -> float | None:
    columns = {"total_return": "net_return", "trades": "trade_count"}
    value: float | None = getattr(row, columns.get(key, key))
    return value


def _spread(values: Sequence[float | None]) -> Json:
    """Mean and standard deviation (ddof 1) over the runs that have the figure."""
    known = [value for value in values if value is not None]
    return {
        "mean": mean(known) if known else None,
        "std": stdev(known) if len(known) > 1 else None,
    }
