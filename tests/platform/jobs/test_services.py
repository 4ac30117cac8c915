from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F

from accounts.models import User, Workspace
from artifacts.models import StoredFile
from jobs.errors import InvalidIdempotencyKey, JobConflict, QueueFull
from jobs.exits import Exit
from jobs.idempotency import replay
from jobs.models import Job
from jobs.services import enqueue, request_cancel, resume_job
from jobs.statuses import EventKind, ExitKind, JobKind, JobStatus, Queue


def test_cancel_of_a_queued_job_is_done_at_once(make_job, alice):
    job = request_cancel(make_job(), user=alice)

    assert job.status == "cancelled"
    assert job.message == "Stopped by alice before it started."
    assert job.ended_at is not None


def test_cancel_of_a_running_job_asks_it_to_stop(make_job, start, alice):
    job = make_job()
    attempt = start(job)

    job = request_cancel(job, user=alice)

    assert (job.status, job.cancel_requested_at is not None) == ("cancelling", True)
    assert attempt.beat().cancelling
    attempt.end(Exit(ExitKind.CANCELLED))
    job.refresh_from_db()
    assert (job.status, job.message) == ("cancelled", "Stopped by alice.")


def test_cancelled_training_names_step_and_checkpoint(make_training, start, alice):
    job = make_training()
    attempt = start(job)
    with attempt.fenced():
        attempt.record_checkpoint(100)
    request_cancel(job, user=alice)
    attempt.end(Exit(ExitKind.CANCELLED, step=120))

    job.refresh_from_db()
    assert job.message == "Stopped by alice at step 120. Resume continues from step 100."


def test_cancel_twice_is_one_request(make_job, start, alice):
    job = make_job()
    start(job)

    first = request_cancel(job, user=alice)
    second = request_cancel(job, user=alice)

    assert first.cancel_requested_at == second.cancel_requested_at
    assert job.events.filter(kind=EventKind.CANCEL_ASKED).count() == 1


@pytest.mark.parametrize("kind", [ExitKind.OK, ExitKind.OOM, ExitKind.CRASHED])
def test_cancel_of_an_ended_job_is_refused(make_job, start, alice, kind):
    job = make_job()
    start(job).end(Exit(kind))

    with pytest.raises(JobConflict) as refused:
        request_cancel(job, user=alice)
    assert refused.value.code == "job_finished"


def test_cancel_of_a_queued_job_cancels_what_waits_for_it(make_job, alice):
    first = make_job()
    second = make_job(after=first)

    request_cancel(first, user=alice)

    second.refresh_from_db()
    assert second.status == "cancelled"


def test_work_finished_before_the_cancel_took_effect_is_kept(make_job, start, alice):
    job = make_job()
    attempt = start(job)
    request_cancel(job, user=alice)
    with attempt.fenced():
        attempt.succeed("Done.")

    job.refresh_from_db()
    assert (job.status, job.message, job.progress) == ("succeeded", "Done.", 1.0)


def _cancelled(make_training, start, alice, *, checkpoint):
    job = make_training()
    attempt = start(job)
    if checkpoint:
        with attempt.fenced():
            attempt.record_checkpoint(100)
    request_cancel(job, user=alice)
    attempt.end(Exit(ExitKind.CANCELLED))
    return Job.objects.get(pk=job.pk)


def test_resume_makes_a_new_job(make_training, start, alice):
    job = _cancelled(make_training, start, alice, checkpoint=True)

    resumed = resume_job(job, alice)

    assert resumed.pk != job.pk
    assert (resumed.status, resumed.resumed_from_id, resumed.kind) == ("queued", job.pk, "training")
    assert Job.objects.get(pk=job.pk).status == "cancelled"


def test_resume_needs_a_checkpoint(make_training, start, alice):
    job = _cancelled(make_training, start, alice, checkpoint=False)

    with pytest.raises(JobConflict) as refused:
        resume_job(job, alice)
    assert refused.value.code == "no_checkpoint"


def test_caller_knows_better_whether_a_checkpoint_is_valid(make_training, start, alice):
    job = _cancelled(make_training, start, alice, checkpoint=True)

    with pytest.raises(JobConflict) as refused:
        resume_job(job, alice, has_checkpoint=False)
    assert refused.value.code == "no_checkpoint"


@pytest.mark.parametrize("kind", [ExitKind.DIVERGED, ExitKind.CRASHED])
def test_failed_and_errored_jobs_are_resumable(make_training, start, alice, kind):
    job = make_training()
    start(job).end(Exit(kind))

    assert resume_job(job, alice, has_checkpoint=True).status == "queued"


@pytest.mark.parametrize(
    "status, code",
    [
        (JobStatus.SUCCEEDED, "job_finished"),
        (JobStatus.QUEUED, "job_active"),
        (JobStatus.RUNNING, "job_active"),
        (JobStatus.CANCELLING, "job_active"),
    ],
)
def test_resume_is_refused_where_nothing_is_to_resume(put_in_state, alice, status, code):
    with pytest.raises(JobConflict) as refused:
        resume_job(put_in_state(status), alice, has_checkpoint=True)
    assert refused.value.code == code


def test_second_resume_finds_the_first(make_training, start, alice):
    job = _cancelled(make_training, start, alice, checkpoint=True)
    resumed = resume_job(job, alice)

    with pytest.raises(JobConflict) as refused:
        resume_job(job, alice)
    assert refused.value.code == "job_active"

    request_cancel(resumed, user=alice)
    assert resume_job(job, alice).resumed_from_id == resumed.pk


def test_queued_quota_refuses_the_next_training(make_training, settings):
    settings.JOBS_QUEUED_TRAININGS = 3
    for _ in range(3):
        make_training()

    with pytest.raises(QueueFull) as refused:
        make_training()
    assert (refused.value.code, refused.value.retry_after_s) == ("quota_queued", 60)


