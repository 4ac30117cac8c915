"""What a run stores: its folds, their predictions, its result and the trial it is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from django.db.models.functions import Now

from artifacts.models import StoredFile
from artifacts.store import scratch_folder, store_file
from jobs.attempts import RunningAttempt
from jobs.errors import Fenced
from modeling.capacity import capacity_notices
from modeling.evaluation.paths import Path as PredictedPath
from modeling.evaluation.table import (
    Table,
    predictions_sha256,
    write_fold,
    write_predictions,
)
from modeling.folds import FoldResult
from modeling.judging import MODEL, Judgement
from modeling.models import BaselineScore, Fold, PredictionSet, TrainingRun, Trial, instrument_name
from modeling.sealed import instant
from modeling.training.fit import FittedFold
from modeling.training.weights import save_weights
from modeling.windows.learned import FoldWindows
from specs.writing import grouped

PARQUET = "application/vnd.apache.parquet"


def store_fold(
    run: TrainingRun,
    attempt: RunningAttempt,
    fold: FoldWindows,
    fitted: FittedFold,
    result: FoldResult,
) -> None:
    """Weights, predictions and calibration of a finished fold, in one transaction with its row."""
    with scratch_folder() as scratch:
        weights = scratch / "weights.safetensors"
        weights_sha256 = save_weights(
            weights, fitted.network.state_dict(), run.experiment.spec_sha256
        )
        tables = scratch / "predictions.parquet"
        write_fold(tables, result.tables)
        calibration = scratch / "calibration.parquet"
        result.calibration.write(calibration)
        thresholds = result.calibration.thresholds()

        def store() -> None:
            values = {
                "splits": fold.fold.to_json(),
                "epochs": len(fitted.history),
                "best_epoch": fitted.best_epoch,
                "threshold": thresholds[MODEL],
                "state": result.state | {"thresholds": thresholds},
                "metrics": result.metrics,
                "weights": store_in_run(run, weights, "application/octet-stream"),
                "weights_sha256": weights_sha256,
                "predictions": store_in_run(run, tables),
                "calibration": store_in_run(run, calibration),
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


def store_result(
    run: TrainingRun,
    attempt: RunningAttempt,
    folds: list[Fold],
    paths: Sequence[PredictedPath],
    judgement: Judgement,
) -> None:
    """Prediction sets, scores and verdict in one transaction with the end of the job.

    Rungs are kept on the first path, the model on each.
    """
    instrument = instrument_name(run.experiment.version)
    notices = notices_of(run, folds, judgement)
    sets = [(rung, paths[0]) for rung in judgement.predicting]
    sets += [(MODEL, path) for path in paths[1:]]
    ours = paths[0].tables[MODEL]
    bars = len(ours["open_at"])
    on_paths = f" on {len(paths)} paths" if len(paths) > 1 else ""
    with scratch_folder() as scratch:
        files = []
        for rung, path in sets:
            files.append(scratch / f"{rung}-{path.number}.parquet")
            write_predictions(files[-1], path.tables[rung], instrument)

        def store() -> None:
            for (rung, path), file in zip(sets, files, strict=True):
                _store_predictions(run, rung, path, file, folds)
            for rung, score in judgement.rungs.items():
                BaselineScore.objects.update_or_create(run=run, rung=rung, defaults=score)
            run.notices = notices
            _store_verdict(run, folds, ours, judgement)
            attempt.succeed(f"{grouped(bars)} bars predicted out of sample{on_paths}.")

        write_end(attempt, store)


def notices_of(
    run: TrainingRun, folds: Sequence[Fold], judgement: Judgement
) -> list[dict[str, str]]:
    """What stood there already, what judging found, and whether the samples are few for the network."""
    experiment = run.experiment
    minutes = experiment.version.dataset.timeframe_minutes
    few = capacity_notices(experiment.model_spec, [fold.splits for fold in folds], minutes)
    return [*run.notices, *judgement.notices, *few]


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
    run: TrainingRun, rung: str, path: PredictedPath, file: Path, folds: list[Fold]
) -> None:
    table = path.tables[rung]
    PredictionSet.objects.update_or_create(
        run=run,
        rung=rung,
        path=path.number,
        defaults={
            "workspace_id": run.workspace_id,
            "file": store_in_run(run, file),
            "sha256": predictions_sha256(table),
            "rows": len(table["open_at"]),
            "first_at": instant(int(table["open_at"].min())),
            "last_at": instant(int(table["open_at"].max())),
            "folds": [
                {"fold": fold.number, "threshold": fold.state["thresholds"].get(rung)}
                for fold in folds
                if fold.number in path.splits
            ],
        },
    )


def _store_verdict(run: TrainingRun, folds: list[Fold], table: Table, judgement: Judgement) -> None:
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


def store_in_run(run: TrainingRun, path: Path, media_type: str = PARQUET) -> StoredFile:
    """A file that belongs to the workspace of the run."""
    return store_file(path, workspace_id=run.workspace_id, name=path.name, media_type=media_type)
