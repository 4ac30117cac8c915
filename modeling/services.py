from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User, Workspace
from jobs.errors import JobConflict
from jobs.idempotency import remember, replay
from jobs.models import Job
from jobs.services import RESUMABLE, enqueue, resume_job
from jobs.statuses import JobKind, Queue
from markets.models import DatasetVersion
from markets.reading import ns_of
from markets.services.datasets import hold_for_use, refuse_findings
from modeling.capacity import scarcest
from modeling.causality import state_of
from modeling.cost import memory_mib, run_time, storage_mib
from modeling.models import Experiment, TrainingRun, instrument_name
from modeling.network.size import size_of
from modeling.next_action import CAUSALITY
from modeling.specs import ModelSpec
from modeling.windows.errors import ContextTooShort, NotEnoughHistory
from modeling.windows.planning import Plan
from modeling.windows.pool_planning import plan_pool
from modeling.windows.samples import coarse_bars
from specs.declaration import InvalidSpec
from specs.writing import grouped

MOST_INSTRUMENTS = 10
NOT_CAUSAL = (
    "The causality certificate of this run has failed, so nothing that it has learned is gone on with. "
    "Mend the cause, then launch a new run."
)


@transaction.atomic
def create_experiment(
    *,
    workspace: Workspace,
    user: User | None,
    name: str,
    versions: list[DatasetVersion],
    spec: ModelSpec,
    backtest_spec: dict[str, Any],
    spec_sha256: str,
    preset: str = "",
    notes: str = "",
) -> Experiment:
    """Check the spec against quotas and data, seal the hold-out, store the experiment.

    Raises InvalidSpec with one text per offending field; nothing is stored then.
    """
    if any(version.workspace_id != workspace.pk for version in versions):
        raise InvalidSpec({"datasets": "not found in this workspace; choose another version"})
    hold_for_use(versions)
    plan = check_spec(spec, versions)
    versions = sorted(versions, key=instrument_name)
    experiment = Experiment.objects.create(
        workspace=workspace,
        created_by=user,
        name=name,
        preset=preset,
        model_spec=spec,
        backtest_spec=backtest_spec,
        spec_sha256=with_data(spec_sha256, versions),
        holdout_at=datetime.fromtimestamp(plan.holdout_at / 1e9, timezone.utc),
        holdout_until=max(_last_close(spec, version) for version in versions),
        notes=notes,
    )
    experiment.versions.set(versions)
    return experiment


def record_parent(experiment: Experiment, source: Experiment) -> None:
    """Remember what an experiment was cloned from; another workspace would see what it may not."""
    if source.workspace_id != experiment.workspace_id or source.pk == experiment.pk:
        return
    experiment.parent = source
    experiment.save(update_fields=["parent"])


def archive_experiment(experiment: Experiment) -> bool:
    """Take it out of the list; its runs and trials stay. False when it is archived already."""
    rows = Experiment.objects.filter(pk=experiment.pk, archived_at=None)
    return bool(rows.update(archived_at=Now()))


def unarchive_experiment(experiment: Experiment) -> bool:
    """Bring it back into the list. False when it is there."""
    rows = Experiment.objects.filter(pk=experiment.pk, archived_at__isnull=False)
    return bool(rows.update(archived_at=None))


def check_spec(spec: ModelSpec, versions: list[DatasetVersion]) -> Plan:
    """The plan of an experiment. Raises InvalidSpec when quotas or the data forbid it."""
    _refuse_unpoolable(versions)
    refuse_findings(versions)
    _check_quotas(spec, versions[0].dataset.timeframe_minutes)
    return plan_for(spec, versions)


def _refuse_unpoolable(versions: list[DatasetVersion]) -> None:
    """Raise InvalidSpec unless these are one version each of a few instruments, of one timeframe."""
    refuse_many(len(versions))
    names = [instrument_name(version) for version in versions]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise InvalidSpec({"datasets": f"found {twice} twice; expected each instrument once"})
    timeframes = list(dict.fromkeys(version.dataset.timeframe for version in versions))
    if len(timeframes) > 1:
        found = " and ".join(timeframes)
        raise InvalidSpec(
            {"datasets": f"found the timeframes {found}; expected the same for all datasets"}
        )


