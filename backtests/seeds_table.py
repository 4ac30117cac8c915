"""An experiment over its seeds, as rows of a page: mean ± spread of the runs, and their mean prediction."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from backtests.measures import MEASURES
from backtests.models import WITHHELD, Backtest, SeedVerdict, Verdict
from modeling.measures import HEAD_MEASURES, HEADS, KEY_SCORES, rung_words
from modeling.models import TrainingRun

Json = dict[str, Any]  # Any: rows of a page
EQUITY_KEYS = ("total_return", "sharpe", "max_drawdown", "trades")


def seeds_table(row: SeedVerdict, runs: Sequence[TrainingRun]) -> Json:
    """Head and equity rows of the runs that were pooled, with the words of the verdicts.

    While a leak alarm of one of the runs, or of the mean itself, keeps verdicts back, none is shown.
    """
    pooled = [run for run in runs if run.pk in row.runs]
    is_withheld = row.is_withheld
    return {
        **_words(row, is_withheld=is_withheld),
        "seeds": [run.seed for run in pooled],
        "heads": [_head_row(row, pooled, *key, is_withheld=is_withheld) for key in KEY_SCORES],
        "equity": [_equity_row(row, pooled, key) for key in EQUITY_KEYS],
    }


def _words(row: SeedVerdict, *, is_withheld: bool) -> dict[str, str]:
    """The verdict on the account of the mean prediction as the page writes it."""
    if is_withheld:
        return {"word": Verdict.WITHHELD, "title": "Verdict withheld", "sentence": WITHHELD}
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
