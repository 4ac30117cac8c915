from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.utils import IntegrityError

from jobs.claim import claim
from jobs.exits import Exit
from jobs.models import Job, JobAttempt
from jobs.publishing import publish_next
from jobs.statuses import EventKind, ExitKind, JobKind, Queue


def test_claim_opens_one_attempt(make_job, claimant):
    job = make_job()

    lease = claim(job.pk, claimant)

    assert lease is not None
    job.refresh_from_db()
    attempt = job.attempts.get()
    assert (job.status, attempt.number, attempt.lease_token) == ("running", 1, lease.token)
    assert (attempt.worker, attempt.host, attempt.pid) == (claimant.worker, "here", 4711)
    assert job.started_at is not None


def test_one_message_ten_times_gives_one_attempt(make_job, claimant):
    job = make_job()

    leases = [claim(job.pk, claimant) for _ in range(10)]

    assert [lease is not None for lease in leases] == [True] + [False] * 9
    assert job.attempts.count() == 1
    assert _refusals(job) == [job.attempts.get().pk]


def _refusals(job):
    """The attempt that each event of a refused claim stands by, in order."""
    events = job.events.filter(kind=EventKind.NOT_CLAIMABLE).order_by("pk")
    return list(events.values_list("attempt", flat=True))


def test_refused_claims_are_told_once_before_and_once_for_each_attempt(make_job, start, claimant):
    first = make_job()
    job = make_job(after=first)
    for _ in range(3):
        assert claim(job.pk, claimant) is None
    start(first).end(Exit(ExitKind.OK))
    attempts = []
    for _ in range(2):
        Job.objects.filter(pk=job.pk).update(available_at=job.created_at)
        attempts.append(start(job))
        for _ in range(3):
            assert claim(job.pk, claimant) is None
        attempts[-1].end(Exit(ExitKind.KILLED))

    assert _refusals(job) == [None, *(attempt.attempt_id for attempt in attempts)]


def test_unknown_job_is_no_error(db, claimant):
    assert claim(uuid.uuid4(), claimant) is None


def test_job_of_a_later_moment_is_not_claimable(make_job, claimant):
    job = make_job()
    Job.objects.filter(pk=job.pk).update(available_at=F("available_at") + timedelta(seconds=30))

    assert claim(job.pk, claimant) is None


def test_waiting_job_is_claimable_only_after_success(make_job, start, claimant):
    first = make_job()
    second = make_job(after=first)

    assert claim(second.pk, claimant) is None
    start(first).end(Exit(ExitKind.OK))
    assert claim(second.pk, claimant) is not None


def test_running_quota_makes_a_training_wait(make_training, start, claimant, settings):
    settings.JOBS_RUNNING_TRAININGS = 2
    jobs = [make_training() for _ in range(3)]
    attempts = [start(job) for job in jobs[:2]]

    assert claim(jobs[2].pk, claimant) is None
    assert Job.objects.get(pk=jobs[2].pk).status == "queued"
    attempts[0].end(Exit(ExitKind.OK))
    assert claim(jobs[2].pk, claimant) is not None


def test_prediction_and_training_share_the_running_quota(
    make_prediction, make_training, start, claimant, published, settings
):
    settings.JOBS_RUNNING_TRAININGS = 1
    attempt = start(make_prediction())
    training, prediction = make_training(), make_prediction()

    assert claim(training.pk, claimant) is None
    assert claim(prediction.pk, claimant) is None
    publish_next(Queue.TRAINING)
    assert published == []
    attempt.end(Exit(ExitKind.OK))
    assert claim(training.pk, claimant) is not None


def test_running_quota_does_not_hold_other_work(make_training, make_job, start, claimant, settings):
    settings.JOBS_RUNNING_TRAININGS = 1
    start(make_training())

    assert claim(make_job().pk, claimant) is not None


def test_next_published_is_the_oldest_claimable(make_training, start, published, settings):
    settings.JOBS_RUNNING_TRAININGS = 1
    jobs = [make_training() for _ in range(3)]
    attempt = start(jobs[0])

    publish_next(Queue.TRAINING)
    assert published == []
    attempt.end(Exit(ExitKind.OK))
    publish_next(Queue.TRAINING)
    assert published == [jobs[1].pk]


def test_database_refuses_a_second_open_attempt(make_job, start, claimant):
    job = make_job()
    start(job)

    with pytest.raises(IntegrityError), transaction.atomic():
        JobAttempt.objects.create(job=job, number=2, worker=claimant.worker, host="there", pid=4712)


def _race(number, act):
    """Run `act` in threads that start together, each with its own connection."""
    barrier = threading.Barrier(number)
    results = []

    def run():
        barrier.wait()
        try:
            results.append(act())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_two_connections_race_and_one_wins(make_job, claimant, published):
    for _ in range(5):
        job = make_job()
        leases = _race(4, lambda job=job: claim(job.pk, claimant))
        assert sum(lease is not None for lease in leases) == 1
        assert job.attempts.count() == 1


@pytest.mark.django_db(transaction=True)
def test_quota_holds_under_a_race(make_training, claimant, published, settings):
    settings.JOBS_RUNNING_TRAININGS = 2
    waiting = [make_training().pk for _ in range(6)]

    leases = _race(6, lambda: claim(waiting.pop(), claimant))

    assert sum(lease is not None for lease in leases) == 2
    assert Job.objects.active().filter(kind=JobKind.TRAINING).count() == 2


@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_enders_settles_the_job(make_job, start, published):
    job = make_job()
    attempt = start(job)

    ends = _race(2, lambda: attempt.end(Exit(ExitKind.KILLED)))

    job.refresh_from_db()
    assert sorted(end is None for end in ends) == [False, True]
    assert job.counted_tries == 1
