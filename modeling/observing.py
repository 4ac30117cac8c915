"""What a fold in training leaves behind: metric points, progress, log lines and checkpoints."""

from __future__ import annotations

import errno
import math
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from jobs import faults
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from jobs.exits import failed
from jobs.memory import peak_mib
from jobs.spool import Row
from jobs.statuses import EventKind, ExitKind
from modeling.code_versions import CHANGED, changed_notice
from modeling.models import Checkpoint, MetricPoint, TrainingRun
from modeling.training import checkpoint as checkpoints
from modeling.training.errors import CheckpointRejected
from modeling.training.observer import EpochMetrics, StepMetrics
from modeling.training.pace import Pace

POINT_EVERY_STEPS = 10
# Shares of a run's progress between which its folds are trained.
TRAINING_FROM, TRAINING_TO = 0.03, 0.90
NO_SPACE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


@dataclass(frozen=True)
class Stage:
    """Where one fold stands in its run: `steps_before` of `steps_in_all` are behind it at most.

    `pace` is that of the attempt: its folds share it.
    """

    fold: int
    folds: int
    steps_before: int
    steps_in_all: int
    pace: Pace = field(default_factory=Pace, compare=False)

    @property
    def title(self) -> str:
        return f"Fold {self.fold} of {self.folds}"

    def progress_at(self, step: int) -> float:
        """How far the run is after a step of this fold, from 0 to 1."""
        made = (self.steps_before + step) / self.steps_in_all
        return TRAINING_FROM + (TRAINING_TO - TRAINING_FROM) * made


