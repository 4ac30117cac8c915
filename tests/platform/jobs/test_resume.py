"""A resumed job takes the place of the ended one: its subject, and what waited for it."""

from __future__ import annotations

import pytest
from django.db import transaction

from jobs.exits import Exit
from jobs.idempotency import recent, replay
from jobs.models import Job
from jobs.services import enqueue, request_cancel, resume_job
from jobs.statuses import EventKind, ExitKind, JobKind, Queue
from tests import factories


@pytest.fixture
def cancelled(make_training, start, alice):
    """A training that was cancelled while it ran, after a checkpoint."""

    def cancelled(job: Job | None = None, **values: object) -> Job:
        job = job or make_training(**values)
        attempt = start(job)
        with attempt.fenced():
            attempt.record_checkpoint(50)
        request_cancel(job, user=alice)
        attempt.end(Exit(ExitKind.CANCELLED))
        return Job.objects.get(pk=job.pk)

    return cancelled


@pytest.fixture
def make_backtest_job(workspace, alice):
    def make(after: Job) -> Job:
        return enqueue(
            workspace=workspace,
            created_by=alice,
            kind=JobKind.BACKTEST,
            queue=Queue.BACKTESTS,
            after=after,
        )

    return make


@pytest.fixture
def run_of(workspace):
    """A training run, as a row, whose job is the given one."""

    def run_of(job: Job):
        experiment = factories.make_experiment(workspace)
        run = factories.make_run(experiment, status="cancelled")
        run.job = job
        run.save()
        return run

    return run_of


def test_subject_row_points_at_the_new_job(cancelled, alice, run_of):
    job = cancelled()
    run = run_of(job)

    resumed = resume_job(job, alice)

    run.refresh_from_db()
    assert run.job == resumed
    assert run.job.pk != job.pk


def test_job_that_waited_waits_again(make_training, make_backtest_job, cancelled, alice):
    job = make_training()
    waiting = make_backtest_job(job)
    cancelled(job)
    dropped = Job.objects.get(pk=waiting.pk)
    assert (dropped.status, dropped.code) == ("cancelled", "after_not_succeeded")

    resumed = resume_job(job, alice)

    again = Job.objects.get(resumed_from=waiting)
    assert (again.status, again.after, again.queue) == ("queued", resumed, "backtests")
    assert again.events.get().data == {"resumed_from": str(waiting.pk)}
    assert Job.objects.get(pk=waiting.pk).ended_at == dropped.ended_at


def test_backtest_of_a_resumed_run_follows_its_new_job(
    make_training, make_backtest_job, cancelled, alice, run_of
):
    job = make_training()
    waiting = make_backtest_job(job)
    cancelled(job)
    run = run_of(job)
    backtest = factories.make_backtest(run, status="cancelled")
    backtest.job = waiting
    backtest.save()

    resumed = resume_job(job, alice)

    backtest.refresh_from_db()
    assert backtest.job.resumed_from == waiting
    assert backtest.job.after == resumed


def test_a_whole_line_of_waiting_jobs_comes_back_in_order(
    make_training, make_backtest_job, cancelled, alice
):
    job = make_training()
    second = make_backtest_job(job)
    third = make_backtest_job(second)
    cancelled(job)

    resumed = resume_job(job, alice)

    again = Job.objects.get(resumed_from=second)
    assert again.after == resumed
    assert Job.objects.get(resumed_from=third).after == again


def test_waiting_job_that_a_person_cancelled_stays_cancelled(
    make_training, make_backtest_job, cancelled, alice
):
    job = make_training()
    waiting = make_backtest_job(job)
    request_cancel(waiting, user=alice)
    cancelled(job)

    resume_job(job, alice)

    assert not Job.objects.filter(resumed_from=waiting).exists()


def test_second_resume_brings_the_waiting_job_back_once_more(
    make_training, make_backtest_job, cancelled, alice
):
    job = make_training()
    waiting = make_backtest_job(job)
    cancelled(job)
    cancelled(resume_job(job, alice))

    last = resume_job(job, alice)

    newest = waiting.resumes()
    assert [found.status for found in newest] == ["cancelled", "queued"]
    assert newest[-1].after == last


def test_resumed_training_that_succeeds_releases_its_backtest(
    make_training,
    make_backtest_job,
    cancelled,
    start,
    alice,
    published,
    django_capture_on_commit_callbacks,
):
    job = make_training()
    waiting = make_backtest_job(job)
    cancelled(job)
    attempt = start(resume_job(job, alice))
    again = Job.objects.get(resumed_from=waiting)

    with django_capture_on_commit_callbacks(execute=True), attempt.fenced():
        attempt.succeed("Done.")

    assert published == [again.pk]


def test_terminal_rows_do_not_change(make_training, make_backtest_job, cancelled, alice):
    job = make_training()
    waiting = make_backtest_job(job)
    cancelled(job)
    before = list(Job.objects.filter(pk__in=[job.pk, waiting.pk]).order_by("pk").values())

    resume_job(job, alice)

    assert list(Job.objects.filter(pk__in=[job.pk, waiting.pk]).order_by("pk").values()) == before
    ends = job.events.filter(kind=EventKind.ENDED)
    assert ends.count() == 1


def test_request_that_is_repeated_after_a_resume_finds_the_new_job(cancelled, workspace, alice):
    job = cancelled(idempotency_key="once", request_sha256="ab")

    resumed = resume_job(job, alice)

    with transaction.atomic():
        assert replay(workspace, "once", "ab") == resumed
    assert recent(workspace, "once") == resumed
