"""The body of a backtest job: predictions and candles in, equity, trades and verdict out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from artifacts.models import StoredFile
from artifacts.store import FileChanged, scratch_folder, store_file, verified_path
from backtests.badges import holdout_badge, renew_badge
from backtests.confidence import Metrics, require_calibrated, spec_of_rung
from backtests.engine.band import Band, simulate_band
from backtests.engine.ledger import Simulation
from backtests.engine.policy import targets_from_predictions
from backtests.engine.rules import RULES, buy_and_hold, buy_and_hold_spec, flat
from backtests.engine.simulate import InvalidSpan, simulate
from backtests.later import in_sample_text
from backtests.ledger import count_trial, ledger_for
from backtests.metrics.measures import returns_of
from backtests.metrics.series import daily_log_returns, daily_values, instant_of
from backtests.metrics.summary import summarize
from backtests.models import Backtest
from backtests.report import Judged, build_report
from backtests.robustness.costs import break_even_cost, cost_sensitivity
from backtests.robustness.sharpe import shape_of
from backtests.robustness.verdict import BUY_AND_HOLD, equity_verdict
from backtests.spans import require_predicted
from backtests.specs import BacktestSpec, PolicySpec, SpanSpec
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from jobs.exits import failed
from jobs.statuses import ExitKind
from markets.candles.frame import Candles, read_candles
from markets.models import Kind
from markets.reading import ns_of
from modeling.baselines.rungs import WITH_ACTION
from modeling.evaluation.table import Table, of_instrument, read_predictions
from modeling.measures import scores_on
from modeling.models import PredictionSet, TrainingRun, instrument_name
from modeling.openings import lock_holdouts
from specs.declaration import InvalidSpec

PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Rung:
    """One account: its targets on the candles, and what they earned."""

    name: str
    targets: NDArray[np.float64]
    simulation: Simulation


def run_backtest(row: Backtest, attempt: RunningAttempt) -> None:
    """Simulate the model, every rung with an action and every rule; judge and store them."""
    attempt.progress(0.05, "Reading the predictions")
    stored = row.prediction_sets().filter(path__lte=1)
    sets = {found.rung: found for found in stored.select_related("file")}
    if PredictionSet.MODEL not in sets:
        raise JobFailed(
            "no_predictions", "The run has no predictions. Let it finish, then start again."
        )
    _require_calibrated(row)
    tables = {name: _own_predictions(found, row) for name, found in sets.items()}
    history = history_of(row, tables[PredictionSet.MODEL])
    candles = predicted_of(row, history, tables[PredictionSet.MODEL])
    attempt.progress(0.2, "Simulating")
    scores = {score.rung: score.metrics for score in row.run.baselines.all()}
    policies = policies_of(row.spec, scores, tables)
    targets = {
        name: targets_of(candles, table, _threshold_of(sets[name]), row, policies[name])
        for name, table in tables.items()
    }
    try:
        band = simulate_band(candles, targets[PredictionSet.MODEL], row.spec)
        rungs = rungs_of(candles, rule_targets(history, len(candles)) | targets, row, attempt)
        others = _other_paths(candles, policies[PredictionSet.MODEL], row, attempt)
    except InvalidSpan as error:
        raise JobFailed("invalid_spec", f"backtest.span: {error}") from error
    attempt.raise_if_stopping()
    attempt.progress(0.5, "Judging")
    judged = _judged(row, candles, targets[PredictionSet.MODEL], band, rungs, others)
    report = build_report(row, judged)
    attempt.raise_if_stopping()
    attempt.progress(0.9, "Storing the report")
    _store(row, attempt, judged, report)


def _require_calibrated(row: Backtest) -> None:
    """What the launch of a run's own backtest could not know yet."""
    try:
        require_calibrated(row.spec, scores_on(row.run.metrics, instrument_name(row.version)))
    except InvalidSpec as error:
        raise JobFailed("uncalibrated", f"backtest.{error}.") from error


def _own_predictions(found: PredictionSet, row: Backtest) -> Table:
    """The predictions of the backtest's own instrument, as far as they may be judged."""
    name = instrument_name(row.version)
    table = of_instrument(read_predictions(_path(found.file, row)), name)
    if not len(table["open_at"]):
        raise JobFailed("no_predictions", f"The run has no predictions of {name}. Choose another.")
    return _judgeable(row, table)


def _path(stored: StoredFile, row: Backtest) -> Path:
    try:
        return verified_path(stored)
    except FileChanged as error:
        raise failed(ExitKind.DATA_CHANGED, version=row.version.number) from error


def _judgeable(row: Backtest, table: Table) -> Table:
    """The table without what a registered model says of the time it was trained on."""
    start = row.out_of_sample_from
    if start is None:
        return table
    kept = np.asarray(table["known_at"], dtype=np.int64) >= ns_of(start)
    if not kept.any():
        raise JobFailed("in_sample", in_sample_text(start))
    return {name: values[kept] for name, values in table.items()}


