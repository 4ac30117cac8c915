from __future__ import annotations

import resource
from contextlib import nullcontext

import pytest
from celery import current_app
from django.db import OperationalError

from jobs import decorators
from jobs.decorators import job_task
from jobs.errors import JobFailed
from jobs.execution import execute
from jobs.memory import address_space_limit
from jobs.models import Job, JobAttempt
from jobs.services import request_cancel
from jobs.statuses import ExitKind, JobKind, Queue


@pytest.fixture(autouse=True)
def _alone(request, published, monkeypatch):
    """No message leaves these tests, and no second thread runs where it is not the subject."""
    if "alongside_pulse" not in request.node.name:
        monkeypatch.setattr("jobs.execution.pulsing", lambda attempt, patience: nullcontext())


def _finish(job, attempt):
    attempt.log("working")
    with attempt.fenced():
        attempt.succeed("All done.")


def _run(job, body) -> Job:
    execute(job.pk, body)
    return Job.objects.get(pk=job.pk)


def test_body_that_succeeds(make_job):
    job = _run(make_job(), _finish)

    assert (job.status, job.message, job.log_lines.count()) == ("succeeded", "All done.", 1)
    assert job.attempts.get().exit_kind == ExitKind.OK


def test_body_that_fails(make_job):
    def body(job, attempt):
        raise JobFailed("field_count", "Line 3 has 5 fields, expected 6.")

    job = _run(make_job(), body)
    assert (job.status, job.code) == ("failed", "field_count")
    assert job.message == "Line 3 has 5 fields, expected 6."


def test_body_that_breaks(make_job, caplog):
    def body(job, attempt):
        raise ZeroDivisionError("our bug")

    job = _run(make_job(), body)
    assert (job.status, job.code) == ("errored", "crashed")
    assert job.error_reference in job.message
    assert "our bug" not in job.message
    assert "our bug" in caplog.text
    assert job.error_reference in caplog.text


def test_body_that_forgets_to_succeed(make_job):
    assert _run(make_job(), lambda job, attempt: None).status == "errored"


def test_body_under_a_broken_database_is_tried_again(make_job):
    def body(job, attempt):
        raise OperationalError("terminating connection")

    job = _run(make_job(), body)
    assert (job.status, job.counted_tries) == ("queued", 1)


@pytest.mark.django_db(transaction=True)
def test_body_that_obeys_a_cancel_seen_alongside_pulse(make_job, alice):
    def body(job, attempt):
        request_cancel(job, user=alice)
        attempt.wait_for_stop(5)
        attempt.raise_if_stopping()

    job = _run(make_job(), body)
    assert (job.status, job.message) == ("cancelled", "Stopped by alice.")


def test_second_delivery_runs_nothing(make_job):
    job = make_job()
    ran = []

    def body(job, attempt):
        ran.append(1)
        _finish(job, attempt)

    for _ in range(10):
        execute(job.pk, body)
    assert ran == [1]
    assert JobAttempt.objects.filter(job=job).count() == 1


def test_next_job_of_the_queue_is_published(make_job, published):
    first, second = make_job(), make_job()
    published.clear()
    execute(first.pk, _finish)

    assert published == [second.pk]


def test_draining_worker_takes_no_job(make_job, draining):
    assert _run(make_job(), _finish).status == "queued"


def test_decorator_registers_a_task_of_the_kind(monkeypatch):
    monkeypatch.setattr("jobs.decorators.TASKS", {})
    monkeypatch.setattr("jobs.decorators.task_name", lambda kind: f"tests.{kind}")

    @job_task(kind=JobKind.EXPORT, queue=Queue.DATA)
    def run_export(job, attempt):
        """Only registered."""

    assert decorators.TASKS["export"].body is run_export
    task = current_app.tasks["tests.export"]
    assert task.ignore_result
    assert not task.acks_late


def test_memory_limit_stops_growth_and_is_restored():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), address_space_limit(0.25):
        bytearray(2**30)

    assert resource.getrlimit(resource.RLIMIT_AS) == before
