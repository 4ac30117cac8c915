"""Brings rows and processes back together, whatever was lost in between."""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Exists, OuterRef, Q, Sum
from django.db.models.functions import Now

from jobs.cleaning import clean
from jobs.events import record
from jobs.exits import Exit
from jobs.models import Job, JobAttempt, Worker
from jobs.publishing import publish
from jobs.statuses import EventKind, ExitKind, JobStatus, Queue
from jobs.transitions import end_attempt, move, release_waiting
from jobs.workers import beat_seen

logger = logging.getLogger(__name__)
PUBLISH_AGAIN_S = 30
CANCEL_LIMIT_S = 45
WORKER_KEPT = timedelta(hours=1)
CLEAN_EVERY_S = 600
MIN_PUBLISHED = 4


@dataclass
class Reconciled:
    """What one round changed."""

    lost: list[uuid.UUID] = field(default_factory=list)
    cancelled: list[uuid.UUID] = field(default_factory=list)
    published: list[uuid.UUID] = field(default_factory=list)
    deleted_files: int = 0
    deleted_workers: int = 0
    skipped: bool = False


def reconcile(*, cleaning: bool = True) -> Reconciled:
    """One round. A second reconciler at the same moment skips its round."""
    done = Reconciled()
    with transaction.atomic():
        if not _only_one():
            return Reconciled(skipped=True)
        done.lost = _close_lost_attempts()
        done.cancelled = _finish_cancels()
        done.deleted_workers = _forget_workers()
        due = _due_for_publishing()
    # After the commit: the broker may be slow, and no lock may wait for it.
    done.published = [job_id for job_id in due if publish(job_id)]
    if cleaning:
        done.deleted_files = clean()
    return done


def reconcile_forever() -> None:
    """The loop of the beat process; a database that is away is tried again at the next round."""
    pause = threading.Event()
    cleaned_at = -math.inf
    while True:
        try:
            beat_seen()
            # Cleaning looks at every stored file, so it has a slower rhythm of its own.
            is_due = time.monotonic() - cleaned_at >= CLEAN_EVERY_S
            cleaned_at = time.monotonic() if is_due else cleaned_at
            done = reconcile(cleaning=is_due)
            if done.lost or done.cancelled:
                logger.warning("reconciled: %s", done)
        except Error as error:
            logger.warning("reconciler: %s", error)
        except Exception:
            # The only reconciler of the machine must not end by one bad row.
            logger.exception("reconciler")
        finally:
            connection.close()
        pause.wait(settings.JOBS_RECONCILE_S)


def _only_one() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('outsample.jobs.reconciler'))")
        return bool(cursor.fetchone()[0])


def _close_lost_attempts() -> list[uuid.UUID]:
    stale = Q(heartbeat_at__lt=Now() - timedelta(seconds=settings.JOBS_LEASE_S))
    found = JobAttempt.objects.filter(stale, ended_at=None).values_list("pk", "job_id")
    ended = Exit(ExitKind.LOST)
    return [job_id for pk, job_id in found if end_attempt(pk, ended, stale) is not None]


def _finish_cancels() -> list[uuid.UUID]:
    attempts = JobAttempt.objects.filter(job=OuterRef("pk"), ended_at=None)
    is_open = Q(Exists(attempts))
    old = Q(cancel_requested_at__lt=Now() - timedelta(seconds=CANCEL_LIMIT_S))
    stuck = Job.objects.filter(old, ~is_open, status=JobStatus.CANCELLING)
    finished = []
    for job_id in stuck.values_list("pk", flat=True):
        if move(job_id, JobStatus.CANCELLING, JobStatus.CANCELLED, ~is_open, message="Stopped."):
            record(job_id, EventKind.ENDED, status=JobStatus.CANCELLED)
            release_waiting(job_id, JobStatus.CANCELLED)
            finished.append(job_id)
    return finished


def _due_for_publishing() -> list[uuid.UUID]:
    due = Q(published_at=None) | Q(published_at__lt=Now() - timedelta(seconds=PUBLISH_AGAIN_S))
    ids: list[uuid.UUID] = []
    for queue in Queue:
        seen = Worker.objects.seen_within(30).filter(queue=queue)
        slots = seen.aggregate(total=Sum("slots"))["total"] or 0
        oldest = Job.objects.claimable(queue)[: max(MIN_PUBLISHED, 2 * slots)]
        ids += (
            Job.objects.filter(due, pk__in=[job.pk for job in oldest])
            .values_list("pk", flat=True)
            .order_by("created_at", "pk")
        )
    return ids


def _forget_workers() -> int:
    return Worker.objects.filter(seen_at__lt=Now() - WORKER_KEPT).delete()[0]
