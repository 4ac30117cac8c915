from __future__ import annotations

import json
import os
import threading
import time
import uuid
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.models import Job, Worker
from jobs.reconciler import _only_one, reconcile
from jobs.services import request_cancel
from jobs.statuses import EventKind, JobStatus, Queue
from jobs.workers import beat_seen, seen


@pytest.fixture(autouse=True)
def state(settings, tmp_path):
    settings.STATE = tmp_path


def test_lost_attempt_is_queued_again_as_a_counted_try(make_training, start, age_heartbeat):
    job = make_training()
    attempt = start(job)
    age_heartbeat(attempt, 61)

    assert reconcile().lost == [job.pk]
    job.refresh_from_db()
    assert (job.status, job.counted_tries) == ("queued", 1)
    assert job.message == "Lost contact with the worker 61 s ago; starting again (try 2 of 3)."
    assert attempt.beat() is None


def test_living_attempt_is_left_alone(make_training, start, age_heartbeat):
    job = make_training()
    age_heartbeat(start(job), 55)

    assert reconcile().lost == []
    assert Job.objects.get(pk=job.pk).status == "running"


def test_lost_attempt_of_a_cancelling_job_is_cancelled(make_training, start, age_heartbeat, alice):
    job = make_training()
    attempt = start(job)
    request_cancel(job, user=alice)
    age_heartbeat(attempt, 61)
    reconcile()

    assert Job.objects.get(pk=job.pk).status == "cancelled"


def test_third_loss_ends_the_job(make_training, start, age_heartbeat):
    job = make_training()
    for _ in range(3):
        Job.objects.filter(pk=job.pk).update(available_at=job.created_at)
        age_heartbeat(start(job), 61)
        reconcile()

    job.refresh_from_db()
    assert (job.status, job.code) == ("errored", "worker_died")


def test_cancel_without_an_attempt_is_finished(put_in_state):
    job = put_in_state(JobStatus.CANCELLING)
    rows = Job.objects.filter(pk=job.pk)
    rows.update(cancel_requested_at=Now() - timedelta(seconds=44))
    assert reconcile().cancelled == []

    rows.update(cancel_requested_at=Now() - timedelta(seconds=46))
    assert reconcile().cancelled == [job.pk]
    assert rows.get().status == "cancelled"


def test_unpublished_job_is_published(make_job, published):
    job = make_job()

    assert reconcile().published == [job.pk]
    job.refresh_from_db()
    assert (job.publish_count, job.published_at is not None) == (1, True)
    assert job.events.filter(kind=EventKind.PUBLISHED).exists()


def test_published_job_is_published_again_after_30_s(make_job, published):
    job = make_job()
    reconcile()
    reconcile()
    assert published == [job.pk]

    Job.objects.filter(pk=job.pk).update(published_at=F("published_at") - timedelta(seconds=31))
    reconcile()
    assert published == [job.pk, job.pk]


def test_long_queue_does_not_flood_the_broker(make_job, published):
    jobs = [make_job() for _ in range(12)]
    reconcile()
    assert published == [job.pk for job in jobs[:4]]

    seen(uuid.uuid4(), Queue.DATA, 3)
    reconcile()
    assert published == [job.pk for job in jobs[:6]]


def test_what_cannot_be_claimed_is_not_published(
    make_job, make_training, start, published, settings
):
    settings.JOBS_RUNNING_TRAININGS = 1
    start(make_training())
    make_training()
    first = make_job()
    start(first)
    make_job(after=first)

    assert reconcile().published == []


@pytest.mark.django_db(transaction=True)
def test_second_reconciler_skips_its_round(make_job, published):
    make_job()
    published.clear()
    Job.objects.update(published_at=None)

    rounds = []

    def second():
        try:
            rounds.append(reconcile())
        finally:
            connection.close()

    with transaction.atomic():
        assert _only_one()
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert rounds[0].skipped
    assert published == []


def test_old_scratch_is_deleted_and_fresh_is_kept(db, tmp_path):
    scratch = tmp_path / "scratch"
    for name, hours in (("old", 25), ("fresh", 23)):
        folder = scratch / name
        folder.mkdir(parents=True)
        (folder / "part.tmp").write_bytes(b"x")
        at = time.time() - hours * 3600
        os.utime(folder, (at, at))

    assert reconcile().deleted_files == 1
    assert [path.name for path in Path(scratch).iterdir()] == ["fresh"]


def test_workers_unseen_for_an_hour_are_forgotten(db):
    gone, here = uuid.uuid4(), uuid.uuid4()
    seen(gone, Queue.DATA, 1)
    seen(here, Queue.DATA, 1)
    beat_seen()
    Worker.objects.filter(pk=gone).update(seen_at=Now() - timedelta(minutes=61))

    assert reconcile().deleted_workers == 1
    assert set(Worker.objects.values_list("queue", flat=True)) == {"data", "beat"}


def test_command_prints_what_it_did(make_job, published):
    job = make_job()
    out = StringIO()
    call_command("reconcile", "--json", stdout=out)

    assert json.loads(out.getvalue())["published"] == [str(job.pk)]
