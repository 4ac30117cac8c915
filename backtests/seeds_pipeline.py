"""The body of a seeds job: predictions of all finished seeds in, the verdict of their mean out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from artifacts.store import FileChanged
from backtests.confidence import require_calibrated
from backtests.engine.simulate import InvalidSpan, simulate
from backtests.measures import PATH_MEASURES
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
from modeling.code_versions import code_version, in_order_of_use
from modeling.evaluation.paths import spread_of
from modeling.evaluation.table import Table, of_instrument
from modeling.judging import MODEL, Judgement, judge
from modeling.measures import scores_on
from modeling.models import Experiment, TrainingRun, instrument_name
from modeling.seeds import MeanPrediction, mean_of_runs
from specs.declaration import InvalidSpec

FEWEST_SEEDS = 2
NUMBERS = ("total_return", "sharpe", "max_drawdown", "trades", "exposure", "turnover")
JUDGING_FROM, SIMULATING_FROM = 0.3, 0.85


def judge_seeds(row: SeedVerdict, attempt: RunningAttempt) -> None:
    """Judge heads and equity of the mean prediction over the seeds that have finished by now.

    The job of the last run to finish finds them all.
    """
    runs = finished_seeds(row.experiment)
    if len(runs) < FEWEST_SEEDS:
        with attempt.fenced():
            attempt.succeed("One seed has finished; its verdict is that of the run.")
        return
    mean = _mean(row.experiment, runs, attempt)
    judgement = _judged(row.experiment, mean, attempt)
    _leave_out_bands(judgement.metrics)
    row.metrics, row.heads, row.leak_alarm = judgement.metrics, judgement.verdict, judgement.alarm
    row.missing = {
        rung: found["reason"] for rung, found in judgement.rungs.items() if not found["metrics"]
    }
    attempt.progress(SIMULATING_FROM, "Simulating")
    own = Backtest.objects.for_work().get(run=runs[0], is_own=True)
    row.equity = _equity(row, own, mean, judgement, attempt)
    row.runs, row.alarm_explanation = [run.pk for run in runs], ""
    with attempt.fenced():
        row.save()
        attempt.succeed(_ending(row))


def finished_seeds(experiment: Experiment) -> list[TrainingRun]:
    """One run of each seed that has succeeded, its own backtest too, by seed: the newest of the code that
    runs now, else the newest.
    """
    runs = experiment.runs.filter(
        job__status=JobStatus.SUCCEEDED,
        backtests__is_own=True,
        backtests__job__status=JobStatus.SUCCEEDED,
    )
    found = {run.seed: run for run in in_order_of_use(runs, code_version())}
    return [found[seed] for seed in sorted(found)]


def _leave_out_bands(metrics: dict[str, Any]) -> None:
    """No forecasts of the calibration slices are kept that a band of the mean could come from."""
    for scores in (metrics, *metrics.get("instruments", {}).values()):
        scores["volatility"].pop("band_share")


def _ending(row: SeedVerdict) -> str:
    reason = row.equity.get("reason")
    without = f" It has no account: {reason}" if reason else ""
    return f"The mean prediction over {len(row.runs)} seeds is judged.{without}"


def _mean(
    experiment: Experiment, runs: list[TrainingRun], attempt: RunningAttempt
) -> MeanPrediction:
    def between(share: float) -> None:
        attempt.raise_if_stopping()
        attempt.progress(JUDGING_FROM * share, "Reading the predictions")

    try:
        return mean_of_runs(runs, between=between)
    except FileChanged as error:
        raise failed(ExitKind.DATA_CHANGED, version=experiment.version.number) from error


def _judged(experiment: Experiment, mean: MeanPrediction, attempt: RunningAttempt) -> Judgement:
    """As a single run is judged: on path 1 of several, beside the spread over all."""
    pool = experiment.pool

    def between(share: float) -> None:
        attempt.raise_if_stopping()
        reached = JUDGING_FROM + share * (SIMULATING_FROM - JUDGING_FROM)
        attempt.progress(reached, "Judging the mean prediction")

    return judge(
        mean.paths,
        mean.folds,
        spec=experiment.model_spec,
        timeframe_minutes=pool[0].dataset.timeframe_minutes,
        is_synthetic=all(version.is_synthetic for version in pool),
        between=between,
    )


def _equity(
    row: SeedVerdict,
    own: Backtest,
    mean: MeanPrediction,
    judgement: Judgement,
    attempt: RunningAttempt,
) -> dict[str, Any]:
    """The account of the mean prediction, or the reason why there is none."""
    try:
        require_calibrated(own.spec, scores_on(row.metrics, instrument_name(own.version)))
        return _account(own, mean, judgement, attempt)
    except InvalidSpec as error:
        reason = f"backtest.{error}"
    except InvalidSpan as error:
        reason = f"backtest.span: {error}"
    except JobFailed as error:
        reason = error.message
    attempt.log(f"The mean prediction has no account: {reason}", "warning")
    return {"reason": reason}


def _account(
    own: Backtest, mean: MeanPrediction, judgement: Judgement, attempt: RunningAttempt
) -> dict[str, Any]:
    """The account on the first path beside those of the rungs' means, by the experiment's policy; of
    several instruments on the first. Of several paths each has one, for the spread.
    """
    name = instrument_name(own.version)
    first, *others = (_own_tables(path.tables, name) for path in mean.paths)
    tables = {rung: first[rung] for rung in judgement.predicting}
    history = history_of(own, tables[MODEL])
    candles = predicted_of(own, history, tables[MODEL])
    scores = {rung: found["metrics"] for rung, found in judgement.rungs.items()}
    policies = policies_of(own.spec, scores, tables)
    targets = {
        rung: targets_of(candles, table, mean.thresholds[rung], own, policies[rung])
        for rung, table in tables.items()
    }
    account = simulate(candles, targets[MODEL], own.spec)
    rungs = rungs_of(candles, rule_targets(history, len(candles)) | targets, own, attempt)
    benchmark = next(rung.simulation for rung in rungs if rung.name == BUY_AND_HOLD)
    summaries = [summarize(account, benchmark)]
    for path in others:
        attempt.raise_if_stopping()
        wanted = targets_of(candles, path[MODEL], mean.thresholds[MODEL], own, policies[MODEL])
        summaries.append(summarize(simulate(candles, wanted, own.spec), benchmark))
    evaluation = own.run.experiment.model_spec.evaluation
    verdict = equity_verdict(
        daily_log_returns(account),
        {rung.name: daily_log_returns(rung.simulation) for rung in rungs},
        closed_trades=int((~account.trades.is_open).sum()),
        draws=evaluation.bootstrap_draws,
        seed=evaluation.bootstrap_seed,
    )
    found = {
        "verdict": verdict.to_json(),
        "numbers": {key: summaries[0].numbers[key] for key in NUMBERS},
        "has_own_thresholds": mean.has_own_thresholds,
    }
    if others:
        found["paths"] = {
            key: spread_of([summary.numbers[key] for summary in summaries]) for key in PATH_MEASURES
        }
    return found


def _own_tables(tables: Mapping[str, Table], name: str) -> dict[str, Table]:
    return {rung: of_instrument(table, name) for rung, table in tables.items()}