def history_of(row: Backtest, table: Table) -> Candles:
    """All candles up to the last predicted bar; nothing behind a hold-out that is not opened."""
    candles = read_candles(_path(row.version.file, row), row.version.dataset.timeframe_minutes)
    stop = int(np.searchsorted(candles.time, table["open_at"][-1], side="right"))
    sealed_after = row.sealed_after
    if sealed_after is not None and candles.close_time[stop - 1] > ns_of(sealed_after):
        raise JobFailed("sealed", "The predictions reach into the sealed hold-out. Open it first.")
    return candles.slice(0, stop)


def predicted_of(row: Backtest, history: Candles, table: Table) -> Candles:
    """Candles from the first to the last predicted bar."""
    start = int(np.searchsorted(history.time, table["open_at"][0]))
    predicted = history.slice(start, len(history))
    _require_span_within(predicted, row.spec.span)
    return predicted


def _require_span_within(predicted: Candles, span: SpanSpec) -> None:
    """What the launch of a run's own backtest could not know to the bar."""
    first, end = instant_of(int(predicted.time[0])), instant_of(int(predicted.close_time[-1]))
    try:
        require_predicted(span, first, end)
    except InvalidSpec as error:
        raise JobFailed("invalid_spec", f"backtest.{error}.") from error


def policies_of(
    spec: BacktestSpec, scores: Mapping[str, Metrics], names: Iterable[str]
) -> dict[str, PolicySpec]:
    """The policy of the model, whose confidence was proved to be one, and of each rung as far as its is,
    by the scores of the rungs.
    """
    rungs = {name: spec_of_rung(spec, scores.get(name, {})).policy for name in names}
    return rungs | {PredictionSet.MODEL: spec.policy}


def targets_of(
    candles: Candles,
    table: Table,
    threshold_of: Mapping[int, float],
    row: Backtest,
    policy: PolicySpec,
) -> NDArray[np.float64]:
    """Targets at every candle by each fold's own threshold; a bar without a prediction has none."""
    place = np.searchsorted(candles.time, table["open_at"])
    thresholds = np.array([threshold_of[fold] for fold in table["fold"].tolist()], dtype=np.float64)
    spread = {name: np.full(len(candles), np.nan) for name in ("action", "confidence", "threshold")}
    spread["action"][place] = table["action"]
    spread["confidence"][place] = table["confidence"]
    spread["threshold"][place] = thresholds
    instrument = row.version.dataset.instrument
    return targets_from_predictions(
        spread["action"],
        spread["confidence"],
        spread["threshold"],
        policy,
        horizon_bars=row.run.experiment.model_spec.windows.horizon_bars,
        kind="perpetual" if instrument.kind == Kind.PERPETUAL else "spot",
    )


def _threshold_of(found: PredictionSet) -> dict[int, float]:
    return {part["fold"]: part["threshold"] for part in found.folds}


def rule_targets(history: Candles, bars: int) -> dict[str, NDArray[np.float64]]:
    """Targets of each rule at the last `bars` candles; its means look back on those before them."""
    found = {name: rule(history.close)[-bars:] for name, rule in RULES.items()}
    return {"flat": flat(bars), **found}


def rungs_of(
    candles: Candles,
    targets: dict[str, NDArray[np.float64]],
    row: Backtest,
    attempt: RunningAttempt,
) -> list[Rung]:
    """Buy and hold, and an account for all targets but the model's, with the model's assumptions."""
    always = buy_and_hold(len(candles))
    benchmark = simulate(candles, always, buy_and_hold_spec(row.spec))
    rungs = [Rung(BUY_AND_HOLD, always, benchmark)]
    for name, wanted in targets.items():
        attempt.raise_if_stopping()
        if name != PredictionSet.MODEL:
            rungs.append(Rung(name, wanted, simulate(candles, wanted, row.spec)))
    return rungs


def _other_paths(
    candles: Candles, policy: PolicySpec, row: Backtest, attempt: RunningAttempt
) -> list[Simulation]:
    """An account for each path behind the first, with the same assumptions; they are no trials."""
    stored = row.prediction_sets().filter(path__gt=1)
    accounts = []
    for found in stored.select_related("file").order_by("path"):
        attempt.raise_if_stopping()
        table = _own_predictions(found, row)
        targets = targets_of(candles, table, _threshold_of(found), row, policy)
        accounts.append(simulate(candles, targets, row.spec))
    return accounts


