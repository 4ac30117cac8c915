"""Winning a job: many may be told of it, one gets it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce, Now

from jobs.events import record
from jobs.models import Job, JobAttempt, JobEvent
from jobs.statuses import TRAINER_KINDS, EventKind, JobStatus
from jobs.transitions import move

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claimant:
    """The process that claims: its worker's identity, host and pid."""

    worker: uuid.UUID
    host: str
    pid: int


@dataclass(frozen=True)
class Lease:
    """The right to write for a job; it lasts while the attempt is open."""

    job_id: uuid.UUID
    attempt_id: int
    token: uuid.UUID
    number: int


def lock_workspace(workspace_id: int) -> None:
    """Serialise claims and quota checks of one workspace until the transaction ends."""
    lock("outsample.jobs.workspace", str(workspace_id))


def lock(space: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", [space, name])


@transaction.atomic
def claim(job_id: uuid.UUID, claimant: Claimant) -> Lease | None:
    """Take a queued job for this process. None when it is not (or no longer) to be had."""
    job = Job.objects.filter(pk=job_id).only("kind", "workspace_id").first()
    if job is None:
        logger.warning("unknown job", extra={"job_id": job_id})
        return None
    lock_workspace(job.workspace_id)
    last = JobAttempt.objects.filter(job=job).order_by("-number").first()
    if not _win(job):
        _note_refusal(job, last, claimant)
        return None
    attempt = JobAttempt.objects.create(
        job=job,
        number=last.number + 1 if last else 1,
        worker=claimant.worker,
        host=claimant.host,
        pid=claimant.pid,
    )
    record(job_id, EventKind.CLAIMED, attempt_id=attempt.pk, host=claimant.host, pid=claimant.pid)
    return Lease(job_id, attempt.pk, attempt.lease_token, attempt.number)


def _note_refusal(job: Job, last: JobAttempt | None, claimant: Claimant) -> None:
    """One event for each attempt, however often its message is delivered again."""
    told = JobEvent.objects.filter(job=job, kind=EventKind.NOT_CLAIMABLE, attempt=last)
    if not told.exists():
        attempt_id = last.pk if last else None
        record(job.pk, EventKind.NOT_CLAIMABLE, attempt_id=attempt_id, worker=str(claimant.worker))


def _win(job: Job) -> bool:
    if job.kind in TRAINER_KINDS and _trainings_running(job) >= settings.JOBS_RUNNING_TRAININGS:
        return False
    ended_well = Job.objects.filter(pk=OuterRef("after_id"), status=JobStatus.SUCCEEDED)
    return move(
        job.pk,
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        Q(available_at__lte=Now()),
        Q(after_id=None) | Q(Exists(ended_well)),
        started_at=Coalesce("started_at", Now()),
        message="",
        code="",
        error_reference="",
    )


def _trainings_running(job: Job) -> int:
    return Job.objects.for_trainers().active().filter(workspace=job.workspace_id).count()
