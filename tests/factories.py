"""Rows and files for tests of pages and API: alice owns, bob is on her team, charlie is a stranger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.utils import timezone

from accounts.models import Membership, Role, User, Workspace
from artifacts.models import StoredFile
from artifacts.store import local_path, scratch_folder, store_file
from backtests.models import Backtest, SeedVerdict, Study, StudyRun, StudyVariant
from backtests.specs import BacktestSpec, ExperimentSpec
from jobs.models import Job, JobAttempt, JobEvent, JobLogLine
from jobs.statuses import TERMINAL, EventKind, JobKind, JobStatus, Queue
from markets.candles.frame import Candles, candles_sha256, read_candles, write_candles
from markets.candles.report import candle_quality
from markets.candles.synthetic import synthetic_candles
from markets.models import Dataset, DatasetVersion, Import, Instrument, Source
from markets.specs import ImportSpec
from modeling.evaluation.table import write_predictions
from modeling.models import (
    BaselineScore,
    Checkpoint,
    Experiment,
    Fold,
    MetricPoint,
    PredictionSet,
    TrainingRun,
    Trial,
)
from modeling.presets import PRESETS
from modeling.training.checkpoint import Checkpoint as TrainingState
from modeling.training.checkpoint import Provenance, save_checkpoint

PASSWORD = "correct horse battery"
PARQUET = "application/vnd.apache.parquet"
SHA = "ab" * 32


def make_workspace(name: str = "Team") -> Workspace:
    return Workspace.objects.create(name=name)


def make_user(name: str, workspace: Workspace | None = None, role: str = Role.OWNER) -> User:
    """A user with the password PASSWORD, in the given workspace or in one of their own."""
    user = User.objects.create_user(name, password=PASSWORD)
    home = workspace or make_workspace(f"{name}'s workspace")
    Membership.objects.create(workspace=home, user=user, role=role)
    return user


def make_stored(workspace: Workspace, write: Any, name: str = "file.parquet") -> StoredFile:
    """A stored file whose content `write(path)` makes."""
    with scratch_folder() as folder:
        path = folder / name
        write(path)
        return store_file(path, workspace_id=workspace.pk, name=name, media_type=PARQUET)


def make_job(
    workspace: Workspace,
    *,
    kind: str = JobKind.IMPORT,
    status: str = JobStatus.SUCCEEDED,
    **fields: Any,
) -> Job:
    """A job in any state, with an attempt, an event and a log line once it was claimed."""
    now = timezone.now()
    queues = {JobKind.TRAINING: Queue.TRAINING, JobKind.BACKTEST: Queue.BACKTESTS}
    values = {
        "queue": queues.get(JobKind(kind), Queue.DATA),
        "progress": 1.0
        if status == JobStatus.SUCCEEDED
        else 0.42
        if status == JobStatus.RUNNING
        else 0.0,
        "started_at": None if status == JobStatus.QUEUED else now - timedelta(seconds=95),
        "ended_at": now - timedelta(seconds=5) if status in TERMINAL else None,
        **fields,
    }
    job = Job.objects.create(workspace=workspace, kind=kind, status=status, **values)
    JobEvent.objects.create(job=job, kind=EventKind.QUEUED)
    if status != JobStatus.QUEUED:
        attempt = JobAttempt.objects.create(
            job=job, number=1, worker=job.pk, host="here", pid=1, ended_at=values["ended_at"]
        )
        JobEvent.objects.create(
            job=job, attempt=attempt, kind=EventKind.CLAIMED, data={"attempt": 1}
        )
        JobLogLine.objects.create(job=job, attempt=attempt, number=1, at=now, text="It has begun.")
        JobLogLine.objects.create(
            job=job, attempt=attempt, number=2, at=now, level="warning", text="A step was slow."
        )
    return job


def make_version(
    workspace: Workspace,
    *,
    symbol: str = "BTC/USDT",
    candles: Candles | None = None,
    source: str = Source.FILE,
    name: str = "",
    findings: tuple[str, ...] = (),
) -> DatasetVersion:
    """A sealed version of a dataset; 40 days of hourly candles with one hole by default."""
    candles = candles or holed_candles()
    instrument, _ = Instrument.objects.get_or_create(
        workspace=workspace, venue="binance", symbol=symbol, kind="spot"
    )
    dataset, _ = Dataset.objects.get_or_create(
        workspace=workspace,
        instrument=instrument,
        timeframe_minutes=candles.timeframe_minutes,
        defaults={"name": name or f"{symbol} {candles.timeframe_minutes}m"},
    )
    after = np.flatnonzero(candles.gap_before)
    missing = [
        int((candles.time[i] - candles.time[i - 1]) // candles.bar_ns - 1) for i in after.tolist()
    ]
    gaps = [
        {"after": f"{instant(candles.time[i - 1]):%Y-%m-%dT%H:%M:%SZ}", "missing_bars": bars}
        for i, bars in zip(after.tolist(), missing, strict=True)
    ]
    version = DatasetVersion.objects.create(
        workspace=workspace,
        dataset=dataset,
        number=dataset.versions.count() + 1,
        source=source,
        sha256=candles_sha256(candles),
        file=make_stored(workspace, lambda path: write_candles(path, candles), "candles.parquet"),
        rows=len(candles),
        first_at=instant(candles.time[0]),
        last_at=instant(candles.time[-1]),
        gap_count=len(gaps),
        missing_bars=sum(missing),
        zero_volume_bars=0,
        duplicates_dropped=3,
        notices=[{"code": "sorted", "message": "The rows were not in order of time.", "count": 12}],
        findings=[
            {"code": text, "message": text, "found": 1.0, "at_most": 0.5} for text in findings
        ],
        report={
            **candle_quality(candles),
            "rows_read": len(candles) + 3,
            "flat_bars": 1,
            "longest_flat_run": 1,
            "price_range": [float(candles.low.min()), float(candles.high.max())],
            "largest_gaps": gaps,
            "outliers": [{"at": "2024-01-20T10:00:00Z", "log_return": -0.034}],
            "dropped": [],
        },
    )
    Dataset.objects.filter(pk=dataset.pk).update(latest=version)
    return version


def holed_candles(days: int = 40) -> Candles:
    """Hourly candles in which six bars are missing."""
    whole = synthetic_candles(
        days=days, timeframe_minutes=60, end_at=datetime(2024, 2, 10, tzinfo=UTC)
    )
    keep = np.ones(len(whole), dtype=bool)
    keep[200:206] = False
    names = ("time", "open", "high", "low", "close", "volume")
    return Candles(60, *(getattr(whole, name)[keep] for name in names))


def make_import(workspace: Workspace, *, status: str = JobStatus.RUNNING, **job: Any) -> Import:
    return Import.objects.create(
        workspace=workspace,
        job=make_job(workspace, kind=JobKind.IMPORT, status=status, **job),
        spec=ImportSpec(symbol="BTC/USDT", venue="binance"),
        sent_name="candles.csv",
    )


def make_experiment(
    workspace: Workspace, version: DatasetVersion | None = None, name: str = "Tiny transformer"
) -> Experiment:
    version = version or make_version(workspace)
    span = version.last_at - version.first_at
    spec = PRESETS["tiny"]
    experiment = Experiment.objects.create(
        workspace=workspace,
        name=name,
        preset="tiny",
        model_spec=spec,
        backtest_spec=BacktestSpec().to_json(),
        spec_sha256=ExperimentSpec().sha256(),
        holdout_at=version.first_at + 0.85 * span,
        holdout_until=version.last_at + version.bar,
    )
    experiment.versions.set([version])
    return experiment


def make_run(
    experiment: Experiment, *, seed: int = 0, status: str = JobStatus.SUCCEEDED, **job: Any
) -> TrainingRun:
    """A run with points and two folds; with predictions, scores and a ladder when it succeeded."""
    run = TrainingRun.objects.create(
        workspace=experiment.workspace,
        experiment=experiment,
        seed=seed,
        job=make_job(experiment.workspace, kind=JobKind.TRAINING, status=status, **job),
        code_version="0.1.0",
        device="cpu",
        threads=2,
        data_sha256=experiment.version.sha256,
        causality=certificate(2),
    )
    points = []
    for fold in (1, 2):
        for step in range(1, 60):
            points.append(_point(run, fold, "loss", step, 3.0 / step + 0.4 * fold))
            points.append(_point(run, fold, "learning_rate", step, 1e-3 / step))
        points.append(_point(run, fold, "validation_ratio", 59, 0.97))
    MetricPoint.objects.bulk_create(points)
    if status in (JobStatus.CANCELLED, JobStatus.FAILED):
        make_checkpoint(run)
    if status == JobStatus.SUCCEEDED:
        _finish(run)
    return run


def certificate(folds: int) -> dict[str, Any]:
    """A causality certificate of which every part has passed."""
    parts = dict.fromkeys(("selection", "scalers", "targets", "predictions"), "passed")
    return {
        "passed": True,
        "bars_tested": 30,
        "folds": [{"fold": number, "passed": True, **parts} for number in range(1, folds + 1)],
    }


def make_checkpoint(run: TrainingRun, *, step: int = 50, **provenance: Any) -> Checkpoint:
    """A checkpoint of the first fold, row and files; `provenance` changes what it was made from."""
    made_from: dict[str, Any] = {
        "spec_sha256": run.experiment.spec_sha256,
        "dataset_sha256": run.data_sha256,
        "seed": run.seed,
    }
    state = {"provenance": Provenance(**made_from | provenance).to_json(), "threads": 1}
    arrays = {"network/w": np.arange(3, dtype=np.float32)}
    saved = save_checkpoint(run.checkpoint_folder, TrainingState(1, step, arrays, state))
    return Checkpoint.objects.create(
        run=run,
        fold=1,
        step=step,
        name=saved.path.name,
        sha256=saved.sha256,
        size=saved.bytes,
    )


def _point(run: TrainingRun, fold: int, name: str, step: int, value: float) -> MetricPoint:
    return MetricPoint(run=run, fold=fold, name=name, step=step, value=value)


def _finish(run: TrainingRun) -> None:
    version = run.experiment.version
    candles = candles_of(version)
    half, end = len(candles) // 2, int(len(candles) * 0.8)
    opens = candles.time[half:end]
    fold_of = np.where(np.arange(len(opens)) < len(opens) // 2, 1, 2)
    stored = make_stored(
        run.workspace,
        lambda path: write_predictions(
            path, _predictions(opens, fold_of, candles.bar_ns), "BTC/USDT (binance)"
        ),
        "predictions.parquet",
    )
    PredictionSet.objects.create(
        workspace=run.workspace,
        run=run,
        file=stored,
        sha256=SHA,
        rows=len(opens),
        first_at=instant(opens[0]),
        last_at=instant(opens[-1]),
        folds=[{"fold": 1, "threshold": 0.6}, {"fold": 2, "threshold": 0.5}],
    )
    for number in (1, 2):
        Fold.objects.create(
            run=run,
            number=number,
            splits=_splits(number),
            finished_at=timezone.now(),
            epochs=4,
            best_epoch=2,
            threshold=0.6,
            weights_sha256=SHA,
        )
    run.metrics = _scores(0.51)
    run.verdict = {
        "action": {
            "word": "ties",
            "rung": "logistic",
            "sentence": "Not better than logistic at ranking the coming returns.",
        }
    }
    run.weights_sha256 = run.predictions_sha256 = SHA
    run.save()
    BaselineScore.objects.create(run=run, rung="logistic", metrics=_scores(0.515))
    BaselineScore.objects.create(run=run, rung="prior", metrics={}, reason="it has no direction")
    Trial.objects.get_or_create(
        workspace=run.workspace,
        origin=Trial.Origin.RUN,
        spec_sha256=run.experiment.spec_sha256,
        seed=run.seed,
        defaults={"run": run},
    )


def candles_of(version: DatasetVersion) -> Candles:
    return read_candles(local_path(version.file), version.dataset.timeframe_minutes)


def _splits(number: int) -> dict[str, Any]:
    part = {
        "from_at": f"2024-01-0{number}T00:00:00Z",
        "to_at": f"2024-01-1{number}T00:00:00Z",
        "samples": 300,
        "effective_samples": 25.0,
    }
    names = ("fit", "validation", "calibration", "test")
    return {"number": number, "slices": dict.fromkeys(names, part), "purged": 48, "embargoed": 288}


def _scores(auc: float) -> dict[str, Any]:
    return {
        "action": {
            "samples": {"value": 5000},
            "accuracy": {"value": 0.512, "interval": [0.49, 0.53], "no_skill": [0.45, 0.55]},
            "auc": {"value": auc, "interval": [auc - 0.03, auc + 0.03], "no_skill": [0.45, 0.55]},
            "rank_ic": {"value": 0.012, "interval": [-0.02, 0.05]},
        },
        "volatility": {"r2": {"value": 0.41, "interval": [0.3, 0.5]}},
        "risk": {"ordinal_brier": {"value": None, "reason": "the test rows have one class only"}},
    }


def _predictions(opens: Any, fold_of: Any, bar_ns: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    count = len(opens)
    known = rng.normal(0, 0.004, count)
    return {
        "open_at": opens,
        "known_at": opens + bar_ns,
        "fold": fold_of,
        "seed": np.zeros(count, dtype=np.int64),
        "action": np.tanh(rng.normal(0, 0.5, count)),
        **{f"regime_{k}": np.full(count, 0.25) for k in range(4)},
        "confidence": rng.uniform(0.3, 0.6, count),
        "confidence_raw": rng.uniform(0.3, 0.6, count),
        "volatility": np.abs(known) + 0.002,
        **{f"risk_{k}": np.full(count, 1 / 3) for k in range(3)},
        "realised_return": known,
        "realised_regime": np.zeros(count, dtype=np.int64),
        "realised_volatility": np.abs(known) + 0.001,
        "realised_risk": np.ones(count, dtype=np.int64),
    }


def make_backtest(
    run: TrainingRun, *, status: str = JobStatus.SUCCEEDED, verdict: str = "ties", **job: Any
) -> Backtest:
    """The own backtest of a run; with equity, trades and a report when it succeeded."""
    version = run.experiment.version
    row = Backtest.objects.create(
        workspace=run.workspace,
        name=str(run)[:200],
        run=run,
        version=version,
        is_own=True,
        spec=BacktestSpec(),
        spec_sha256=SHA,
        job=make_job(run.workspace, kind=JobKind.BACKTEST, status=status, **job),
    )
    if status != JobStatus.SUCCEEDED:
        return row
    candles = candles_of(version).slice(len(candles_of(version)) // 2, int(version.rows * 0.8))
    equity = 10_000 * np.cumprod(1 + np.random.default_rng(5).normal(-1e-4, 0.003, len(candles)))
    benchmark = 10_000 * candles.close / candles.close[0]
    columns = {
        "time": candles.time,
        "equity": equity,
        "benchmark": benchmark,
        "position": np.zeros(len(candles)),
    }
    row.equity = make_stored(run.workspace, lambda path: pq.write_table(pa.table(columns), path))
    row.trades = make_stored(run.workspace, lambda path: pq.write_table(_trades(candles), path))
    row.report = make_report(
        verdict, float(equity[-1] / 10_000 - 1), float(benchmark[-1] / 10_000 - 1)
    )
    numbers = row.report["numbers"]
    row.verdict = verdict
    row.net_return, row.benchmark_return = (
        numbers["total_return"],
        numbers["benchmark"]["total_return"],
    )
    row.sharpe, (row.sharpe_low, row.sharpe_high) = numbers["sharpe"], numbers["sharpe_interval"]
    row.max_drawdown, row.trade_count, row.days = numbers["max_drawdown"], 60, numbers["days"]
    row.first_at, row.last_at = instant(candles.time[0]), instant(candles.time[-1])
    row.badges = row.report["badges"]
    row.save()
    return row


def make_study(run: TrainingRun) -> Study:
    """A study of the run's experiment in which the run is the base; nothing is compared yet."""
    job = make_job(run.workspace, kind=JobKind.STUDY)
    study: Study = Study.objects.create(
        workspace=run.workspace,
        name=f"Ablation of {run.experiment.name}",
        experiment=run.experiment,
        seeds=[run.seed],
        job=job,
    )
    base = StudyVariant.objects.create(
        study=study, place=0, key="base", experiment=run.experiment, parameters=50_662
    )
    StudyRun.objects.create(variant=base, run=run)
    return study


