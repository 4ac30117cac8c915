"""The model registry: a fold of a finished run under a name, its stage, and what it predicts later."""

from __future__ import annotations

import hashlib

from django.db import transaction

from accounts.models import NAME_MAX, NOTES_MAX, User
from jobs.idempotency import replay
from jobs.services import enqueue
from jobs.statuses import JobKind, JobStatus, Queue
from markets.models import DatasetVersion
from markets.services.datasets import hold_for_use
from modeling.models import Fold, ModelPrediction, RegisteredModel, TrainingRun
from modeling.predictable import Limits
from specs.declaration import InvalidSpec

# What a fold must have kept to work on other candles.
NEEDED = ("selection", "scalers", "targets", "window_volatility", "calibrator", "thresholds")


class RegistryRefused(Exception):
    """A model that cannot be registered, or cannot predict; `code` and the text say why."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


@transaction.atomic
def register_model(
    run: TrainingRun,
    *,
    user: User,
    name: str,
    fold: int | None = None,
    stage: str = RegisteredModel.Stage.CANDIDATE,
    notes: str = "",
) -> RegisteredModel:
    """Give the weights of a fold a name; without a number it is the fold that learned last.

    Raises RegistryRefused for a run that cannot be used, InvalidSpec for a name, fold, stage or
    notes that cannot.
    """
    if run.job.status != JobStatus.SUCCEEDED:
        raise RegistryRefused(
            "run_not_finished", f"The run is {run.job.status}; expected a run that has succeeded."
        )
    name = _checked_name(run, name)
    chosen = _chosen_fold(run, fold)
    _require_loadable(chosen)
    return RegisteredModel.objects.create(
        workspace_id=run.workspace_id,
        created_by=user,
        run=run,
        fold=chosen,
        name=name,
        stage=_checked_stage(stage),
        notes=_checked_notes(notes),
    )


def change_model(
    model: RegisteredModel, *, stage: str | None = None, notes: str | None = None
) -> dict[str, str]:
    """Another stage or other notes; what changed comes back, with the stage before it.

    Raises InvalidSpec.
    """
    changed: dict[str, str] = {}
    if stage is not None and _checked_stage(stage) != model.stage:
        changed |= {"stage": stage, "stage_before": model.stage}
        model.stage = stage
    if notes is not None and _checked_notes(notes) != model.notes:
        changed["notes"] = model.notes = _checked_notes(notes)
    if changed:
        model.save(update_fields=["stage", "notes"])
    return changed


@transaction.atomic
def launch_prediction(
    model: RegisteredModel, version: DatasetVersion, *, user: User, idempotency_key: str = ""
) -> tuple[ModelPrediction, bool]:
    """Queue a registered model on a sealed version. With a known key the earlier row comes back, and
    False.

    Raises InvalidSpec for a version it cannot use, RegistryRefused for a retired model and for a
    version of which nothing can be predicted, QueueFull over a quota, JobConflict when the key belongs
    to other work.
    """
    request_sha256 = hashlib.sha256(f"predict {model.pk} {version.pk}".encode()).hexdigest()
    if job := replay(model.workspace, idempotency_key, request_sha256):
        return ModelPrediction.objects.for_list().get(job=job), False
    _require_in_use(model)
    hold_for_use([version])
    _require_fitting(model, version)
    job = enqueue(
        workspace=model.workspace,
        created_by=user,
        kind=JobKind.PREDICT,
        queue=Queue.TRAINING,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
    )
    row = ModelPrediction.objects.create(
        workspace=model.workspace, created_by=user, model=model, version=version, job=job
    )
    return row, True


def _require_in_use(model: RegisteredModel) -> None:
    if model.is_retired:
        raise RegistryRefused(
            "model_retired",
            f"The stage of {model} is retired; expected a model in use. Give it another stage to "
            "predict again. What it has predicted stays.",
        )


def _require_fitting(model: RegisteredModel, version: DatasetVersion) -> None:
    if version.workspace_id != model.workspace_id:
        raise InvalidSpec({"dataset": "not found in this workspace; choose another version"})
    trained = model.run.experiment.version.dataset
    if version.dataset.timeframe_minutes != trained.timeframe_minutes:
        raise InvalidSpec(
            {
                "dataset": f"found the timeframe {version.dataset.timeframe}; expected "
                f"{trained.timeframe}, on which the model was trained"
            }
        )
    if obstacle := Limits.of(model).obstacle(version):
        raise RegistryRefused(obstacle.code, obstacle.text)


def _checked_name(run: TrainingRun, name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX:
        text = f"found {len(name)} characters; expected 1 to {NAME_MAX}"
        raise InvalidSpec({"name": text})
    if RegisteredModel.objects.filter(workspace=run.workspace_id, name=name).exists():
        raise InvalidSpec({"name": "a model of this name is registered; choose another name"})
    return name


def _checked_stage(stage: str) -> str:
    if stage not in RegisteredModel.Stage.values:
        known = ", ".join(RegisteredModel.Stage.values)
        raise InvalidSpec({"stage": f"found {stage[:40]!r}; expected one of {known}"})
    return stage


def _checked_notes(notes: str) -> str:
    notes = notes.strip()
    if len(notes) > NOTES_MAX:
        text = f"found {len(notes)} characters; expected at most {NOTES_MAX}"
        raise InvalidSpec({"notes": text})
    return notes


def _chosen_fold(run: TrainingRun, number: int | None) -> Fold:
    folds = {fold.number: fold for fold in run.folds.exclude(finished_at=None)}
    chosen = run.newest_fold if number is None else folds.get(number)
    if chosen is None:
        known = ", ".join(str(number) for number in folds)
        raise InvalidSpec({"fold": f"found {number}; expected one of {known}"})
    return chosen


def _require_loadable(fold: Fold) -> None:
    missing = [name for name in NEEDED if name not in fold.state]
    if fold.weights_id is None or missing:
        lacks = ", ".join([*missing, *(["weights"] if fold.weights_id is None else [])])
        raise RegistryRefused(
            "not_loadable",
            f"{fold} kept no {lacks}: it was trained by an earlier release. Run it again, then "
            "register the new run.",
        )