class RunObserver:
    """Follows the training of one fold for a run. Steps in rows count from 1 within the fold.

    `last_saved` is the step of the newest checkpoint of this fold; None while there is none.
    """

    def __init__(
        self, run: TrainingRun, attempt: RunningAttempt, folder: Path, stage: Stage
    ) -> None:
        self.run, self.attempt, self.folder, self.stage = run, attempt, folder, stage
        self.pace = stage.pace
        self.last_saved: int | None = None
        self.is_first = True

    def in_run(self, step: int) -> int:
        """The step of the run, counted over all folds, that is this step of the fold."""
        return self.stage.steps_before + step

    def before_step(self, step: int) -> float:
        if self.is_first:
            self.is_first = False
            self.attempt.log(f"{self.stage.title}: first step of this attempt is step {step}.")
        faults.at_step(self.in_run(step))
        if faults.memory_is_short(self.in_run(step)):
            raise torch.OutOfMemoryError("Tried to allocate 1.00 GiB (planted by a test)")
        return math.nan if faults.loss_is_nan(self.in_run(step)) else 1.0

    def on_step(self, metrics: StepMetrics) -> None:
        place = self.in_run(metrics.step)
        self.pace.note(metrics.samples, metrics.samples_per_s)
        self._tell_pace(to_come=self.stage.steps_in_all - place)
        self.attempt.progress(
            self.stage.progress_at(metrics.step),
            f"{self.stage.title}, epoch {metrics.epoch}",
            step=place,
        )
        if metrics.step % POINT_EVERY_STEPS and metrics.step != 1:
            return
        self._points(
            metrics.step,
            {
                "loss": metrics.loss,
                **{f"loss/{head}": value for head, value in metrics.losses.items()},
                **{f"balance/{head}": value for head, value in metrics.balance.items()},
                "learning_rate": metrics.learning_rate,
                "gradient_norm": metrics.gradient_norm,
                "mean_dropout": metrics.mean_dropout,
                "samples_per_s": self.pace.samples_per_s,
            },
        )

    def on_last_step(self, of_fold: int) -> None:
        """The fold makes no more of its `of_fold` steps at most, however early it was stopped."""
        self._tell_pace(to_come=self.stage.steps_in_all - self.in_run(of_fold))

    def on_epoch(self, metrics: EpochMetrics) -> None:
        self._points(
            metrics.step,
            {
                "epoch": float(metrics.epoch),
                "validation_ratio": metrics.ratio,
                **{f"train/{head}": value for head, value in metrics.losses.items()},
                **{
                    f"validation/{head}": value for head, value in metrics.validation_losses.items()
                },
                **{f"ratio/{head}": value for head, value in metrics.ratios.items()},
            },
        )
        best = ", the best so far" if metrics.is_best else ""
        self.attempt.log(
            f"{self.stage.title}, epoch {metrics.epoch}: "
            f"validation loss is {metrics.ratio:.4f} of the constant's{best}."
        )

    def on_non_finite(self, step: int) -> None:
        self.attempt.log(f"{self.stage.title}: step {step} was not finite and left out.", "warning")

    def save(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Files first, then the row; the two newest are kept. Raises JobFailed on a full disk."""
        faults.hit("sleep_in_write")
        try:
            saved = checkpoints.save_checkpoint(self.folder, checkpoint)
        except OSError as error:
            if error.errno not in NO_SPACE or self.last_saved is None:
                raise
            checkpoints.prune_checkpoints(self.folder)  # the arrays of the one that is not whole
            raise self._disk_full(checkpoint, self.last_saved) from error
        # A run that goes on from here never makes the points up to here again.
        self.attempt.flush_first()
        self.attempt.write(lambda: self._record(saved))
        checkpoints.prune_checkpoints(self.folder)
        self.last_saved = checkpoint.step

    def should_stop(self) -> bool:
        return self.attempt.stop_requested

    def _record(self, saved: checkpoints.SavedCheckpoint) -> None:
        rows = Checkpoint.objects.filter(run=self.run)
        rows.update_or_create(
            run=self.run,
            fold=saved.fold,
            step=saved.step,
            defaults={"name": saved.path.name, "sha256": saved.sha256, "size": saved.bytes},
        )
        kept = rows.order_by("-fold", "-step").values_list("pk", flat=True)[: checkpoints.KEPT]
        rows.exclude(pk__in=list(kept)).delete()
        self.attempt.record_checkpoint(self.in_run(saved.step), fold=saved.fold)

    def _disk_full(self, checkpoint: checkpoints.Checkpoint, last_saved: int) -> JobFailed:
        needed = sum(array.nbytes for array in checkpoint.arrays.values())
        return failed(
            ExitKind.DISK_FULL,
            free=_mib(shutil.disk_usage(self.folder).free),
            needed=_mib(needed),
            checkpoint_step=self.in_run(last_saved),
        )

    def _tell_pace(self, *, to_come: int) -> None:
        """`to_come` are the steps of all folds that are not made yet, when none stops early."""
        self.attempt.tell(
            left_s=self.pace.left_s(to_come),
            samples_per_s=self.pace.samples_per_s,
            memory_mib=peak_mib(resource.getrusage(resource.RUSAGE_SELF)),
        )

    def _points(self, step: int, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            self.attempt.defer(
                write_points,
                {
                    "run_id": self.run.pk,
                    "fold": self.stage.fold,
                    "name": name,
                    "step": step,
                    "value": value if value is not None and math.isfinite(value) else None,
                },
            )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def write_points(rows: Sequence[Row]) -> None:
    """Metric points by upsert: a step that is made again overwrites with equal values."""
    latest = {(row["run_id"], row["fold"], row["name"], row["step"]): row for row in rows}
    MetricPoint.objects.bulk_create(
        [MetricPoint(**row) for row in latest.values()],
        update_conflicts=True,
        unique_fields=["run", "fold", "name", "step"],
        update_fields=["value"],
    )


def newest_checkpoint(
    run: TrainingRun,
    attempt: RunningAttempt,
    folder: Path,
    *,
    fold: int,
    provenance: checkpoints.Provenance,
) -> checkpoints.Checkpoint | None:
    """The newest checkpoint of a fold that is whole and of this spec, data and seed.

    Rejected ones are told and forgotten.
    """
    rows = attempt.write(
        lambda: list(Checkpoint.objects.filter(run=run, fold=fold).order_by("-step"))
    )
    had_any = bool(rows)
    for row in rows:
        try:
            found = checkpoints.load_checkpoint(folder / row.name, sha256=row.sha256)
            if not provenance.fits(found.state["provenance"]):
                raise CheckpointRejected("it is of another spec, other data or another seed")
            before, running = found.state["provenance"]["code_version"], provenance.code_version
            tell_changed_code(run, attempt, before=before, running=running, left="a checkpoint")
            return found
        except CheckpointRejected as error:
            reason = str(error)
            attempt.log(f"Checkpoint of step {row.step} is not used: {reason}.", "warning")
            attempt.write(partial(_reject, attempt, row, reason))
    if had_any:
        attempt.log("No usable checkpoint is left; the fold starts from its first step.", "warning")
    return None


def _reject(attempt: RunningAttempt, row: Checkpoint, reason: str) -> None:
    attempt.event(EventKind.CHECKPOINT_REJECTED, step=row.step, reason=reason)
    Checkpoint.objects.filter(pk=row.pk).delete()


def tell_changed_code(
    run: TrainingRun, attempt: RunningAttempt, *, before: str, running: str, left: str
) -> None:
    """Note, once for each version, that a run goes on with what other code has left."""
    known = [notice.get("before") for notice in run.notices if notice["code"] == CHANGED]
    if before == running or before in known:
        return
    text = f"Goes on with code {running} from {left} of code {before}."
    attempt.log(text, "warning")
    run.notices = [*run.notices, changed_notice(text, before)]
    attempt.write(lambda: run.save(update_fields=["notices"]))
