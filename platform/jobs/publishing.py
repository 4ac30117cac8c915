"""Telling the broker that a queued job can be claimed. A hint only: losing it costs seconds."""

from __future__ import annotations

import logging
import uuid
from functools import partial

from celery import current_app
from django.db import Error, transaction
from django.db.models import F
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerAway

from jobs import faults
from jobs.events import record
from jobs.models import Job
from jobs.statuses import EventKind, JobStatus

logger = logging.getLogger(__name__)
CONNECT_TIMEOUT_S = 1


def task_name(kind: str) -> str:
    return f"jobs.{kind}"


def publish_after_commit(job_id: uuid.UUID) -> None:
    transaction.on_commit(partial(_publish_committed, job_id), robust=True)


def _publish_committed(job_id: uuid.UUID) -> None:
    faults.hit("exit_after_commit")
    publish(job_id)


def publish_next(queue: str) -> None:
    """Publish the oldest claimable job of a queue, if there is one."""
    job_id = Job.objects.claimable(queue).values_list("pk", flat=True).first()
    if job_id is not None:
        publish(job_id)


def publish(job_id: uuid.UUID) -> bool:
    """Send the id of a queued job to its queue. A broker or database that is away is logged only."""
    try:
        job = Job.objects.only("kind", "queue").get(pk=job_id, status=JobStatus.QUEUED)
        _send(job)
        _mark_published(job_id)
    except Job.DoesNotExist:
        return False
    except (BrokerAway, OSError, Error) as error:
        logger.warning("publish failed: %s", error, extra={"job_id": job_id})
        return False
    return True


def _send(job: Job) -> None:
    options = {
        **current_app.conf.broker_transport_options,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": CONNECT_TIMEOUT_S,
        "max_retries": 0,
    }
    with current_app.connection_for_write(
        connect_timeout=CONNECT_TIMEOUT_S, transport_options=options
    ) as connection:
        current_app.send_task(
            task_name(job.kind),
            args=[str(job.pk)],
            task_id=str(job.pk),
            queue=job.queue,
            connection=connection,
            retry=False,
        )


@transaction.atomic
def _mark_published(job_id: uuid.UUID) -> None:
    Job.objects.filter(pk=job_id).update(published_at=Now(), publish_count=F("publish_count") + 1)
    record(job_id, EventKind.PUBLISHED)
