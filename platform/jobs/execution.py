"""From a message to an ended attempt, inside a worker's child process."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from django.db import Error

from jobs import workers
from jobs.attempts import RunningAttempt, StopReason
from jobs.claim import claim
from jobs.events import record
from jobs.exits import Exit, exit_of, new_reference
from jobs.memory import address_space_limit
from jobs.models import Job
from jobs.publishing import publish_next
from jobs.pulse import SUPERVISOR, Patience, pulsing
from jobs.statuses import FAILURES, EventKind, ExitKind, Queue

logger = logging.getLogger(__name__)

Body = Callable[[Job, RunningAttempt], None]


def execute(job_id: uuid.UUID, body: Body, *, extra_memory_gib: float | None = None) -> None:
    """Claim a job and run its body; afterwards tell the broker of the next job of the queue."""
    if workers.is_draining():
        return  # stays queued; the next worker is told by the reconciler
    lease = claim(job_id, workers.claimant())
    if lease is None:
        return
    job = Job.objects.select_related("workspace", "created_by").get(pk=job_id)
    try:
        run_body(job, RunningAttempt(lease), body, extra_memory_gib=extra_memory_gib)
    finally:
        _publish_next(job.queue)


def run_body(
    job: Job, attempt: RunningAttempt, body: Body, *, extra_memory_gib: float | None = None
) -> None:
    """Run a body beside its pulse and close the attempt by what it returned or raised."""
    patience = SUPERVISOR if job.queue == Queue.TRAINING else Patience()
    limit: AbstractContextManager[None] = nullcontext()
    if extra_memory_gib is not None:
        limit = address_space_limit(extra_memory_gib)
    with pulsing(attempt, patience):
        try:
            with limit:
                body(job, attempt)
            end = _forgotten(attempt)
        except Exception as error:  # noqa: BLE001 — every way out of a body has its exit kind
            end = exit_after(error, attempt)
        if end is not None:
            attempt.end(end)


def _forgotten(attempt: RunningAttempt) -> Exit | None:
    """The exit of a body that returned: none when it closed its attempt itself."""
    if attempt.ended.is_set() or not attempt.is_open():
        return None
    reference = new_reference()
    logger.error("job returned without a result [%s]", reference, extra=attempt.log_extra)
    return Exit(ExitKind.CRASHED, error_reference=reference)


def exit_after(error: Exception, attempt: RunningAttempt) -> Exit | None:
    """The exit for what a body raised; logs the traceback of what is our fault."""
    end = replace(exit_of(error), step=attempt.step)
    if end.kind == ExitKind.FENCED:
        record(attempt.job_id, EventKind.FENCED, attempt_id=attempt.attempt_id)
        return None
    if end.kind == ExitKind.PREEMPTED and attempt.stop_reason == StopReason.CANCEL:
        return replace(end, kind=ExitKind.CANCELLED)
    if end.kind == ExitKind.PREEMPTED and attempt.stop_reason == StopReason.TIME_LIMIT:
        return replace(end, kind=ExitKind.TIME_LIMIT)
    if end.kind not in FAILURES and end.kind != ExitKind.PREEMPTED:
        logger.error(
            "job %s [%s]", end.kind, end.error_reference, exc_info=error, extra=attempt.log_extra
        )
    return end


def _publish_next(queue: str) -> None:
    try:
        publish_next(queue)
    except Error as error:
        logger.warning("next job not published: %s", error)
