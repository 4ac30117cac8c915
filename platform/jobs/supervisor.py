"""The thin process above a trainer: starts it, watches it, stops it, reads how it ended."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

from django.conf import settings
from django.db import Error

from jobs.attempts import RunningAttempt, StopReason
from jobs.errors import Fenced
from jobs.exits import Exit, exit_from_json, failed, with_process
from jobs.memory import peak_mib
from jobs.models import Job, JobAttempt
from jobs.statuses import FAILURES, ExitKind
from jobs.trainer import EXIT_PREEMPTED, LEASE_VARIABLE, HandedOver

logger = logging.getLogger(__name__)

POLL_S = 0.2
# Seconds between SIGTERM and SIGKILL; a draining worker must be gone within 30 s.
GRACE_S = {StopReason.DRAIN: 25.0}
CANCEL_GRACE_S = 30.0
# Threads that wait by spinning take the processor from the others of a busy machine: ten times slower.
QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
SILENCE_S = 5.0  # from the end of the child to that of its own children
LEAVE_S = 15.0  # from the committed result to the end of the process
KIND_OF_STOP = {
    StopReason.CANCEL: ExitKind.CANCELLED,
    StopReason.DRAIN: ExitKind.PREEMPTED,
    StopReason.TIME_LIMIT: ExitKind.TIME_LIMIT,
    StopReason.DATABASE_AWAY: ExitKind.PREEMPTED,
}


def supervise(job: Job, attempt: RunningAttempt, *, module: str, processes: int = 1) -> None:
    """Run `python -m module ATTEMPT` until it ends, and close the attempt by how it ended.

    Several processes are started by torchrun and count as one trainer. Call it from the main thread:
    the kernel ends the trainer when the thread that started it ends.
    """
    trainer = Trainer(attempt, module, processes)
    try:
        attempt.write(lambda: attempt.record_trainer(trainer.pid))
        Watch(attempt, trainer).until_exit()
        trainer.end_group()
        _close(attempt, trainer)
    finally:
        trainer.end_group()
        trainer.close_pipe()


class Trainer:
    """A child in its own session, with a pipe on which it says how it ended."""

    def __init__(self, attempt: RunningAttempt, module: str, processes: int) -> None:
        self._reader, writer = os.pipe()
        lease: HandedOver = {
            "token": str(attempt.lease.token),
            "parent_pid": os.getpid(),
            "report": f"/dev/fd/{writer}",
            "processes": processes,
        }
        started = [module] if processes == 1 else ["jobs.torchrun", str(processes), module]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *started, str(attempt.attempt_id)],
                env={**os.environ, **QUIET_THREADS, LEASE_VARIABLE: json.dumps(lease)},
                stdin=subprocess.DEVNULL,
                pass_fds=(writer,),
                start_new_session=True,
            )
        finally:
            os.close(writer)
        os.set_blocking(self._reader, False)
        self.pid = self._process.pid
        self.is_several = processes > 1
        self.peak_mib = 0
        self._said = b""

    def has_exited(self) -> bool:
        """True once it is dead; the pid stays reserved until `end_group` has reaped it."""
        if self._process.returncode is not None:
            return True
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None

    def send(self, signal_number: int) -> None:
        """Signal the whole group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal_number)

    def end_group(self) -> None:
        """Kill what is left of the group and reap the child."""
        if self._process.returncode is not None:
            return
        self.send(signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.peak_mib = peak_mib(usage)
        self._wait_for_silence()

    @property
    def return_code(self) -> int:
        return int(self._process.returncode)

    def _wait_for_silence(self) -> None:
        """Until no process holds the pipe: those of torchrun are in sessions of their own and die by
        the kernel's signal when it is gone, a moment later.
        """
        deadline = time.monotonic() + SILENCE_S
        while time.monotonic() < deadline:
            try:
                chunk = os.read(self._reader, 65536)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            if not chunk:
                return
            self._said += chunk
        logger.error("a process of the trainer is still alive", extra={"pid": self.pid})

    def report(self) -> Exit | None:
        """What the trainer said last; None when it said nothing. Call it after `end_group`."""
        return said_first([exit for line in self._said.splitlines() if (exit := _exit_in(line))])

    def close_pipe(self) -> None:
        os.close(self._reader)


def said_first(ends: list[Exit]) -> Exit | None:
    """Of what several processes said the end that names the cause: a failure the user can mend
    before all others, and the loss of a peer last.
    """
    ends = [end for end in ends if end.kind != ExitKind.KILLED] or ends
    ends = [end for end in ends if end.kind in FAILURES] or ends
    return ends[0] if ends else None


def _exit_in(line: bytes) -> Exit | None:
    try:
        return exit_from_json(json.loads(line))
    except ValueError:
        return None


class Watch:
    """Looks at a trainer five times a second and ends it when it must end."""

    def __init__(self, attempt: RunningAttempt, trainer: Trainer) -> None:
        self.attempt = attempt
        self.trainer = trainer
        self.started = time.monotonic()
        self.asked_at: float | None = None
        self.finished_at: float | None = None

    def until_exit(self) -> None:
        """Return when the trainer is dead. Raises Fenced when the lease went to another attempt."""
        while not self.trainer.has_exited():
            self.look(time.monotonic())
            time.sleep(POLL_S)

    def look(self, now: float) -> None:
        """One look; `now` is a monotonic clock in seconds."""
        attempt = self.attempt
        if attempt.lease_lost.is_set():
            self.trainer.send(signal.SIGKILL)
            raise Fenced(f"attempt {attempt.attempt_id} lost its lease")
        if attempt.ended.is_set():
            self._leave(now)
            return
        if now - self.started > settings.TIME_LIMIT_H * 3600:
            attempt.request_stop(StopReason.TIME_LIMIT)
        if attempt.stop_requested:
            self._stop(now)
        elif attempt.silent_s > settings.JOBS_STALL_S:
            attempt.stalled = True
            self.trainer.send(signal.SIGKILL)

    def _leave(self, now: float) -> None:
        self.finished_at = self.finished_at or now
        if now - self.finished_at > LEAVE_S:
            self.trainer.send(signal.SIGKILL)

    def _stop(self, now: float) -> None:
        if self.asked_at is None:
            self.asked_at = now
            self.trainer.send(signal.SIGTERM)
            return
        reason = self.attempt.stop_reason
        grace_s = GRACE_S.get(reason, CANCEL_GRACE_S) if reason else CANCEL_GRACE_S
        if now - self.asked_at > grace_s:
            self.trainer.send(signal.SIGKILL)


def _close(attempt: RunningAttempt, trainer: Trainer) -> None:
    said = trainer.report()
    code = trainer.return_code
    process = {
        "exit_code": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
    }
    end = exit_of_trainer(said, code, attempt, is_several=trainer.is_several)
    end = with_process(end, **process, peak_mib=trainer.peak_mib)
    if attempt.end(end) is None:
        # Closed by the trainer itself, with its results: only the process facts are missing.
        _note_process(attempt, process, trainer.peak_mib)


def _note_process(attempt: RunningAttempt, process: dict[str, int | None], peak_mib: int) -> None:
    rows = JobAttempt.objects.filter(pk=attempt.attempt_id, exit_kind=ExitKind.OK)
    try:
        rows.update(**process, peak_memory_mib=peak_mib)
    except Error as error:
        logger.warning("process facts not written: %s", error, extra=attempt.log_extra)


def exit_of_trainer(
    said: Exit | None, code: int, attempt: RunningAttempt, *, is_several: bool = False
) -> Exit:
    """The exit of a trainer from what it said, its exit code, and what was asked of it.

    When one of several processes is killed, torchrun stops the others and exits with 1.
    """
    if attempt.stalled:
        return Exit(ExitKind.STALLED)
    if said is not None and said.kind in FAILURES:
        return said
    stop = attempt.stop_reason
    if stop in KIND_OF_STOP:
        end = Exit(KIND_OF_STOP[stop], step=said.step if said else None)
        return _with_limit(end, attempt)
    if is_several and code > 0 and (said is None or said.kind == ExitKind.PREEMPTED):
        return Exit(ExitKind.KILLED)
    if said is not None and said.kind != ExitKind.OK:
        return said
    if code < 0:
        return Exit(ExitKind.KILLED)
    if code == EXIT_PREEMPTED:
        return Exit(ExitKind.PREEMPTED)
    return Exit(ExitKind.CRASHED)


def _with_limit(end: Exit, attempt: RunningAttempt) -> Exit:
    if end.kind != ExitKind.TIME_LIMIT:
        return end
    rows = JobAttempt.objects.filter(job=attempt.job_id, checkpoint_step__isnull=False)
    step = rows.order_by("-number").values_list("checkpoint_step", flat=True).first()
    if step is None:
        return end
    error = failed(ExitKind.TIME_LIMIT, hours=settings.TIME_LIMIT_H, checkpoint_step=step)
    return replace(end, message=error.message)
