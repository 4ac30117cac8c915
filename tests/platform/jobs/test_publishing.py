from __future__ import annotations

import time

import pytest
from celery import current_app

from jobs import faults
from jobs.models import Job
from jobs.publishing import publish
from jobs.services import enqueue
from jobs.statuses import JobKind, Queue


@pytest.fixture
def broker_away(monkeypatch, tmp_path):
    monkeypatch.setattr(
        current_app.conf, "broker_write_url", f"redis+socket://{tmp_path}/nobody.sock"
    )


@pytest.mark.django_db(transaction=True)
def test_enqueue_answers_without_a_broker(workspace, alice, broker_away):
    started = time.monotonic()
    job = enqueue(workspace=workspace, created_by=alice, kind=JobKind.IMPORT, queue=Queue.DATA)

    assert time.monotonic() - started < 2
    job = Job.objects.get(pk=job.pk)
    assert (job.status, job.published_at, job.publish_count) == ("queued", None, 0)


def test_job_that_is_no_longer_queued_is_not_published(make_job, start, published):
    job = make_job()
    start(job)

    assert publish(job.pk) is False
    assert published == []


@pytest.mark.django_db(transaction=True)
def test_message_carries_the_id_and_nothing_else(workspace, alice):
    with current_app.connection_for_read() as connection:
        queue = connection.SimpleQueue("backtests")
        # The broker is that of the whole test run: others may have left messages.
        queue.clear()
        job = enqueue(
            workspace=workspace, created_by=alice, kind=JobKind.EXPORT, queue=Queue.BACKTESTS
        )
        message = queue.get(timeout=2)
        message.ack()
        queue.close()
    args, kwargs, _ = message.payload
    assert (args, kwargs) == ([str(job.pk)], {})
    assert message.headers["task"] == "jobs.export"
    assert message.headers["id"] == str(job.pk)


def test_faults_are_dead_without_the_switch(settings, monkeypatch):
    monkeypatch.setenv("OUTSAMPLE_FAULT", "die_at_step:1,nan_at_step:5")
    settings.TEST_HOOKS = False
    assert faults.value_of("die_at_step") is None
    faults.at_step(1)  # would kill this process

    settings.TEST_HOOKS = True
    assert faults.value_of("die_at_step") == 1
    assert faults.loss_is_nan(5)
    assert not faults.memory_is_short(5)