def test_queued_quota_counts_predictions_with_trainings(make_training, make_prediction, settings):
    settings.JOBS_QUEUED_TRAININGS = 2
    make_training()
    make_prediction()

    for make in (make_training, make_prediction):
        with pytest.raises(QueueFull, match="2 trainings and predictions are queued") as refused:
            make()
        assert refused.value.code == "quota_queued"


def test_prediction_is_a_launch_of_the_hourly_quota(make_prediction, settings):
    settings.JOBS_LAUNCHES_PER_HOUR = 1
    make_prediction()

    with pytest.raises(QueueFull) as refused:
        make_prediction()
    assert refused.value.code == "quota_launches"


def test_launch_quota_counts_launches_of_the_last_hour(make_training, settings):
    settings.JOBS_LAUNCHES_PER_HOUR = 2
    first = make_training()
    make_training()

    with pytest.raises(QueueFull) as refused:
        make_training()
    assert refused.value.code == "quota_launches"
    assert 3500 < refused.value.retry_after_s <= 3600

    Job.objects.filter(pk=first.pk).update(created_at=F("created_at") - timedelta(minutes=61))
    make_training()


def test_workspace_without_room_launches_nothing_whose_result_it_cannot_store(
    make_training, make_job, workspace, settings
):
    settings.QUOTA_STORED_BYTES = 7
    StoredFile.objects.create(workspace=workspace, name="a", key="a", sha256="", size=7)

    with pytest.raises(QueueFull, match="Delete what is no longer used") as refused:
        make_training()
    assert refused.value.code == "quota_stored"
    make_job()


def test_an_ablation_is_one_launch_and_a_chained_backtest_none(make_training, make_job, settings):
    settings.JOBS_LAUNCHES_PER_HOUR = 1
    first = make_training()
    make_training(part_of_launch=True)
    make_job(JobKind.BACKTEST, Queue.BACKTESTS, after=first)
    make_job()

    assert Job.objects.filter(is_launch=True).count() == 1


def test_quota_of_one_workspace_is_not_anothers(make_training, alice, settings):
    settings.JOBS_QUEUED_TRAININGS = 1
    make_training()

    make_training(workspace=Workspace.objects.create(name="Bob's"))


def test_equal_request_gets_the_same_job(workspace, make_job):
    job = make_job(idempotency_key="k-1", request_sha256="a" * 64)

    assert replay(workspace, "k-1", "a" * 64) == job
    assert replay(workspace, "k-2", "a" * 64) is None
    assert replay(workspace, "", "a" * 64) is None


def test_same_key_with_another_body_is_a_conflict(workspace, make_job):
    make_job(idempotency_key="k-1", request_sha256="a" * 64)

    with pytest.raises(JobConflict) as refused:
        replay(workspace, "k-1", "b" * 64)
    assert refused.value.code == "idempotency_conflict"


def test_key_of_another_workspace_is_free(make_job, alice):
    make_job(idempotency_key="k-1", request_sha256="a" * 64)

    assert replay(Workspace.objects.create(name="Bob's"), "k-1", "b" * 64) is None


def test_key_is_forgotten_after_a_day(workspace, make_job):
    job = make_job(idempotency_key="k-1", request_sha256="a" * 64)
    Job.objects.filter(pk=job.pk).update(
        created_at=F("created_at") - timedelta(hours=24, minutes=1)
    )

    assert replay(workspace, "k-1", "b" * 64) is None
    assert make_job(idempotency_key="k-1").pk != job.pk


@pytest.mark.parametrize("key", ["a b", "é", "x" * 201, "tab\t"])
def test_key_must_be_visible_ascii(workspace, key):
    with pytest.raises(InvalidIdempotencyKey):
        replay(workspace, key, "")


def test_enqueue_does_not_use_a_key_twice(make_job):
    make_job(idempotency_key="k-1")

    with pytest.raises(JobConflict):
        make_job(idempotency_key="k-1")


@pytest.mark.django_db(transaction=True)
def test_double_click_starts_one_job(workspace, alice, published):
    barrier = threading.Barrier(3)
    found = []

    def click():
        barrier.wait()
        try:
            with transaction.atomic():
                job = replay(workspace, "click", "a" * 64) or enqueue(
                    workspace=workspace,
                    created_by=alice,
                    kind=JobKind.IMPORT,
                    queue=Queue.DATA,
                    idempotency_key="click",
                    request_sha256="a" * 64,
                )
                found.append(job.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


def test_list_shows_positions_in_one_query(make_job, django_assert_num_queries, alice):
    jobs = [make_job() for _ in range(3)]

    with django_assert_num_queries(1):
        shown = {job.pk: job.waiting_message for job in Job.objects.visible_to(alice).for_list()}
    assert [shown[job.pk] for job in jobs] == [
        f"Waiting: position {place} of 3 in data" for place in (1, 2, 3)
    ]
    assert jobs[1].waiting_message == "Waiting: position 2 of 3 in data"


def test_stranger_sees_no_job(make_job):
    make_job()

    charlie = User.objects.create(username="charlie")
    assert not Job.objects.visible_to(charlie).exists()


def test_queue_summary_counts_waiting_and_running(make_job, make_training, start):
    start(make_job())
    make_job()
    make_training()

    summary = {row.queue: row for row in Job.objects.queue_summary()}
    assert (summary["data"].queued, summary["data"].running) == (1, 1)
    assert (summary["training"].queued, summary["training"].running) == (1, 0)
    assert summary["backtests"].oldest_queued_s is None
    assert summary["data"].oldest_queued_s is not None