def refuse_many(datasets: int) -> None:
    """Raise InvalidSpec unless so many datasets can be learned from together."""
    if not 1 <= datasets <= MOST_INSTRUMENTS:
        expected = f"expected 1 to {MOST_INSTRUMENTS}"
        raise InvalidSpec({"datasets": f"found {datasets} datasets; {expected}"})


def plan_for(spec: ModelSpec, versions: list[DatasetVersion]) -> Plan:
    """Hold-out and folds on these versions. Raises InvalidSpec when there is too little history."""
    minutes = versions[0].dataset.timeframe_minutes
    spans = {}
    for version in versions:
        first, last = spec.data.within(version.first_at, version.last_at + version.bar)
        spans[instrument_name(version)] = (ns_of(first), ns_of(last))
    try:
        coarse_bars(spec.windows.context_bars, max(spec.features.scales_for(minutes)))
        return plan_pool(spec, spans, timeframe_minutes=minutes)
    except ContextTooShort as error:
        raise InvalidSpec({"windows.context_bars": str(error)}) from error
    except NotEnoughHistory as error:
        raise InvalidSpec({"datasets": str(error)}) from error


def estimate(spec: ModelSpec, versions: list[DatasetVersion]) -> dict[str, Any]:
    """What a run will cost: parameters, MiB, windows and a range of seconds; storage is that of the runs
    of all seeds, effective samples those of the fold that fits on the fewest. Nothing is built.
    """
    plan = check_spec(spec, versions)
    minutes = versions[0].dataset.timeframe_minutes
    size = size_of(spec, minutes)
    splits = [fold.to_json() for fold in plan.folds]
    capacity = scarcest(spec, splits, minutes)
    time = run_time(spec, plan, size, instruments=len(versions))
    rows = sum(version.rows for version in versions)
    return {
        "parameters": size["parameters"],
        "effective_samples": round(capacity.effective_samples) if capacity else None,
        "samples_per_parameter": capacity.samples_per_parameter if capacity else None,
        "capacity_warning": capacity.warning if capacity else "",
        "weight_mib": size["weight_mib"],
        "memory_mib": round(memory_mib(spec, rows, size), 1),
        "storage_mib": round(storage_mib(spec, plan, size) * len(spec.training.seeds), 1),
        "windows": plan.windows,
        "folds": len(plan.folds),
        "runs": len(spec.training.seeds),
        "seconds_low": round(time.low),
        "seconds_high": round(time.high),
        "epoch_seconds": round(time.epoch, 1),
        "epochs_least": time.least,
        "epochs_most": time.most,
        "holdout_at": datetime.fromtimestamp(plan.holdout_at / 1e9, timezone.utc),
        "splits": splits,
    }


@transaction.atomic
def launch_run(
    experiment: Experiment,
    *,
    user: User | None,
    seed: int,
    idempotency_key: str = "",
    part_of_launch: bool = False,
) -> tuple[TrainingRun, bool]:
    """Queue one seed. With a known key the earlier run comes back, and False."""
    request = f"run {experiment.pk} {seed}"
    request_sha256 = hashlib.sha256(request.encode()).hexdigest()
    job = replay(experiment.workspace, idempotency_key, request_sha256)
    if job is not None:
        return TrainingRun.objects.get(job=job), False
    job = enqueue(
        workspace=experiment.workspace,
        created_by=user,
        kind=JobKind.TRAINING,
        queue=Queue.TRAINING,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
        part_of_launch=part_of_launch,
    )
    run = TrainingRun.objects.create(
        workspace=experiment.workspace, experiment=experiment, seed=seed, job=job
    )
    return run, True