def _judged(
    row: Backtest,
    candles: Candles,
    targets: NDArray[np.float64],
    band: Band,
    rungs: list[Rung],
    others: list[Simulation],
) -> Judged:
    simulation = band.headline
    benchmark = next(rung.simulation for rung in rungs if rung.name == BUY_AND_HOLD)
    evaluation = row.run.experiment.model_spec.evaluation
    closed = int((~simulation.trades.is_open).sum())
    verdict = equity_verdict(
        daily_log_returns(simulation),
        {rung.name: daily_log_returns(rung.simulation) for rung in rungs},
        closed_trades=closed,
        draws=evaluation.bootstrap_draws,
        seed=evaluation.bootstrap_seed,
    )
    daily = returns_of(daily_values(simulation))
    shape = shape_of(daily)
    summary = summarize(simulation, benchmark)
    return Judged(
        band=band,
        benchmark=benchmark,
        summary=summary,
        paths=[summary, *(summarize(other, benchmark) for other in others)],
        benchmark_summary=summarize(benchmark, benchmark),
        rungs={rung.name: summarize(rung.simulation, benchmark) for rung in rungs},
        failed_rungs=_failed_rungs(row, rungs),
        verdict=verdict,
        daily=daily,
        shape=shape,
        ledger=ledger_for(row, daily, shape, instant_of(int(simulation.time[0])).date()),
        costs=cost_sensitivity(candles, targets, row.spec),
        break_even=break_even_cost(candles, targets, row.spec),
        draws=evaluation.bootstrap_draws,
        seed=evaluation.bootstrap_seed,
    )


def _failed_rungs(row: Backtest, rungs: list[Rung]) -> dict[str, str]:
    """Why a rung that would have an action has no account."""
    there = {rung.name for rung in rungs}
    if row.model_prediction is not None:
        return dict.fromkeys(
            WITH_ACTION, "It says nothing of these candles: a model is registered alone."
        )
    scores = row.run.baselines.exclude(reason="").filter(rung__in=WITH_ACTION)
    return {score.rung: score.reason for score in scores if score.rung not in there}


def _store(row: Backtest, attempt: RunningAttempt, judged: Judged, report: dict[str, Any]) -> None:
    with scratch_folder() as scratch:
        equity, trades = scratch / "equity.parquet", scratch / "trades.parquet"
        _write_equity(equity, judged)
        _write_trades(trades, judged.band.headline)
        with attempt.fenced():
            row.report, row.withheld = report, {}
            row.equity = _stored(row, equity)
            row.trades = _stored(row, trades)
            _summarise(row, judged, report)
            row.trial = count_trial(row, judged.ledger, judged.daily, judged.shape)
            lock_holdouts(row.workspace_id)
            renew_badge(row, holdout_badge(row.run.experiment))
            # Locked: whoever explains the alarm meanwhile finds this verdict, or we their words.
            if TrainingRun.objects.select_for_update(no_key=True).get(pk=row.run_id).is_withheld:
                row.withhold()
                _withhold_others(row)
            row.save()
            attempt.succeed(row.report["verdict"]["sentence"])


def _withhold_others(row: Backtest) -> None:
    """An alarm that the hold-out raised reaches the verdicts that were shown before it."""
    for other in row.run.backtests.exclude(pk=row.pk).filter(withheld={}).exclude(report={}):
        other.withhold()
        other.save(update_fields=["report", "verdict", "withheld"])


def _summarise(row: Backtest, judged: Judged, report: dict[str, Any]) -> None:
    numbers = report["numbers"]
    interval = numbers["sharpe_interval"]
    simulation = judged.band.headline
    row.verdict = report["verdict"]["word"]
    row.net_return = numbers["total_return"]
    row.benchmark_return = numbers["benchmark"]["total_return"]
    row.sharpe = numbers["sharpe"]
    row.sharpe_low, row.sharpe_high = interval if interval else (None, None)
    row.max_drawdown = numbers["max_drawdown"]
    row.trade_count = numbers["trades"]
    row.days = len(judged.daily)
    row.first_at = instant_of(int(simulation.time[0]))
    row.last_at = instant_of(int(simulation.time[-1] + simulation.bar_ns))
    row.badges = report["badges"]


def _stored(row: Backtest, path: Path) -> StoredFile:
    return store_file(path, workspace_id=row.workspace_id, name=path.name, media_type=PARQUET)


def _write_equity(path: Path, judged: Judged) -> None:
    simulation, band = judged.band.headline, judged.band
    columns = {
        "time": simulation.time,
        "equity": simulation.equity,
        "benchmark": judged.benchmark.equity,
        "position": simulation.position,
    }
    if band.lowest is not None and band.highest is not None:
        columns |= {"equity_min": band.lowest, "equity_max": band.highest}
    pq.write_table(pa.table(columns), path, compression="zstd")


def _write_trades(path: Path, simulation: Simulation) -> None:
    columns = asdict(simulation.trades)
    columns["reason"] = simulation.trades.reason_names
    columns["return"] = columns.pop("return_")
    columns["is_open"] = simulation.trades.is_open
    pq.write_table(pa.table(columns), path, compression="zstd")
