"""The body of a study's jobs: predictions and accounts of finished runs in, paired differences out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from artifacts.store import FileChanged, verified_path
from backtests.models import Backtest, Study, StudyVariant
from backtests.robustness.bootstrap import FEWEST_DAYS, mean_interval
from backtests.robustness.verdict import FEWEST_TRADES
from backtests.variants import BASE
from jobs.attempts import RunningAttempt
from jobs.exits import failed
from jobs.statuses import ExitKind, JobStatus
from modeling.evaluation.paired import Paired, mean_prediction, paired_differences
from modeling.evaluation.table import Table, read_predictions
from modeling.models import PredictionSet, TrainingRun

DAILY = "equity.daily_log_return"
Runs = dict[int, TrainingRun]  # by seed


def compare_variants(study: Study, attempt: RunningAttempt) -> None:
    """Compare every variant with the base on the seeds that both have finished by now.

    Each run of a study ends with such a job, so what is stored always is what the finished runs say,
    whatever becomes of the others. Equal runs are not compared again.
    """
    variants = list(study.variants.exclude(experiment=None))
    runs = {variant.pk: _finished(variant) for variant in variants}
    base = next(runs[variant.pk] for variant in variants if variant.key == BASE)
    others = [variant for variant in variants if variant.key != BASE]
    for place, variant in enumerate(others):
        attempt.raise_if_stopping()
        attempt.progress(place / len(others), f"Comparing {place + 1} of {len(others)} variants")
        _compare(study, variant, runs[variant.pk], base, attempt)
    compared = sum(bool(variant.comparison) for variant in others)
    with attempt.fenced():
        attempt.succeed(f"{compared} of {len(others)} variants are compared with the base.")


def _finished(variant: StudyVariant) -> Runs:
    """Runs that have succeeded together with their own backtest."""
    parts = variant.runs.filter(
        run__job__status=JobStatus.SUCCEEDED,
        run__backtests__is_own=True,
        run__backtests__job__status=JobStatus.SUCCEEDED,
    )
    return {part.run.seed: part.run for part in parts.select_related("run").order_by("pk")}


def _compare(
    study: Study, variant: StudyVariant, ours: Runs, base: Runs, attempt: RunningAttempt
) -> None:
    seeds = sorted(ours.keys() & base.keys())
    compared = {
        "seeds": seeds,
        "runs": [ours[seed].pk for seed in seeds],
        "base_runs": [base[seed].pk for seed in seeds],
    }
    if not seeds or {key: variant.comparison.get(key) for key in compared} == compared:
        return
    members = [[runs[seed] for seed in seeds] for runs in (ours, base)]
    evaluation = study.experiment.model_spec.evaluation

    def between(share: float) -> None:
        attempt.raise_if_stopping()

    with threadpool_limits(limits=1, user_api="blas"):
        heads = paired_differences(
            *(mean_prediction([_predictions(run) for run in runs]) for runs in members),
            horizon_bars=study.experiment.model_spec.windows.horizon_bars,
            draws=evaluation.bootstrap_draws,
            seed=evaluation.bootstrap_seed,
            between=between,
        )
    accounts = [[_account(run) for run in runs] for runs in members]
    daily = daily_difference(
        *(mean_daily(rows) for rows in accounts),
        closed_trades=min(_closed_trades(row) for rows in accounts for row in rows),
        draws=evaluation.bootstrap_draws,
        seed=evaluation.bootstrap_seed,
    )
    rows = {f"{head}.{name}": _json(found) for (head, name), found in heads.items()}
    variant.comparison = {**compared, "rows": {**rows, DAILY: _json(daily)}}
    attempt.write(lambda: _store(variant))


def _store(variant: StudyVariant) -> None:
    """Unless another job of the study, which knew of more seeds, has been faster."""
    stored = StudyVariant.objects.select_for_update().get(pk=variant.pk).comparison
    if len(stored.get("seeds", ())) <= len(variant.comparison["seeds"]):
        variant.save(update_fields=["comparison"])


def _predictions(run: TrainingRun) -> Table:
    stored = (
        run.prediction_sets.headline()
        .select_related("file")
        .get(rung=PredictionSet.MODEL, is_holdout=False)
    )
    try:
        return read_predictions(verified_path(stored.file))
    except FileChanged as error:
        raise failed(ExitKind.DATA_CHANGED, version=run.experiment.version.number) from error


def _account(run: TrainingRun) -> Backtest:
    row: Backtest = Backtest.objects.select_related("trial").get(run=run, is_own=True)
    return row


def _closed_trades(row: Backtest) -> int:
    return int(row.report.get("verdict", {}).get("closed_trades", 0))


def mean_daily(rows: Sequence[Backtest]) -> dict[date, float]:
    """Mean over seeds of the log net returns of their whole UTC days, on the days that all have."""
    tracks = [_daily(row) for row in rows]
    days = set.intersection(*(set(track) for track in tracks))
    return {day: float(np.mean([track[day] for track in tracks])) for day in sorted(days)}


def _daily(row: Backtest) -> dict[date, float]:
    """Log net returns by day; the first and the last day are no whole ones and left out."""
    trial = row.trial
    if trial is None or trial.first_day is None:
        return {}
    logs = np.log1p(np.maximum(trial.daily_returns, -1.0 + 1e-12))
    days = [trial.first_day + timedelta(days=k) for k in range(len(logs))]
    return dict(list(zip(days, logs.tolist(), strict=True))[1:-1])


def daily_difference(
    ours: dict[date, float],
    theirs: dict[date, float],
    *,
    closed_trades: int,
    draws: int,
    seed: int,
) -> Paired:
    """Ours − theirs of the mean daily log net return on shared days.

    As for a verdict there is no interval below 30 days, or 30 closed trades of any of the accounts.
    """
    days = sorted(ours.keys() & theirs.keys())
    if not days:
        return Paired(None, None, 0, "the accounts have no day in common")
    differences = np.array([ours[day] - theirs[day] for day in days])
    if closed_trades < FEWEST_TRADES:
        reason = f"found {closed_trades} closed trades; a comparison needs {FEWEST_TRADES}"
        return Paired(float(differences.mean()), None, len(days), reason)
    found = mean_interval(differences, draws=draws, seed=seed)
    reason = "" if found else f"found {len(days)} shared days; a comparison needs {FEWEST_DAYS}"
    interval = (found.low, found.high) if found else None
    return Paired(float(differences.mean()), interval, len(days), reason)


def _json(found: Paired) -> dict[str, Any]:
    return {
        "difference": found.difference,
        "interval": list(found.interval) if found.interval else None,
        "rows": found.rows,
        "reason": found.reason,
    }