def make_seed_verdict(*runs: TrainingRun, **fields: Any) -> SeedVerdict:
    """The verdict of the mean prediction over these runs of one experiment."""
    experiment = runs[0].experiment
    values = {
        "metrics": {"action": {"auc": {"value": 0.53}, "rank_ic": {"value": 0.02}}},
        "heads": {"action": {"metric": "rank_ic", "word": "ties", "sentence": "Not better."}},
        "equity": {
            "verdict": {
                "word": "ties",
                "deciding": {"rung": "buy_and_hold", "word": "ties"},
                "sentence": "Not better than it.",
            },
            "numbers": {"total_return": 0.01, "sharpe": 0.4, "max_drawdown": -0.1, "trades": 40},
            "has_own_thresholds": True,
        },
    }
    row: SeedVerdict = SeedVerdict.objects.create(
        workspace=experiment.workspace,
        experiment=experiment,
        job=make_job(experiment.workspace, kind=JobKind.SEEDS),
        runs=[run.pk for run in runs],
        **values | fields,
    )
    return row


def _trades(candles: Candles) -> pa.Table:
    places = np.arange(5, len(candles) - 10, 6)[:60]
    sides = np.where(np.arange(len(places)) % 3 == 0, -1, 1)
    gain = np.where(np.arange(len(places)) % 2 == 0, 0.004, -0.005)
    is_open = np.arange(len(places)) == len(places) - 1
    return pa.table(
        {
            "side": sides,
            "entry_bar": places,
            "exit_bar": places + 3,
            "entry_time": candles.time[places],
            "exit_time": candles.time[places + 3],
            "entry_price": candles.open[places],
            "exit_price": candles.open[places + 3],
            "quantity": np.full(len(places), 0.2),
            "fees": np.full(len(places), 7.9),
            "slippage": np.full(len(places), 1.9),
            "pnl": gain * 9_000,
            "bars_held": np.full(len(places), 3),
            "reason": np.where(is_open, "open", "signal"),
            "ambiguous": np.arange(len(places)) == 4,
            "adverse": np.full(len(places), -0.004),
            "favourable": np.full(len(places), 0.006),
            "return": gain,
            "is_open": is_open,
        }
    )


