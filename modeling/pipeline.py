"""The body of a training run: sealed candles in, out-of-sample predictions and verdicts out.

Only the trainer process imports this module; it loads torch.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.conf import settings
from django.db.models.functions import Now
from numpy.typing import NDArray

from artifacts.models import StoredFile
from artifacts.store import FileChanged, scratch_folder, store_file, verified_path
from jobs.attempts import RunningAttempt
from jobs.errors import Fenced, JobFailed, StopRequested
from jobs.exits import failed
from jobs.statuses import EventKind, ExitKind
from markets.candles.frame import Candles, candles_sha256, read_candles
from markets.features.certificate import certify_features
from markets.features.compute import compute_features
from markets.features.table import FeatureTable
from markets.models import DatasetVersion
from modeling.baselines.ladder import Ladder
from modeling.evaluation.table import Table, joined, predictions_sha256, write_predictions
from modeling.folds import FoldResult, finish_fold, read_fold, window_volatility, write_fold
from modeling.judging import MODEL, judge
from modeling.measures import rung_label
from modeling.models import BaselineScore, Fold, PredictionSet, TrainingRun, Trial
from modeling.observing import RunObserver, Stage, newest_checkpoint
from modeling.specs import ModelSpec
from modeling.training.checkpoint import Checkpoint, Provenance
from modeling.training.errors import Diverged, OutOfMemory, Stopped
from modeling.training.fit import FittedFold, FoldTask, fit, steps_in_all
from modeling.training.machine import set_threads
from modeling.training.resident import (
    ResidentWindows,
    ScaledBars,
    Standard,
    window_log_volatility,
)
from modeling.training.weights import save_weights
from modeling.windows.certificate import LEARNED, certify_fit
from modeling.windows.errors import ContextTooShort, IntervalsMeet, NotEnoughHistory
from modeling.windows.make import FoldWindows, Windows, make_windows, prepare_fold
from modeling.windows.selection import Selection
from modeling.windows.splits import Fold as WindowFold

SHARE_OF_TRAINING, SCORING_FROM, STORING_FROM = 0.90, 0.92, 0.98
LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn", "lightgbm", "TA-Lib", "safetensors")
PARQUET = "application/vnd.apache.parquet"


def train(run: TrainingRun, attempt: RunningAttempt) -> None:
    """Train every fold that is not finished, then score, judge and store the predictions."""
    spec, version = run.experiment.model_spec, run.experiment.version
    threads = set_threads(run.threads or spec.training.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    attempt.progress(0.0, "Reading the candles")
    candles = _candles_of(run, version)
    _note_machine(run, attempt, candles, device, threads)
    windows = _windows_of(run, attempt, candles)
    attempt.raise_if_stopping()
    fit_bars = [windows.bars(fold.fit)[:: spec.windows.stride] for fold in windows.folds]
    steps = [steps_in_all(spec, len(bars)) for bars in fit_bars]
    for place, fold in enumerate(windows.folds):
        stage = Stage(fold.number, len(windows.folds), sum(steps[:place]), sum(steps))
        if _is_finished(run, attempt, fold.number):
            attempt.log(f"{stage.title} is finished already and not computed again.")
            continue
        _train_fold(run, attempt, windows, fold, stage, device)
        attempt.raise_if_stopping()
    _finish(run, attempt, windows)


def _is_finished(run: TrainingRun, attempt: RunningAttempt, number: int) -> bool:
    finished = run.folds.filter(number=number).exclude(finished_at=None)
    return attempt.write(finished.exists)


def _candles_of(run: TrainingRun, version: DatasetVersion) -> Candles:
    """The candles the spec uses, ending at the sealed hold-out: nothing behind it is even read on."""
    candles = sealed_candles(version)
    data = run.experiment.model_spec.data
    first, last = data.within(version.first_at, version.last_at + version.bar)
    return closed_within(candles, first, min(last, run.experiment.holdout_at))


def sealed_candles(version: DatasetVersion) -> Candles:
    """All candles of a version, proved to be those that were sealed."""
    try:
        candles = read_candles(verified_path(version.file), version.dataset.timeframe_minutes)
    except FileChanged as error:
        raise failed(ExitKind.DATA_CHANGED, version=version.number) from error
    if candles_sha256(candles) != version.sha256:
        raise failed(ExitKind.DATA_CHANGED, version=version.number)
    return candles


def closed_within(candles: Candles, first: datetime, until: datetime) -> Candles:
    """Candles that open at `first` or later and close by `until`."""
    last = nanoseconds(until) - candles.bar_ns + 1
    start, stop = np.searchsorted(candles.time, (nanoseconds(first), last))
    return candles.slice(int(start), max(int(start), int(stop)))


def _windows_of(run: TrainingRun, attempt: RunningAttempt, candles: Candles) -> Windows:
    spec = run.experiment.model_spec
    scales = spec.features.scales_for(candles.timeframe_minutes)
    attempt.raise_if_stopping()
    attempt.progress(0.01, "Computing features")
    table = compute_features(candles, spec.features.names(), scales, cache=settings.FEATURE_CACHE)
    attempt.log(f"{len(table.names)} features on {len(scales)} timescales of {len(candles)} bars.")
    if not run.causality:
        certificate = _certificate(candles, table, run.seed, attempt)
        attempt.write(lambda: _store_certificate(run, certificate))
    _refuse_failed(run.causality)
    try:
        return make_windows(candles, table, spec, holdout_at=nanoseconds(run.experiment.holdout_at))
    except NotEnoughHistory as error:
        raise JobFailed("not_enough_history", str(error)) from error
    except ContextTooShort as error:
        raise JobFailed("invalid_spec", str(error)) from error
    except IntervalsMeet as error:
        raise JobFailed("leak_intervals", str(error)) from error


def _certificate(
    candles: Candles, table: FeatureTable, seed: int, attempt: RunningAttempt
) -> dict[str, Any]:
    """Each bar of the check computes all features twice, so a stop is looked for in between."""

    def compute(shorter: Candles, names: Sequence[str], scales: Sequence[int]) -> FeatureTable:
        attempt.raise_if_stopping()
        attempt.progress(0.02, "Checking that no feature knows the future")
        return compute_features(shorter, names, scales)

    return certify_features(candles, table, seed=seed, compute=compute)


def _store_certificate(run: TrainingRun, certificate: dict[str, Any]) -> None:
    run.causality = certificate
    run.save(update_fields=["causality"])


def _certify_fold(
    run: TrainingRun, attempt: RunningAttempt, windows: Windows, fold: FoldWindows
) -> None:
    """Prove once that what the fold learned before training knows nothing behind its fit slice."""
    done = run.causality.get("folds", [])
    entry = next((entry for entry in done if entry["fold"] == fold.fold.number), None)
    if entry is None:
        spec = run.experiment.model_spec
        entry = certify_fit(windows, fold, spec, seed=run.seed)
        passed = bool(run.causality["passed"] and entry["passed"])
        certificate = run.causality | {"passed": passed, "folds": [*done, entry]}
        attempt.write(lambda: _store_certificate(run, certificate))
    _refuse_failed(run.causality)


def _refuse_failed(certificate: dict[str, Any]) -> None:
    """End the run when anything knew its future, and say what."""
    if certificate["passed"]:
        return
    for entry in certificate.get("folds", []):
        parts = [name for name in LEARNED if entry[name] != "passed"]
        if parts:
            raise JobFailed(
                "causality",
                f"Candles behind the fit slice of fold {entry['fold']} changed its "
                f"{' and '.join(parts)}; expected no change. The fold was not trained. "
                "Update the code, then launch again.",
            )
    raise JobFailed(
        "causality",
        "A feature used candles from its future; the certificate of this run names it. "
        "Nothing was trained. Update the feature, then launch again.",
    )


def _train_fold(
    run: TrainingRun,
    attempt: RunningAttempt,
    windows: Windows,
    cut: WindowFold,
    stage: Stage,
    device: torch.device,
) -> None:
    spec = run.experiment.model_spec
    folder = run.checkpoint_folder
    provenance = _provenance(run)
    resume = newest_checkpoint(run, attempt, folder, fold=cut.number, provenance=provenance)
    fold = prepare_fold(windows, cut, spec, selection=_selection_of(resume))
    _certify_fold(run, attempt, windows, fold)
    attempt.raise_if_stopping()
    attempt.log(f"{stage.title}: {cut.fit.size} fit samples, {cut.test.size} test samples.")
    kept, of = len(fold.learned.selection.names), len(windows.table.names)
    if kept < of:
        attempt.log(f"{stage.title}: {kept} of {of} features selected.")
    task = _task(spec, windows, fold, device)
    if resume is not None:
        step = stage.steps_before + resume.step
        attempt.log(f"{stage.title}: going on after the checkpoint of step {resume.step}.")
        attempt.write(lambda: attempt.event(EventKind.RESUMED, step=step, fold=stage.fold))
    observer = RunObserver(run, attempt, folder, stage, SHARE_OF_TRAINING)
    observer.last_saved = resume.step if resume is not None else None
    try:
        fitted = fit(spec, task, provenance=provenance, observer=observer, resume=resume)
    except Stopped as error:
        raise StopRequested(f"stopped at step {error.step}") from error
    except Diverged as error:
        raise _diverged(error, observer) from error
    except OutOfMemory as error:
        raise _out_of_memory(error, observer) from error
    share = SHARE_OF_TRAINING * (stage.steps_before + task_steps(spec, task)) / stage.steps_in_all

    def between(doing: str) -> None:
        attempt.raise_if_stopping()
        attempt.progress(share, f"{stage.title}: {doing}")

    result = finish_fold(spec, windows, fold, fitted, task, seed=run.seed, between=between)
    _log_ladder(attempt, stage, result.ladder)
    _store_fold(run, attempt, fold, fitted, result)


def _log_ladder(attempt: RunningAttempt, stage: Stage, ladder: Ladder) -> None:
    took = ", ".join(f"{rung_label(name)} {spent:.1f} s" for name, spent in ladder.seconds.items())
    attempt.log(f"{stage.title}: baselines done. {took}.")
    for name, reason in ladder.failed.items():
        attempt.log(f"{stage.title}: {rung_label(name)} {reason}.", "warning")


def _selection_of(checkpoint: Checkpoint | None) -> Selection | None:
    """What training began with; None for a fold that begins, or began before features were selected."""
    chosen = checkpoint.state["notes"].get("selection") if checkpoint is not None else None
    return Selection.from_json(chosen) if chosen else None


def task_steps(spec: ModelSpec, task: FoldTask) -> int:
    return steps_in_all(spec, len(task.fit_bars))


def _task(spec: ModelSpec, windows: Windows, fold: FoldWindows, device: torch.device) -> FoldTask:
    cut = fold.fold
    return FoldTask(
        number=cut.number,
        resident=resident_windows(
            spec,
            windows,
            fold.scaled,
            window_volatility(spec, windows, windows.bars(cut.fit)),
            device,
        ),
        labels=fold.labels,
        scale=fold.scale,
        fit_bars=windows.bars(cut.fit)[:: spec.windows.stride],
        validation_bars=windows.bars(cut.validation),
        notes=fold.learned.to_json(),
    )


def resident_windows(
    spec: ModelSpec,
    windows: Windows,
    scaled: dict[int, NDArray[np.float32]],
    volatility_of_fit: Standard,
    device: torch.device,
) -> ResidentWindows:
    volatility = window_log_volatility(windows.returns, spec.windows.context_bars)
    scales = windows.table.scales
    bars = ScaledBars(
        scaled=scaled,
        last_closed={k: np.array(scale.last_closed) for k, scale in scales.items() if k > 1},
        close_time_ns=windows.candles.close_time,
        bar_ns=windows.candles.bar_ns,
        log_volatility_z=volatility_of_fit.apply(volatility),
    )
    return ResidentWindows(
        bars,
        context_bars=spec.windows.context_bars,
        patch_bars=spec.network.patch_bars,
        device=device,
    )


def _store_fold(
    run: TrainingRun,
    attempt: RunningAttempt,
    fold: FoldWindows,
    fitted: FittedFold,
    result: FoldResult,
) -> None:
    """Weights and predictions of a finished fold, in one transaction with its row."""
    with scratch_folder() as scratch:
        weights = scratch / "weights.safetensors"
        weights_sha256 = save_weights(
            weights, fitted.network.state_dict(), run.experiment.spec_sha256
        )
        tables = scratch / "predictions.parquet"
        write_fold(tables, result.tables)

        def store() -> None:
            values = {
                "splits": fold.fold.to_json(),
                "epochs": len(fitted.history),
                "best_epoch": fitted.best_epoch,
                "threshold": result.thresholds[MODEL],
                "state": result.state | {"thresholds": result.thresholds},
                "metrics": result.metrics,
                "weights": store_in_run(run, weights, "application/octet-stream"),
                "weights_sha256": weights_sha256,
                "predictions": store_in_run(run, tables),
                "finished_at": Now(),
            }
            Fold.objects.update_or_create(run=run, number=fold.fold.number, defaults=values)
            run.checkpoints.all().delete()
            count_trial(run)

        attempt.write(store)
    shutil.rmtree(run.checkpoint_folder, ignore_errors=True)


def count_trial(run: TrainingRun) -> None:
    """A run that has written a test score is a trial, whatever becomes of it."""
    experiment = run.experiment
    Trial.objects.get_or_create(
        workspace_id=run.workspace_id,
        origin=Trial.Origin.RUN,
        spec_sha256=experiment.spec_sha256,
        seed=run.seed,
        defaults={"run": run, "instrument": str(experiment.version.dataset.instrument)},
    )


def _finish(run: TrainingRun, attempt: RunningAttempt, windows: Windows) -> None:
    """Join the folds, score and judge them, store the prediction sets and end the job."""
    attempt.progress(SCORING_FROM, "Scoring the predictions")
    spec, version = run.experiment.model_spec, run.experiment.version
    folds = attempt.write(lambda: list(run.folds.select_related("predictions").order_by("number")))
    parts = [read_fold(verified_path(fold.predictions)) for fold in folds if fold.predictions]
    tables = {name: joined([part[name] for part in parts]) for name in parts[0]}

    def between(share: float) -> None:
        attempt.raise_if_stopping()
        reached = SCORING_FROM + share * (STORING_FROM - SCORING_FROM)
        attempt.progress(reached, "Scoring the predictions")

    between(0.0)
    judgement = judge(
        tables,
        folds,
        spec=spec,
        timeframe_minutes=windows.candles.timeframe_minutes,
        is_synthetic=version.is_synthetic,
        between=between,
    )
    attempt.raise_if_stopping()
    attempt.progress(STORING_FROM, "Storing the predictions")
    notices = [*run.notices, *judgement.notices]
    with scratch_folder() as scratch:
        paths = {}
        for rung in judgement.predicting:
            paths[rung] = scratch / f"{rung}.parquet"
            write_predictions(paths[rung], tables[rung], str(version.dataset.instrument))

        def store() -> None:
            for rung, path in paths.items():
                _store_predictions(run, rung, tables[rung], path, folds)
            for rung, score in judgement.rungs.items():
                BaselineScore.objects.update_or_create(run=run, rung=rung, defaults=score)
            run.notices = notices
            _store_result(run, folds, tables[MODEL], judgement)
            attempt.succeed(f"{len(tables[MODEL]['open_at'])} bars predicted out of sample.")

        write_end(attempt, store)


def write_end(attempt: RunningAttempt, store: Callable[[], None]) -> None:
    """Write the rows that end the attempt as succeeded, patiently.

    A commit whose answer got lost has closed the attempt; the repeat then finds it closed.
    """
    try:
        attempt.write(store)
    except Fenced:
        if not attempt.has_succeeded():
            raise
        attempt.ended.set()


def _store_predictions(
    run: TrainingRun, rung: str, table: Table, path: Path, folds: list[Fold]
) -> None:
    PredictionSet.objects.update_or_create(
        run=run,
        rung=rung,
        defaults={
            "workspace_id": run.workspace_id,
            "file": store_in_run(run, path),
            "sha256": predictions_sha256(table),
            "rows": len(table["open_at"]),
            "first_at": instant(int(table["open_at"][0])),
            "last_at": instant(int(table["open_at"][-1])),
            "folds": [
                {"fold": fold.number, "threshold": fold.state["thresholds"].get(rung)}
                for fold in folds
            ],
        },
    )


def _store_result(run: TrainingRun, folds: list[Fold], table: Table, judgement: Any) -> None:
    import hashlib

    joined_weights = "".join(fold.weights_sha256 for fold in folds)
    run.weights_sha256 = hashlib.sha256(joined_weights.encode()).hexdigest()
    run.predictions_sha256 = predictions_sha256(table)
    run.metrics = judgement.metrics
    run.verdict = judgement.verdict
    run.leak_alarm = judgement.alarm
    run.save(
        update_fields=[
            "weights_sha256",
            "predictions_sha256",
            "metrics",
            "verdict",
            "leak_alarm",
            "notices",
        ]
    )


def _note_machine(
    run: TrainingRun,
    attempt: RunningAttempt,
    candles: Candles,
    device: torch.device,
    threads: int,
) -> None:
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"

    def store() -> None:
        run.device, run.threads = name[:40], threads
        run.code_version = code_version()
        run.libraries = {library: importlib.metadata.version(library) for library in LIBRARIES}
        run.data_sha256 = candles_sha256(candles)
        run.save(update_fields=["device", "threads", "code_version", "libraries", "data_sha256"])
        attempt.record_device(name)

    attempt.write(store)


def code_version() -> str:
    """The package version, and the commit where one is known."""
    version = importlib.metadata.version("outsample")
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=settings.ROOT,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except OSError:
        return version
    return f"{version}+{found.stdout.strip()}" if found.returncode == 0 else version


def _provenance(run: TrainingRun) -> Provenance:
    return Provenance(
        spec_sha256=run.experiment.spec_sha256,
        dataset_sha256=run.data_sha256,
        seed=run.seed,
        code_version=run.code_version,
        library_versions=run.libraries,
    )


def store_in_run(run: TrainingRun, path: Path, media_type: str = PARQUET) -> StoredFile:
    """A file that belongs to the workspace of the run."""
    return store_file(path, workspace_id=run.workspace_id, name=path.name, media_type=media_type)


def _diverged(error: Diverged, observer: RunObserver) -> JobFailed:
    failure = failed(
        ExitKind.DIVERGED,
        step=observer.in_run(error.step),
        learning_rate=error.learning_rate / 3,
        checkpoint_step=observer.in_run(observer.last_saved or 0),
    )
    if observer.last_saved is not None:
        return failure
    return JobFailed(failure.code, failure.message.partition(" The checkpoint of")[0])


def _out_of_memory(error: OutOfMemory, observer: RunObserver) -> JobFailed:
    return failed(
        ExitKind.OOM,
        step=observer.in_run(error.step),
        batch=error.batch,
        needed_gb=(error.needed_bytes or 0) / 1e9,
        free_gb=(error.free_bytes or 0) / 1e9,
        next_batch=max(1, error.batch // 2),
    )


def nanoseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1e6) * 1000


def instant(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, timezone.utc)
