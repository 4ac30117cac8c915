"""The body of a seeds job: predictions of all finished seeds in, the verdict of their mean out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from artifacts.store import FileChanged, verified_path
from backtests.confidence import require_calibrated
from backtests.engine.simulate import InvalidSpan, simulate
from backtests.metrics.series import daily_log_returns
from backtests.metrics.summary import summarize
from backtests.models import Backtest, SeedVerdict
from backtests.pipeline import (
    history_of,
    policies_of,
    predicted_of,
    rule_targets,
    rungs_of,
    targets_of,
)
from backtests.robustness.verdict import BUY_AND_HOLD, equity_verdict
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from jobs.exits import failed
from jobs.statuses import ExitKind, JobStatus
from modeling.evaluation.paired import mean_prediction
from modeling.evaluation.table import Table, joined, of_instrument, read_fold
from modeling.judging import MODEL, judge_mean
from modeling.models import Experiment, Fold, TrainingRun, instrument_name
from specs.declaration import InvalidSpec

FEWEST_SEEDS = 2
NUMBERS = ("total_return", "sharpe", "max_drawdown", "trades", "exposure", "turnover")


def judge_seeds(row: SeedVerdict, attempt: RunningAttempt) -> None:
    """Judge heads and equity of the mean prediction over the seeds that have finished by now.

    The job of the last run to finish finds them all.
    """
    runs = finished_seeds(row.experiment)
    if len(runs) < FEWEST_SEEDS:
        with attempt.fenced():
            attempt.succeed("One seed has finished; its verdict is that of the run.")
        return
    folds = [list(run.folds.select_related("predictions").order_by("number")) for run in runs]
    if row.experiment.model_spec.evaluation.scheme == "cpcv":
        with attempt.fenced():
            attempt.succeed("Seeds of combinatorial cross-validation stand side by side.")
        return
    attempt.progress(0.05, "Reading the predictions")
    tables = _mean_tables(row.experiment, folds)
    spec, pool = row.experiment.model_spec, row.experiment.pool

    def between(share: float) -> None:
        attempt.raise_if_stopping()
        attempt.progress(0.1 + 0.7 * share, "Judging the mean prediction")

    row.metrics, row.heads, row.leak_alarm = judge_mean(
        tables,
        [fold for found in folds for fold in found],
        effective=sum(fold.state["effective"]["test"] for fold in folds[0]),
        spec=spec,
        timeframe_minutes=pool[0].dataset.timeframe_minutes,
        is_synthetic=all(version.is_synthetic for version in pool),
        between=between,
    )
    attempt.progress(0.85, "Simulating")
    own = Backtest.objects.for_work().get(run=runs[0], is_own=True)
    row.equity = _equity(row, own, tables, _mean_thresholds(folds), attempt)
    row.runs = [run.pk for run in runs]
    with attempt.fenced():
        row.save()
        attempt.succeed(f"The mean prediction over {len(runs)} seeds is judged.")


def finished_seeds(experiment: Experiment) -> list[TrainingRun]:
    """The newest run of each seed that has succeeded, its own backtest too, by seed."""
    runs = experiment.runs.filter(
        job__status=JobStatus.SUCCEEDED,
        backtests__is_own=True,
        backtests__job__status=JobStatus.SUCCEEDED,
    )
    return list({run.seed: run for run in runs.order_by("seed", "pk")}.values())


def _mean_tables(experiment: Experiment, folds: Sequence[Sequence[Fold]]) -> dict[str, Table]:
    """The mean of the model and of every rung over seeds; a rung that learns has seeds as well."""
    by_seed = []
    for found in folds:
        try:
            parts = [
                read_fold(verified_path(fold.predictions)) for fold in found if fold.predictions
            ]
        except FileChanged as error:
            raise failed(ExitKind.DATA_CHANGED, version=experiment.version.number) from error
        by_seed.append({rung: joined([part[rung] for part in parts]) for rung in parts[0]})
    shared = [rung for rung in by_seed[0] if all(rung in tables for tables in by_seed)]
    return {rung: mean_prediction([tables[rung] for tables in by_seed]) for rung in shared}


def _mean_thresholds(folds: Sequence[Sequence[Fold]]) -> dict[str, dict[int, float]]:
    """By rung and fold: the mean over seeds of the thresholds of their calibration slices."""
    means: dict[str, dict[int, float]] = {}
    for same in zip(*folds, strict=True):
        stored = [fold.state["thresholds"] for fold in same]
        for rung in stored[0]:
            if all(rung in found for found in stored):
                mean = float(np.mean([found[rung] for found in stored]))
                means.setdefault(rung, {})[same[0].number] = mean
    return means


def _equity(
    row: SeedVerdict,
    own: Backtest,
    tables: Mapping[str, Table],
    thresholds: Mapping[str, Mapping[int, float]],
    attempt: RunningAttempt,
) -> dict[str, Any]:
    """The account of the mean prediction beside those of the rungs' means, by the experiment's policy;
    of several instruments on the first.
    """
    name = instrument_name(own.version)
    tables = {rung: of_instrument(table, name) for rung, table in tables.items()}
    try:
        require_calibrated(own.spec, row.metrics)
        history = history_of(own, tables[MODEL])
        candles = predicted_of(own, history, tables[MODEL])
        policies = policies_of(own, tables)
        targets = {
            rung: targets_of(candles, table, thresholds[rung], own, policies[rung])
            for rung, table in tables.items()
            if set(thresholds.get(rung, ())) >= set(table["fold"].tolist())
        }
        account = simulate(candles, targets[MODEL], own.spec)
        rungs = rungs_of(candles, rule_targets(history, len(candles)) | targets, own, attempt)
    except (InvalidSpec, InvalidSpan, JobFailed) as error:
        return {"reason": str(error)}
    evaluation = row.experiment.model_spec.evaluation
    verdict = equity_verdict(
        daily_log_returns(account),
        {rung.name: daily_log_returns(rung.simulation) for rung in rungs},
        closed_trades=int((~account.trades.is_open).sum()),
        draws=evaluation.bootstrap_draws,
        seed=evaluation.bootstrap_seed,
    )
    benchmark = next(rung.simulation for rung in rungs if rung.name == BUY_AND_HOLD)
    numbers = summarize(account, benchmark).numbers
    return {"verdict": verdict.to_json(), "numbers": {key: numbers[key] for key in NUMBERS}}