def make_report(word: str, net_return: float, benchmark_return: float) -> dict[str, Any]:
    """A report with the keys that backtests.report writes."""
    measured = {
        "total_return": net_return,
        "sharpe": -0.84,
        "max_drawdown": -0.123,
        "trades": 60,
        "exposure": 0.31,
        "turnover": 240.5,
    }
    comparison = {
        "rung": "buy_and_hold",
        "word": word,
        "difference": -2.1e-4,
        "low": -9e-4,
        "high": 4e-4,
    }
    return {
        "numbers": {
            **measured,
            "excess_return": net_return - benchmark_return,
            "volatility": 0.21,
            "cagr": None,
            "win_rate": 0.4912,
            "break_even_win_rate": 0.55,
            "days": 31,
            "sharpe_interval": [-3.1, 1.2],
            "deflated_sharpe": 0.12,
            "trials_counted": 3,
            "break_even_bps": None,
            "benchmark": {**measured, "total_return": benchmark_return},
            "rungs": {
                "buy_and_hold": {**measured, "total_return": benchmark_return},
                "logistic": measured,
            },
            "monthly": [{"year": 2024, "months": [0.021, -0.034, *[None] * 10], "total": -0.0137}],
            "drawdowns": [
                {
                    "depth": -0.123,
                    "peak_at": "2024-01-22T04:00:00Z",
                    "trough_at": "2024-01-28T05:00:00Z",
                    "recovered_at": None,
                }
            ],
            "costs": [
                {
                    "factor": factor,
                    "total_return": 0.02 - 0.03 * factor,
                    "sharpe": 0.3,
                    "closed_trades": 60,
                }
                for factor in (0, 0.5, 1, 2, 5)
            ],
        },
        "reasons": {"cagr": "track_too_short", "break_even_bps": "loses_without_costs"},
        "verdict": {
            "word": word,
            "sentence": "Not better than buy and hold. Try a longer test span, or look at the costs.",
            "best_rung": "buy_and_hold",
            "rungs": 2,
            "days": 31,
            "closed_trades": 60,
            "draws": 1000,
            "deciding": comparison,
            "comparisons": [comparison, {**comparison, "rung": "logistic"}],
        },
        "badges": [
            {"code": "few_trades", "label": "60 trades, fewer than 100"},
            {"code": "causality_passed", "label": "Causality passed"},
        ],
        "assumptions": [
            {"label": "Fills", "value": "At the open of the next bar.", "emphasis": ""},
            {"label": "Funding", "value": "Not modelled.", "emphasis": "warn"},
        ],
    }


def instant(time_ns: Any) -> datetime:
    return datetime.fromtimestamp(int(time_ns) / 1e9, UTC)
