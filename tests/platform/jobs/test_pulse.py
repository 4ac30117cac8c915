from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now

from jobs.attempts import StopReason
from jobs.exits import Exit
from jobs.models import Job, JobAttempt
from jobs.pulse import SUPERVISOR, Patience, Pulse
from jobs.services import request_cancel
from jobs.statuses import ExitKind
from jobs.transitions import end_attempt


@pytest.fixture
def exits() -> list[int]:
    return []


@pytest.fixture
def pulse(make_job, start, exits) -> Pulse:
    return Pulse(start(make_job()), Patience(), exit_process=exits.append)


def _heartbeat(pulse):
    return JobAttempt.objects.get(pk=pulse.attempt.attempt_id).heartbeat_at


def test_heartbeat_comes_every_five_seconds(pulse, settings):
    settings.JOBS_HEARTBEAT_S = 5
    pulse.tick(100.0)
    first = _heartbeat(pulse)
    pulse.tick(104.0)
    assert _heartbeat(pulse) == first
    pulse.tick(105.0)
    assert _heartbeat(pulse) > first


def test_cancel_is_seen_at_the_next_tick(pulse, alice):
    pulse.tick(100.0)
    request_cancel(Job.objects.get(pk=pulse.attempt.job_id), user=alice)
    pulse.tick(101.0)

    assert pulse.attempt.stop_reason == StopReason.CANCEL


def test_work_that_ignores_a_cancel_is_ended_after_30_s(pulse, alice, exits):
    request_cancel(Job.objects.get(pk=pulse.attempt.job_id), user=alice)
    pulse.tick(100.0)
    pulse.tick(130.0)
    assert exits == []
    pulse.tick(131.0)

    assert exits == [70]
    assert Job.objects.get(pk=pulse.attempt.job_id).status == "cancelled"


def test_work_that_ignores_a_lost_lease_is_ended_and_writes_nothing(pulse, exits):
    end_attempt(pulse.attempt.attempt_id, Exit(ExitKind.LOST))
    pulse.tick(100.0)
    assert pulse.attempt.lease_lost.is_set()
    pulse.tick(131.0)

    job = Job.objects.get(pk=pulse.attempt.job_id)
    assert (exits, job.status) == ([70], "queued")
    assert job.events.filter(kind="fenced").exists()


def test_drain_gives_time_to_finish_then_asks_then_ends(pulse, draining, exits):
    pulse.tick(100.0)
    assert not pulse.attempt.stop_requested
    pulse.tick(115.0)
    assert pulse.attempt.stop_reason == StopReason.DRAIN
    pulse.tick(120.5)

    job = Job.objects.get(pk=pulse.attempt.job_id)
    assert (exits, job.status, job.counted_tries) == ([70], "queued", 0)


def test_supervisor_is_asked_at_once_when_draining(make_job, start, draining, exits):
    pulse = Pulse(start(make_job()), SUPERVISOR, exit_process=exits.append)
    pulse.tick(100.0)

    assert pulse.attempt.stop_reason == StopReason.DRAIN
    assert exits == []


def test_success_by_another_process_is_no_lost_lease(pulse):
    end_attempt(pulse.attempt.attempt_id, Exit(ExitKind.OK))
    pulse.tick(100.0)

    assert pulse.attempt.ended.is_set()
    assert not pulse.attempt.stop_requested


def test_tick_flushes_progress(pulse):
    pulse.attempt.progress(0.5, "Half")
    pulse.tick(100.0)

    assert Job.objects.get(pk=pulse.attempt.job_id).message == "Half"


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("connection closed")])
def test_broken_connection_is_dropped_and_opened_again(pulse, monkeypatch, error):
    dropped = []
    monkeypatch.setattr("jobs.pulse.drop_connection", lambda: dropped.append(1))

    def broken():
        raise error

    with monkeypatch.context() as away:
        away.setattr(pulse.attempt, "beat", broken)
        pulse.tick(100.0)
    assert dropped == [1]
    before = _heartbeat(pulse)
    pulse.tick(101.0)
    assert _heartbeat(pulse) > before


def test_outage_of_the_database_is_not_silence_of_the_trainer(pulse, monkeypatch):
    rows = JobAttempt.objects.filter(pk=pulse.attempt.attempt_id)
    rows.update(started_at=Now() - timedelta(seconds=900))
    pulse.tick(10_000.0)
    assert pulse.attempt.silent_s >= 900

    monkeypatch.setattr("jobs.pulse.drop_connection", lambda: None)
    with monkeypatch.context() as away:
        away.setattr(pulse.attempt, "look", _raise_away)
        pulse.tick(10_001.0)
    pulse.tick(10_003.0)
    assert pulse.attempt.silent_s == 2.0


def _raise_away():
    raise OperationalError("away")
