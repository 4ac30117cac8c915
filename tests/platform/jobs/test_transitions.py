from __future__ import annotations

import itertools

import pytest

from jobs.errors import ForbiddenTransition
from jobs.exits import Exit
from jobs.models import Job, JobAttempt
from jobs.statuses import ALLOWED, TERMINAL, EventKind, ExitKind, JobStatus
from jobs.transitions import move

PAIRS = list(itertools.product(JobStatus, JobStatus))
TABLE = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("running", "cancelling"),
    ("running", "queued"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "errored"),
    ("cancelling", "succeeded"),
    ("cancelling", "cancelled"),
}


@pytest.mark.parametrize("source, target", [pair for pair in PAIRS if pair in TABLE])
def test_allowed_transition_happens_once(put_in_state, source, target):
    job = put_in_state(source)

    assert move(job.pk, source, target)
    assert not move(job.pk, source, target)
    job.refresh_from_db()
    assert job.status == target
    assert (job.ended_at is not None) == (target in TERMINAL)


@pytest.mark.parametrize("source, target", [pair for pair in PAIRS if pair not in TABLE])
def test_every_other_transition_is_refused(put_in_state, source, target):
    job = put_in_state(source)

    with pytest.raises(ForbiddenTransition):
        move(job.pk, source, target)
    assert Job.objects.get(pk=job.pk).status == source


def test_no_transition_leaves_a_terminal_state():
    assert not [pair for pair in ALLOWED if pair[0] in TERMINAL]


@pytest.mark.parametrize("found", [status for status in JobStatus if status != JobStatus.RUNNING])
def test_transition_from_a_state_the_job_left_changes_nothing(put_in_state, found):
    job = put_in_state(found)

    assert not move(job.pk, JobStatus.RUNNING, JobStatus.SUCCEEDED)
    assert Job.objects.get(pk=job.pk).status == found


FROM_RUNNING = {
    ExitKind.OK: "succeeded",
    ExitKind.CONFIG: "failed",
    ExitKind.NOT_ENOUGH_HISTORY: "failed",
    ExitKind.INVALID_INPUT: "failed",
    ExitKind.DATA_CHANGED: "failed",
    ExitKind.DIVERGED: "failed",
    ExitKind.OOM: "failed",
    ExitKind.DISK_FULL: "failed",
    ExitKind.TIME_LIMIT: "failed",
    ExitKind.CANCELLED: "queued",
    ExitKind.PREEMPTED: "queued",
    ExitKind.KILLED: "queued",
    ExitKind.LOST: "queued",
    ExitKind.STALLED: "queued",
    ExitKind.CRASHED: "errored",
}


@pytest.mark.parametrize("kind, status", FROM_RUNNING.items())
def test_exit_kind_settles_a_running_job(make_job, start, kind, status):
    job = make_job()
    attempt = start(job)

    assert attempt.end(Exit(kind)) == status
    job.refresh_from_db()
    row = JobAttempt.objects.get(pk=attempt.attempt_id)
    assert job.status == status
    assert (row.exit_kind, row.ended_at is not None) == (kind, True)


@pytest.mark.parametrize("kind", FROM_RUNNING)
def test_any_end_of_a_cancelling_job_but_success_cancels_it(make_job, start, kind):
    job = make_job()
    attempt = start(job)
    move(job.pk, JobStatus.RUNNING, JobStatus.CANCELLING)

    expected = JobStatus.SUCCEEDED if kind == ExitKind.OK else JobStatus.CANCELLED
    assert attempt.end(Exit(kind)) == expected


def test_an_attempt_ends_once(make_job, start):
    attempt = start(make_job())

    assert attempt.end(Exit(ExitKind.CRASHED)) == JobStatus.ERRORED
    assert attempt.end(Exit(ExitKind.KILLED)) is None


def test_events_tell_the_way_of_a_job(make_job, start):
    job = make_job()
    start(job).end(Exit(ExitKind.KILLED))
    start(job).end(Exit(ExitKind.OK))

    kinds = list(job.events.order_by("pk").values_list("kind", flat=True))
    assert kinds == ["queued", "claimed", "requeued", "claimed", "ended"]


def test_crash_shows_a_reference_and_no_traceback(make_job, start):
    job = make_job()
    start(job).end(Exit(ExitKind.CRASHED, error_reference="abcd1234"))

    job.refresh_from_db()
    assert job.error_reference == "abcd1234"
    assert job.message == "Something broke on our side. Reference abcd1234."


def test_three_counted_tries_end_as_worker_died(make_training, start):
    job = make_training()
    delays = []
    for kind in (ExitKind.KILLED, ExitKind.LOST, ExitKind.STALLED):
        Job.objects.filter(pk=job.pk).update(available_at=job.created_at)
        attempt = start(job)
        with attempt.fenced():
            attempt.record_checkpoint(40)
        attempt.end(Exit(kind))
        job.refresh_from_db()
        delays.append((job.status, round((job.available_at - job.created_at).total_seconds())))

    assert delays[0] == ("queued", 0)
    assert delays[1] == ("queued", 30)
    assert (job.status, job.code, job.counted_tries) == ("errored", "worker_died", 3)
    assert job.message.startswith("The worker died three times at step 40. Reference ")


def test_message_counts_the_tries(make_job, start):
    job = make_job()
    start(job).end(Exit(ExitKind.KILLED))

    job.refresh_from_db()
    assert job.message == "The training process was killed; starting again (try 2 of 3)."


def test_preemption_is_not_a_try(make_job, start):
    job = make_job()
    for _ in range(5):
        start(job).end(Exit(ExitKind.PREEMPTED))

    job.refresh_from_db()
    assert (job.status, job.counted_tries) == ("queued", 0)


def test_success_publishes_the_job_that_waited(
    make_job, start, published, django_capture_on_commit_callbacks
):
    first = make_job()
    second = make_job(after=first)
    attempt = start(first)
    with django_capture_on_commit_callbacks(execute=True):
        attempt.end(Exit(ExitKind.OK))

    assert published == [second.pk]


@pytest.mark.parametrize("kind", [ExitKind.CRASHED, ExitKind.OOM])
def test_any_other_end_cancels_the_whole_chain(make_job, start, kind):
    first = make_job()
    second = make_job(after=first)
    third = make_job(after=second)
    start(first).end(Exit(kind))

    for job in (second, third):
        job.refresh_from_db()
        assert (job.status, job.code) == ("cancelled", "after_not_succeeded")


def test_a_retry_keeps_the_waiting_job_waiting(make_job, start):
    first = make_job()
    second = make_job(after=first)
    start(first).end(Exit(ExitKind.KILLED))

    second.refresh_from_db()
    assert second.status == "queued"
    assert second.waiting_message == "Waiting for the import to finish"


def test_a_job_behind_an_ended_one_is_settled_at_once(make_job, start):
    good, bad = make_job(), make_job()
    start(good).end(Exit(ExitKind.OK))
    start(bad).end(Exit(ExitKind.CRASHED))

    assert make_job(after=good).status == "queued"
    assert make_job(after=bad).status == "cancelled"


def test_lost_attempt_leaves_its_event(make_job, start):
    job = make_job()
    start(job).end(Exit(ExitKind.LOST))

    assert job.events.filter(kind=EventKind.LOST).count() == 1
