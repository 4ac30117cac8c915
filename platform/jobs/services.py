"""What pages, API and other apps ask of background work."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import User, Workspace
from artifacts.store import QUOTA_STORED, QuotaExceeded, require_room
from jobs import idempotency
from jobs.claim import lock_workspace
from jobs.errors import JobConflict, QueueFull
from jobs.events import record
from jobs.models import Job, JobAttempt
from jobs.publishing import publish_after_commit
from jobs.statuses import LAUNCHES, TERMINAL, TRAINER_KINDS, EventKind, JobKind, JobStatus
from jobs.transitions import AFTER_NOT_SUCCEEDED, cancel_queued, move, release_waiting

__all__ = ["JobConflict", "QueueFull", "enqueue", "request_cancel", "resume_job"]

RESUMABLE = frozenset({JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.ERRORED})
RETRY_AFTER_S = 60


@transaction.atomic
def enqueue(
    *,
    workspace: Workspace,
    created_by: User | None,
    kind: str,
    queue: str,
    after: Job | None = None,
    idempotency_key: str = "",
    request_sha256: str = "",
    part_of_launch: bool = False,
) -> Job:
    """Make a queued job in the caller's transaction; the broker hears of it after the commit.

    Jobs after the first of one launch (seeds, sweeps, ablations) say `part_of_launch`, so that the
    hourly quota counts the launch once. Raises QueueFull over a quota, and JobConflict when the
    idempotency key is in use: ask `idempotency.replay` first.
    """
    is_launch = kind in LAUNCHES and after is None and not part_of_launch
    lock_workspace(workspace.pk)
    _check_key(workspace, idempotency_key)
    _check_quotas(workspace, kind, is_launch=is_launch)
    job = Job.objects.create(
        workspace=workspace,
        created_by=created_by,
        kind=JobKind(kind),
        queue=queue,
        after=after,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
        is_launch=is_launch,
    )
    record(job.pk, EventKind.QUEUED)
    _publish_or_wait(job, after)
    return job


def _publish_or_wait(job: Job, after: Job | None) -> None:
    if after is None:
        publish_after_commit(job.pk)
        return
    # Locked, so that it cannot end between this look and our commit.
    status = Job.objects.select_for_update(no_key=True).get(pk=after.pk).status
    if status in TERMINAL:
        release_waiting(after.pk, JobStatus(status))
        job.refresh_from_db()


def _check_key(workspace: Workspace, key: str) -> None:
    if not key:
        return
    idempotency.check_key(key)
    earlier = idempotency.recent(workspace, key)
    if earlier is not None:
        raise JobConflict("idempotency_conflict", job=earlier)


def _check_quotas(workspace: Workspace, kind: str, *, is_launch: bool) -> None:
    if kind in TRAINER_KINDS:
        limit = settings.JOBS_QUEUED_TRAININGS
        queued = queued_for_trainers(workspace)
        if queued >= limit:
            raise QueueFull(
                "quota_queued",
                f"{queued} trainings and predictions are queued, the limit is {limit}."
                " Wait for one to start or cancel one.",
                RETRY_AFTER_S,
            )
    if not is_launch:
        return
    try:
        require_room(workspace.pk)
    except QuotaExceeded as error:
        # Hours of work whose result could not be stored.
        raise QueueFull(QUOTA_STORED, str(error), RETRY_AFTER_S) from None
    limit = settings.JOBS_LAUNCHES_PER_HOUR
    hour = Job.objects.filter(
        workspace=workspace, is_launch=True, created_at__gt=Now() - timedelta(hours=1)
    )
    launched = hour.count()
    if launched >= limit:
        oldest = hour.order_by("created_at").values_list(Now() - F("created_at"), flat=True).first()
        age_s = oldest.total_seconds() if oldest else 0.0
        raise QueueFull(
            "quota_launches",
            f"{launched} launches in the last hour, the limit is {limit}. Try again later.",
            max(1, round(3600 - age_s)),
        )


def queued_for_trainers(workspace: Workspace) -> int:
    """How many trainings and predictions of a workspace wait for a trainer."""
    return Job.objects.for_trainers().filter(workspace=workspace, status=JobStatus.QUEUED).count()


def request_cancel(job: Job, *, user: User) -> Job:
    """Ask a job to stop and return its fresh row; asking again changes nothing.

    A queued job is cancelled at once. JobConflict("job_finished") when it has already ended.
    """
    for _ in range(4):  # the state may change under us once or twice; it only moves forward
        job = Job.objects.get(pk=job.pk)
        if job.status in TERMINAL:
            raise JobConflict("job_finished", job=job)
        if job.status == JobStatus.CANCELLING or _cancel(job, user):
            break
    return Job.objects.get(pk=job.pk)


@transaction.atomic
def _cancel(job: Job, user: User) -> bool:
    name = user.get_username()
    if job.status == JobStatus.QUEUED:
        moved = cancel_queued(job.pk, f"Stopped by {name} before it started.")
    else:
        moved = move(job.pk, JobStatus.RUNNING, JobStatus.CANCELLING, cancel_requested_at=Now())
    if moved:
        record(job.pk, EventKind.CANCEL_ASKED, user=name)
    return moved


@transaction.atomic
def resume_job(job: Job, user: User, *, has_checkpoint: bool | None = None) -> Job:
    """Make a new job that goes on from the last checkpoint of an ended one.

    The newest job of the chain is the one that is resumed. Its subject row points at the new job
    from now on, and jobs that were cancelled because it did not succeed wait again. `has_checkpoint`
    is what the caller verified; None asks the attempts of the chain. Raises JobConflict with
    `job_active`, `job_finished` or `no_checkpoint`.
    """
    chain = _chain(job)
    last = Job.objects.select_for_update(no_key=True, of=("self",)).get(pk=chain[-1].pk)
    if hasattr(last, "resumed_by"):  # another resume was faster than our lock
        raise JobConflict("job_active", job=last.resumed_by)
    if last.status not in TERMINAL:
        raise JobConflict("job_active", job=last)
    if last.status not in RESUMABLE:
        raise JobConflict("job_finished", job=last)
    if has_checkpoint is None:
        has_checkpoint = _has_checkpoint(chain)
    if not has_checkpoint:
        raise JobConflict("no_checkpoint", job=last)
    lock_workspace(last.workspace_id)
    _check_quotas(last.workspace, last.kind, is_launch=False)
    resumed = _succeed_to(last, user)
    publish_after_commit(resumed.pk)
    return resumed


def _succeed_to(ended: Job, user: User, after: Job | None = None) -> Job:
    """A new job in the place of an ended one, and one for each that was cancelled because of it."""
    resumed = Job.objects.create(
        workspace=ended.workspace,
        created_by=user,
        kind=ended.kind,
        queue=ended.queue,
        after=after,
        resumed_from=ended,
    )
    record(resumed.pk, EventKind.QUEUED, resumed_from=str(ended.pk))
    _hand_over_subject(ended, resumed)
    dropped = Job.objects.filter(
        after=ended, status=JobStatus.CANCELLED, code=AFTER_NOT_SUCCEEDED, resumed_by=None
    )
    for waiting in dropped.order_by("created_at", "pk"):
        _succeed_to(waiting, user, after=resumed)
    return resumed


def _hand_over_subject(ended: Job, resumed: Job) -> None:
    """Let the row whose work this is point at the new job; jobs know no apps, so by relation."""
    for relation in Job._meta.related_objects:
        if relation.one_to_one and relation.related_model is not Job:
            rows = relation.related_model._base_manager
            name = relation.field.name
            rows.filter(**{name: ended}).update(**{name: resumed})


def _chain(job: Job) -> list[Job]:
    first = job
    while first.resumed_from is not None:
        first = first.resumed_from
    return [first, *first.resumes()]


def _has_checkpoint(chain: list[Job]) -> bool:
    rows = JobAttempt.objects.filter(job__in=chain, checkpoint_step__isnull=False)
    return rows.exists()
