"""Every change of a job's state: one conditional UPDATE and one event in the same transaction.

Locks are always taken in the order attempt, then job, so two transitions never wait for each other.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from jobs.errors import ForbiddenTransition
from jobs.events import record
from jobs.exits import Exit, JobFacts, Outcome, outcome_of
from jobs.models import Job, JobAttempt, JobEvent
from jobs.publishing import publish_after_commit
from jobs.statuses import ALLOWED, TERMINAL, EventKind, ExitKind, JobStatus

# The code of a job that was cancelled because the one it waited for did not succeed.
AFTER_NOT_SUCCEEDED = "after_not_succeeded"


def move(
    job_id: uuid.UUID,
    source: JobStatus,
    target: JobStatus,
    *conditions: Q,
    **values: Any,  # Any: column values of any type
) -> bool:
    """Change the state if it still is `source`. False means another one was faster: stop."""
    if (source, target) not in ALLOWED:
        raise ForbiddenTransition(f"{source} to {target} is not a transition")
    if target in TERMINAL:
        values["ended_at"] = Now()
    rows = Job.objects.filter(*conditions, pk=job_id, status=source)
    return rows.update(status=target, **values) == 1


@transaction.atomic
def end_attempt(attempt_id: int, end: Exit, *conditions: Q) -> JobStatus | None:
    """Close an open attempt and settle its job. None when the attempt was not ours to close.

    `conditions` guard the attempt: its holder names the lease token, the reconciler the age of the
    heartbeat.
    """
    rows = JobAttempt.objects.select_for_update().filter(*conditions, pk=attempt_id, ended_at=None)
    attempt = rows.first()
    if attempt is None:
        return None
    seconds = _seconds_silent(attempt, end)
    JobAttempt.objects.filter(pk=attempt_id).update(
        ended_at=Now(),
        exit_kind=end.kind,
        exit_code=end.exit_code,
        signal=end.signal,
        peak_memory_mib=end.peak_memory_mib,
    )
    return _settle(attempt, end, seconds)


def _settle(attempt: JobAttempt, end: Exit, seconds: int) -> JobStatus:
    for _ in range(3):  # a cancel may slip in once between reading and moving
        job = Job.objects.get(pk=attempt.job_id)
        outcome = outcome_of(end, _facts(job, attempt, seconds))
        if move(job.pk, JobStatus(job.status), outcome.status, **_values(outcome)):
            _tell(job, attempt, end, outcome)
            return outcome.status
    raise ForbiddenTransition(f"job {attempt.job_id} changed three times under its own attempt")


def _facts(job: Job, attempt: JobAttempt, seconds: int) -> JobFacts:
    asked = JobEvent.objects.filter(job=job, kind=EventKind.CANCEL_ASKED).order_by("pk").first()
    best = JobAttempt.objects.filter(job=job).aggregate(step=models.Max("checkpoint_step"))
    return JobFacts(
        status=JobStatus(job.status),
        counted_tries=job.counted_tries,
        max_tries=settings.JOBS_MAX_TRIES,
        checkpoint_step=best["step"],
        cancelled_by=str(asked.data.get("user", "")) if asked else "",
        seconds=seconds,
        duration=_duration(job),
    )


def _values(outcome: Outcome) -> dict[str, Any]:
    values: dict[str, Any] = {
        "message": outcome.message,
        "code": outcome.code,
        "error_reference": outcome.error_reference,
        "counted_tries": outcome.counted_tries,
    }
    if outcome.status == JobStatus.QUEUED:
        values |= {
            "available_at": Now() + timedelta(seconds=outcome.delay_s),
            "published_at": None,
        }
    if outcome.status == JobStatus.SUCCEEDED:
        values["progress"] = 1.0
    return values


def _tell(job: Job, attempt: JobAttempt, end: Exit, outcome: Outcome) -> None:
    if outcome.status == JobStatus.QUEUED:
        if end.kind == ExitKind.LOST:
            record(job.pk, EventKind.LOST, attempt_id=attempt.pk)
        if end.kind == ExitKind.PREEMPTED:
            record(job.pk, EventKind.DRAINED, attempt_id=attempt.pk)
        record(
            job.pk,
            EventKind.REQUEUED,
            attempt_id=attempt.pk,
            exit_kind=end.kind,
            delay_s=outcome.delay_s,
        )
        if not outcome.delay_s:
            publish_after_commit(job.pk)
        return
    record(
        job.pk,
        EventKind.ENDED,
        attempt_id=attempt.pk,
        status=outcome.status,
        exit_kind=end.kind,
        code=outcome.code,
    )
    release_waiting(job.pk, outcome.status)


def release_waiting(job_id: uuid.UUID, status: JobStatus) -> None:
    """Publish the jobs that waited for this one when it succeeded; cancel them otherwise."""
    waiting = Job.objects.filter(after=job_id, status=JobStatus.QUEUED).values_list("pk", flat=True)
    for waiting_id in waiting:
        if status == JobStatus.SUCCEEDED:
            publish_after_commit(waiting_id)
        else:
            message = f"The job it waited for ended as {status.label.lower()}."
            cancel_queued(waiting_id, message, code=AFTER_NOT_SUCCEEDED)


def cancel_queued(job_id: uuid.UUID, message: str, *, code: str = "") -> bool:
    """Cancel a job that no worker has claimed, and those that wait for it."""
    with transaction.atomic():
        moved = move(
            job_id,
            JobStatus.QUEUED,
            JobStatus.CANCELLED,
            message=message,
            code=code,
            cancel_requested_at=Coalesce("cancel_requested_at", Now()),
        )
        if moved:
            record(job_id, EventKind.ENDED, status=JobStatus.CANCELLED)
            release_waiting(job_id, JobStatus.CANCELLED)
    return moved


def _seconds_silent(attempt: JobAttempt, end: Exit) -> int:
    since = F("progress_at") if end.kind == ExitKind.STALLED else F("heartbeat_at")
    row = JobAttempt.objects.filter(pk=attempt.pk).values_list(
        Now() - Coalesce(since, "started_at")
    )
    return round(row.get()[0].total_seconds())


def _duration(job: Job) -> str:
    row = Job.objects.filter(pk=job.pk).values_list(Now() - Coalesce("started_at", "created_at"))
    seconds = round(row.get()[0].total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
