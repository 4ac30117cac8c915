from __future__ import annotations

import json
import os
import signal
import uuid

import pytest

from jobs.attempts import RunningAttempt, StopReason
from jobs.claim import Lease
from jobs.errors import Fenced
from jobs.exits import Exit
from jobs.statuses import ExitKind
from jobs.supervisor import Trainer, Watch, exit_of_trainer, said_first
from jobs.torchrun import lease_for_children
from jobs.trainer import LEASE_VARIABLE, exit_code, place


@pytest.fixture
def attempt() -> RunningAttempt:
    return RunningAttempt(Lease(uuid.uuid4(), 1, uuid.uuid4(), 1))


class Recorder(Trainer):
    """A trainer that only notes the signals it gets."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def send(self, signal_number: int) -> None:
        self.signals.append(signal_number)


@pytest.fixture
def watch(attempt) -> Watch:
    watch = Watch(attempt, Recorder())
    watch.started = 0.0
    return watch


@pytest.mark.parametrize(
    "said, code, stop, kind",
    [
        (Exit(ExitKind.OK), 0, None, ExitKind.CRASHED),  # said ok, but the lease is still open
        (Exit(ExitKind.DIVERGED), 65, None, ExitKind.DIVERGED),
        (Exit(ExitKind.CRASHED), 70, None, ExitKind.CRASHED),
        (Exit(ExitKind.PREEMPTED), 75, StopReason.CANCEL, ExitKind.CANCELLED),
        (Exit(ExitKind.PREEMPTED), 75, StopReason.DRAIN, ExitKind.PREEMPTED),
        (Exit(ExitKind.OOM), 65, StopReason.CANCEL, ExitKind.OOM),
        (None, -9, None, ExitKind.KILLED),
        (None, -11, None, ExitKind.KILLED),
        (None, -9, StopReason.CANCEL, ExitKind.CANCELLED),
        (None, -9, StopReason.DRAIN, ExitKind.PREEMPTED),
        (None, 75, None, ExitKind.PREEMPTED),
        (None, 1, None, ExitKind.CRASHED),
    ],
)
def test_end_of_a_trainer_is_read_from_report_code_and_request(attempt, said, code, stop, kind):
    if stop:
        attempt.request_stop(stop)

    assert exit_of_trainer(said, code, attempt).kind == kind


@pytest.mark.parametrize(
    "said, code, stop, kind",
    [
        (None, 1, None, ExitKind.KILLED),  # torchrun's exit code when one of them was killed
        (Exit(ExitKind.KILLED), 1, None, ExitKind.KILLED),
        (Exit(ExitKind.PREEMPTED), 1, None, ExitKind.KILLED),  # stopped by torchrun, not by us
        (Exit(ExitKind.PREEMPTED), 1, StopReason.DRAIN, ExitKind.PREEMPTED),
        (None, 1, StopReason.CANCEL, ExitKind.CANCELLED),
        (Exit(ExitKind.OOM), 1, None, ExitKind.OOM),
        (Exit(ExitKind.CRASHED), 1, None, ExitKind.CRASHED),
    ],
)
def test_end_of_several_processes_is_told_apart_from_the_end_of_one(
    attempt, said, code, stop, kind
):
    if stop:
        attempt.request_stop(stop)

    assert exit_of_trainer(said, code, attempt, is_several=True).kind == kind


@pytest.mark.parametrize(
    "kinds, first",
    [
        (["killed", "oom"], "oom"),  # the leader lost the follower that had no memory
        (["crashed", "diverged"], "diverged"),
        (["killed", "crashed"], "crashed"),
        (["killed", "killed"], "killed"),
        (["preempted"], "preempted"),
    ],
)
def test_process_that_knows_the_cause_is_believed(kinds, first):
    assert said_first([Exit(ExitKind(kind)) for kind in kinds]).kind == first


def test_silent_processes_said_nothing():
    assert said_first([]) is None


def test_children_of_torchrun_get_its_pid_and_the_channel_by_its_path(monkeypatch):
    lease = {"token": "t", "parent_pid": 1, "report": "/dev/fd/7", "processes": 2}
    monkeypatch.setenv(LEASE_VARIABLE, json.dumps(lease))

    handed = lease_for_children()
    assert handed["parent_pid"] == os.getpid()
    assert handed["report"] == f"/proc/{os.getpid()}/fd/7"


def test_place_is_read_from_torchrun_only_when_there_are_several(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    lease = {"token": "t", "parent_pid": 1, "report": "", "processes": 1}
    monkeypatch.setenv(LEASE_VARIABLE, json.dumps(lease))
    assert place().is_leader

    monkeypatch.setenv(LEASE_VARIABLE, json.dumps({**lease, "processes": 2}))
    assert (place().rank, place().processes, place().is_leader) == (1, 2, False)


def test_stalled_trainer_counts_as_stalled_not_killed(attempt):
    attempt.stalled = True

    assert exit_of_trainer(None, -9, attempt).kind == ExitKind.STALLED


def test_time_limit_names_the_step_to_go_on_from(make_training, start, settings):
    settings.TIME_LIMIT_H = 24
    running = start(make_training())
    with running.fenced():
        running.record_checkpoint(300)
    running.request_stop(StopReason.TIME_LIMIT)

    end = exit_of_trainer(Exit(ExitKind.PREEMPTED), 75, running)
    assert end.message == (
        "Stopped after 24 h, the limit of this workspace. Resume continues from step 300."
    )


def test_cancel_asks_once_and_kills_after_30_s(watch, attempt):
    attempt.request_stop(StopReason.CANCEL)
    for now in (1.0, 2.0, 31.0):
        watch.look(now)
    assert watch.trainer.signals == [signal.SIGTERM]

    watch.look(31.1)
    assert watch.trainer.signals == [signal.SIGTERM, signal.SIGKILL]


def test_drain_kills_in_time_for_the_worker_to_leave(watch, attempt):
    attempt.request_stop(StopReason.DRAIN)
    watch.look(1.0)
    watch.look(26.1)

    assert watch.trainer.signals == [signal.SIGTERM, signal.SIGKILL]


def test_lost_lease_kills_at_once(watch, attempt):
    attempt.lose_lease()

    with pytest.raises(Fenced):
        watch.look(1.0)
    assert watch.trainer.signals == [signal.SIGKILL]


def test_silence_beyond_the_limit_kills(watch, attempt, settings):
    settings.JOBS_STALL_S = 600
    attempt.silent_s = 600.0
    watch.look(1.0)
    assert watch.trainer.signals == []

    attempt.silent_s = 601.0
    watch.look(2.0)
    assert watch.trainer.signals == [signal.SIGKILL]
    assert attempt.stalled


def test_finished_trainer_gets_time_to_leave(watch, attempt):
    attempt.ended.set()
    watch.look(1.0)
    watch.look(15.0)
    assert watch.trainer.signals == []

    watch.look(16.1)
    assert watch.trainer.signals == [signal.SIGKILL]


def test_wall_clock_limit_asks_to_stop(watch, attempt, settings):
    settings.TIME_LIMIT_H = 1
    watch.look(3601.0)

    assert attempt.stop_reason == StopReason.TIME_LIMIT
    assert watch.trainer.signals == [signal.SIGTERM]


def test_exit_codes_are_distinct_for_what_the_supervisor_must_tell_apart():
    kinds = [ExitKind.OK, ExitKind.OOM, ExitKind.CRASHED, ExitKind.PREEMPTED, ExitKind.FENCED]

    assert [exit_code(Exit(kind)) for kind in kinds] == [0, 65, 70, 75, 77]