@transaction.atomic
def resume_run(run: TrainingRun, *, user: User, idempotency_key: str = "") -> Job:
    """A new job that goes on from the last checkpoint; with a known key the one it made before.

    Raises JobConflict with the reason.
    """
    request_sha256 = hashlib.sha256(f"resume run {run.pk}".encode()).hexdigest()
    if job := replay(run.workspace, idempotency_key, request_sha256):
        return job
    can_go_on = run.job.status in RESUMABLE and _can_go_on(run)
    resumed = resume_job(run.job, user, has_checkpoint=can_go_on)
    remember(resumed, idempotency_key, request_sha256)
    return resumed


def can_resume(run: TrainingRun) -> bool:
    """Whether `resume_run` has something to go on from."""
    try:
        return run.job.status in RESUMABLE and _can_go_on(run)
    except JobConflict:
        return False


def _can_go_on(run: TrainingRun) -> bool:
    """Whether a fold is finished or a checkpoint is whole and of this run's spec, data and seed.

    Raises JobConflict when there are whole ones, but of another format or another spec, and when the
    causality certificate has failed.
    """
    from modeling.training.checkpoint import ARRAYS_SUFFIX, Provenance, read_state
    from modeling.training.errors import CheckpointRejected, OtherFormat

    if state_of(run.causality) == "failed":
        raise JobConflict(CAUSALITY, NOT_CAUSAL, job=run.job)
    if run.folds.exclude(finished_at=None).exists():
        return True
    own = Provenance(run.experiment.spec_sha256, run.data_sha256, run.seed)
    is_incompatible = False
    for row in run.checkpoints.all():
        path = run.checkpoint_folder / row.name
        try:
            body = read_state(path, sha256=row.sha256)
        except OtherFormat:
            is_incompatible = True
            continue
        except CheckpointRejected:
            continue
        if not own.fits(body["state"]["provenance"]):
            is_incompatible = True
        elif path.with_suffix(ARRAYS_SUFFIX).is_file():
            return True
    if is_incompatible:
        raise JobConflict("checkpoint_incompatible", job=run.job)
    return False


def _check_quotas(spec: ModelSpec, timeframe_minutes: int) -> None:
    size = size_of(spec, timeframe_minutes)
    refused: dict[str, str] = {}
    if size["parameters"] > settings.QUOTA_PARAMETERS:
        refused["network.d_model"] = (
            f"the network would have {grouped(size['parameters'])} parameters; "
            f"expected at most {grouped(settings.QUOTA_PARAMETERS)}"
        )
    if spec.training.epochs > settings.QUOTA_EPOCHS:
        refused["training.epochs"] = f"expected at most {settings.QUOTA_EPOCHS} in this workspace"
    if spec.training.devices > settings.TRAINING_DEVICES:
        refused["training.devices"] = (
            f"found {spec.training.devices}; expected at most {settings.TRAINING_DEVICES}, "
            "the devices that one run may take here"
        )
    if spec.windows.context_bars > settings.QUOTA_CONTEXT_BARS:
        refused["windows.context_bars"] = (
            f"expected at most {settings.QUOTA_CONTEXT_BARS} in this workspace"
        )
    if refused:
        raise InvalidSpec(refused)


def with_data(spec_sha256: str, versions: list[DatasetVersion]) -> str:
    """Equal specs on equal candles are one trial; on other candles they are another. Versions come in
    order of their instruments.
    """
    parts = [spec_sha256, *(version.sha256 for version in versions)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def sealed_versions(experiment: Experiment) -> list[DatasetVersion]:
    """Those of its versions that have candles behind the seal, in order of their instruments."""
    spec, seal = experiment.model_spec, experiment.holdout_at
    return [version for version in experiment.pool if _last_close(spec, version) > seal]


def _last_close(spec: ModelSpec, version: DatasetVersion) -> datetime:
    """Where the bars end that the spec uses, and with them the sealed span."""
    return spec.data.within(version.first_at, version.last_at + version.bar)[1]
