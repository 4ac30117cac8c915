from __future__ import annotations

import uuid

import pytest

from accounts.models import Membership, User, Workspace
from jobs import workers
from jobs.attempts import RunningAttempt
from jobs.claim import Claimant, Lease, claim
from jobs.models import Job, JobAttempt
from jobs.services import enqueue
from jobs.statuses import JobKind, JobStatus, Queue


@pytest.fixture
def claimant() -> Claimant:
    return Claimant(worker=uuid.uuid4(), host="here", pid=4711)


@pytest.fixture
def alice(db) -> User:
    return User.objects.create(username="alice")


@pytest.fixture
def workspace(alice) -> Workspace:
    workspace = Workspace.objects.create(name="Alice's")
    Membership.objects.create(workspace=workspace, user=alice)
    return workspace


@pytest.fixture
def make_job(workspace, alice):
    def make(kind=JobKind.IMPORT, queue=Queue.DATA, **values) -> Job:
        values = {"workspace": workspace, "created_by": alice, **values}
        job = enqueue(kind=kind, queue=queue, **values)
        return Job.objects.get(pk=job.pk)

    return make


@pytest.fixture
def make_training(make_job):
    def make(**values) -> Job:
        return make_job(JobKind.TRAINING, Queue.TRAINING, **values)

    return make


@pytest.fixture
def make_prediction(make_job):
    def make(**values) -> Job:
        return make_job(JobKind.PREDICT, Queue.TRAINING, **values)

    return make


@pytest.fixture
def start(claimant):
    """Claim a job that must be claimable, and hand out the running attempt."""

    def start(job: Job) -> RunningAttempt:
        lease = claim(job.pk, claimant)
        assert isinstance(lease, Lease)
        return RunningAttempt(lease)

    return start


@pytest.fixture
def put_in_state(make_job):
    """A job in any state, as a row only."""

    def put(status: JobStatus) -> Job:
        from django.db.models.functions import Now

        from jobs.statuses import TERMINAL

        job = make_job()
        values = {"ended_at": Now()} if status in TERMINAL else {}
        Job.objects.filter(pk=job.pk).update(status=status, **values)
        return Job.objects.get(pk=job.pk)

    return put


@pytest.fixture
def age_heartbeat():
    def age(attempt: RunningAttempt, seconds: float) -> None:
        from datetime import timedelta

        from django.db.models import F

        rows = JobAttempt.objects.filter(pk=attempt.attempt_id)
        rows.update(heartbeat_at=F("heartbeat_at") - timedelta(seconds=seconds))

    return age


@pytest.fixture
def draining():
    workers.set_draining()
    yield
    workers.set_draining(False)


@pytest.fixture
def published(monkeypatch) -> list[uuid.UUID]:
    """The ids that went to the broker, in order; the broker itself is outside these tests."""
    sent: list[uuid.UUID] = []
    monkeypatch.setattr("jobs.publishing._send", lambda job: sent.append(job.pk))
    return sent
