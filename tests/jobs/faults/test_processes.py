"""Real worker, real broker, a small trainer: whatever dies, the job ends exactly once."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta

import pytest
from celery import current_app
from django.db import connection
from django.db.models import F

from jobs.models import Job, Worker
from jobs.publishing import publish
from jobs.services import request_cancel
from jobs.statuses import BEAT
from tests.jobs.faults.conftest import trainers, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]


def exit_kinds(job: Job) -> list[str]:
    return list(job.attempts.order_by("number").values_list("exit_kind", flat=True))


def first_step_of_last_attempt(job: Job) -> int:
    last = job.attempts.latest("number")
    return int(last.log_lines.earliest("number").text.removeprefix("step "))


class Sampler:
    """Counts living trainers ten times a second."""

    def __init__(self) -> None:
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.1):
            self.most = max(self.most, len(trainers()))


def test_undisturbed_run_succeeds_once(processes, launch, ended):
    processes.worker()
    job = ended(launch())

    assert (job.status, job.message, exit_kinds(job)) == ("succeeded", "60 steps.", ["ok"])
    steps = [line.text for line in job.log_lines.all()]
    assert steps == [f"step {step}" for step in range(1, 61)]
    attempt = wait_for(job.attempts.filter(exit_code=0, signal=None).first)
    assert attempt.peak_memory_mib > 10


def test_killed_trainer_is_resumed_after_its_checkpoint(processes, launch, ended, at_checkpoint):
    processes.worker()
    job = launch()
    attempt = at_checkpoint(job)
    os.kill(attempt.trainer_pid, signal.SIGKILL)
    job = ended(job)

    first = job.attempts.get(number=1)
    assert (job.status, exit_kinds(job)) == ("succeeded", ["killed", "ok"])
    assert first.signal == signal.SIGKILL
    assert first_step_of_last_attempt(job) == first.checkpoint_step + 1 > 1
    assert job.counted_tries == 1


def test_killed_supervisor_takes_its_trainer_along(processes, launch, ended, at_checkpoint):
    processes.worker()
    processes.beat()
    job = launch()
    attempt = at_checkpoint(job)
    with Sampler() as sampler:
        os.kill(attempt.pid, signal.SIGKILL)
        wait_for(lambda: attempt.trainer_pid not in trainers(), 5)
        job = ended(job)

    assert (job.status, exit_kinds(job)) == ("succeeded", ["lost", "ok"])
    assert sampler.most == 1
    assert first_step_of_last_attempt(job) == job.attempts.get(number=1).checkpoint_step + 1
    assert Worker.objects.filter(queue=BEAT).exists()


def test_killed_worker_tree_is_replaced_by_the_next_worker(processes, launch, ended, at_checkpoint):
    worker = processes.worker()
    processes.beat()
    job = launch()
    at_checkpoint(job)
    processes.kill_tree(worker)
    processes.worker()
    job = ended(job)

    assert (job.status, exit_kinds(job)) == ("succeeded", ["lost", "ok"])


def test_cancel_ends_the_process_group_and_keeps_a_checkpoint(
    processes, launch, ended, at_checkpoint, alice
):
    processes.worker()
    job = launch()
    attempt = at_checkpoint(job)
    asked = time.monotonic()
    request_cancel(job, user=alice)
    job = ended(job, 10)

    assert time.monotonic() - asked < 10
    assert (job.status, exit_kinds(job)) == ("cancelled", ["cancelled"])
    assert attempt.trainer_pid not in trainers()
    kept = job.attempts.get().checkpoint_step
    assert job.message == f"Stopped by alice at step {kept}. Resume continues from step {kept}."


def test_stopped_worker_hands_its_run_to_the_next(processes, launch, ended, at_checkpoint):
    worker = processes.worker()
    job = launch()
    at_checkpoint(job)
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=30)
    job.refresh_from_db()
    assert (job.status, job.counted_tries, exit_kinds(job)) == ("queued", 0, ["preempted"])
    assert job.attempts.get().checkpoint_step > 0

    processes.worker()
    processes.beat()
    assert ended(job).status == "succeeded"


def test_poison_run_ends_after_three_tries_and_others_flow(processes, launch, ended):
    worker = processes.worker(OUTSAMPLE_FAULT="die_at_step:1")
    processes.beat()
    job = launch()
    wait_for(lambda: Job.objects.get(pk=job.pk).counted_tries == 2)
    Job.objects.filter(pk=job.pk).update(available_at=job.created_at)  # spare the 30 s
    job = ended(job)
    assert (job.status, job.code, exit_kinds(job)) == ("errored", "worker_died", ["killed"] * 3)

    processes.kill_tree(worker)
    processes.worker()
    assert ended(launch()).status == "succeeded"


def test_hung_trainer_is_killed_and_tried_again(processes, launch, ended, at_checkpoint):
    processes.worker(OUTSAMPLE_STALL_S="3")
    job = launch()
    os.kill(at_checkpoint(job).trainer_pid, signal.SIGSTOP)
    job = ended(job)

    assert (job.status, exit_kinds(job)) == ("succeeded", ["stalled", "ok"])


def test_broken_database_connections_do_not_end_a_run(processes, launch, ended, at_checkpoint):
    processes.worker()
    job = launch()
    at_checkpoint(job)
    for _ in range(5):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        time.sleep(0.3)
    job = ended(job)

    assert (job.status, exit_kinds(job)) == ("succeeded", ["ok"])
    assert job.log_lines.count() == 60


def test_wiped_broker_loses_no_job(processes, launch, ended):
    jobs = [launch() for _ in range(6)]
    with current_app.connection_for_write() as broker:
        broker.default_channel.client.flushall()
    # Spare the 30 s after which a published job counts as forgotten by the broker.
    Job.objects.update(published_at=F("published_at") - timedelta(seconds=31))
    processes.worker(FAKE_STEPS="3")
    processes.beat()

    done = [ended(job, 60) for job in jobs]
    assert [job.status for job in done] == ["succeeded"] * 6
    assert all(exit_kinds(job) == ["ok"] for job in done)
    starts = [job.started_at for job in done]
    assert starts == sorted(starts)


def test_one_message_ten_times_runs_once(processes, launch, ended):
    job = launch()
    for _ in range(9):
        publish(job.pk)
    processes.worker(FAKE_STEPS="5")
    job = ended(job)
    time.sleep(1)

    assert (job.status, exit_kinds(job)) == ("succeeded", ["ok"])
    assert job.log_lines.count() == 5
