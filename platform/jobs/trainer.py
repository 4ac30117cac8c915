"""The trainer's side of supervision. Imports nothing heavy: its first call must come first.

from jobs.trainer import die_with_parent, leave, run
die_with_parent()
...
if __name__ == "__main__":
    leave(run(main))
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypedDict

if TYPE_CHECKING:
    from jobs.attempts import RunningAttempt
    from jobs.exits import Exit

logger = logging.getLogger(__name__)

LEASE_VARIABLE = "OUTSAMPLE_LEASE"
PR_SET_PDEATHSIG = 1
FLUSH_EVERY_S = 1.0
LAST_FLUSH_S = 10.0

EXIT_OK = 0
EXIT_FAILED = 65
EXIT_CRASHED = 70
EXIT_PREEMPTED = 75
EXIT_FENCED = 77
EXIT_NO_PARENT = 78


class HandedOver(TypedDict):
    """`report` is the path of the channel on which a trainer says how it ended."""

    token: str
    parent_pid: int
    report: str
    processes: int


@dataclass(frozen=True)
class Place:
    """Which of the processes of one attempt this is; `local_rank` counts those of this machine."""

    rank: int
    local_rank: int
    processes: int

    @property
    def is_leader(self) -> bool:
        return self.rank == 0


def handed_over() -> HandedOver:
    """What the supervisor gave by environment; ends the process when there is none."""
    text = os.environ.get(LEASE_VARIABLE, "")
    if not text:
        sys.stderr.write("This program is started by the training task only.\n")
        raise SystemExit(2)
    found: HandedOver = json.loads(text)
    return found


def place() -> Place:
    """Where torchrun put this process; a trainer without torchrun is the only one."""
    processes = handed_over()["processes"]
    if processes == 1:
        return Place(0, 0, 1)
    return Place(int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), processes)


def die_with_parent() -> None:
    """End this process with its supervisor. The first statement of a trainer, before torch."""
    parent_pid = handed_over()["parent_pid"]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_poll_parent, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:
        os._exit(EXIT_NO_PARENT)


def _poll_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def attach(attempt_id: str | int) -> RunningAttempt:
    """The running attempt this process works for; it heartbeats in the supervisor, not here.

    SIGTERM from now on sets `stop_requested`. Raises Fenced when the attempt is no longer open.
    """
    from jobs.attempts import RunningAttempt, StopReason
    from jobs.claim import Lease
    from jobs.errors import Fenced
    from jobs.models import JobAttempt

    token = uuid.UUID(handed_over()["token"])
    rows = JobAttempt.objects.filter(pk=int(attempt_id), lease_token=token, ended_at=None)
    row = rows.first()
    if row is None:
        raise Fenced(f"attempt {attempt_id} is not open")
    attempt = RunningAttempt(Lease(row.job_id, row.pk, token, row.number))
    signal.signal(signal.SIGTERM, lambda *_: attempt.request_stop(StopReason.SIGNAL))
    return attempt


def run(main: Callable[[RunningAttempt], None]) -> int:
    """Attach to the attempt named on the command line, run `main(attempt)`, report how it ended.

    The exit code belongs to `leave`.
    """
    die_with_parent()
    import django

    django.setup()
    from jobs.errors import Fenced

    try:
        attempt = attach(sys.argv[1])
    except Fenced:
        return EXIT_FENCED
    report = _open_report()
    stop_flushing = _start_flushing(attempt)
    end = _end_of(main, attempt)
    stop_flushing()
    _flush_last(attempt)
    _write_report(report, end)
    return exit_code(end)


def run_beside(body: Callable[[], None]) -> int:
    """Run the body of a follower, which holds no lease and writes nothing but how it failed.

    The leader decides when all stop, so SIGTERM is not for a follower that has met it.
    """
    die_with_parent()
    import django

    django.setup()
    from jobs.exits import exit_of

    report = _open_report()
    try:
        body()
        return EXIT_OK
    except Exception as error:
        end = exit_of(error)
        if end.error_reference:
            logger.exception("follower %s [%s]", end.kind, end.error_reference)
        _write_report(report, end)
        return exit_code(end)


def leave(code: int) -> NoReturn:
    """End this process now. All is written, and to take torch apart costs seconds on a busy machine."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code(end: Exit) -> int:
    """The exit code that belongs to an exit kind."""
    from jobs.statuses import FAILURES, ExitKind

    if end.kind in FAILURES:
        return EXIT_FAILED
    codes = {
        ExitKind.OK: EXIT_OK,
        ExitKind.PREEMPTED: EXIT_PREEMPTED,
        ExitKind.FENCED: EXIT_FENCED,
    }
    return codes.get(end.kind, EXIT_CRASHED)


def _end_of(main: Callable[[RunningAttempt], None], attempt: RunningAttempt) -> Exit:
    from dataclasses import replace

    from jobs.exits import Exit, exit_of, new_reference
    from jobs.statuses import FAILURES, ExitKind

    try:
        main(attempt)
        if attempt.ended.is_set():
            return Exit(ExitKind.OK)
        reference = new_reference()
        logger.error("trainer returned without a result [%s]", reference, extra=attempt.log_extra)
        return Exit(ExitKind.CRASHED, error_reference=reference)
    except Exception as error:
        end = replace(exit_of(error), step=attempt.step)
        if end.kind not in FAILURES | {ExitKind.PREEMPTED, ExitKind.FENCED}:
            text = f"trainer {end.kind} [{end.error_reference}]"
            logger.error(text, exc_info=error, extra=attempt.log_extra)
        return end


def _start_flushing(attempt: RunningAttempt) -> Callable[[], None]:
    done = threading.Event()

    def flush_until_done() -> None:
        from django.db import connection

        while not done.wait(FLUSH_EVERY_S):
            try:
                attempt.flush_patiently()
            except Exception:
                # Progress is not worth a run: say so in the log and go on.
                logger.exception("flush", extra=attempt.log_extra)
        connection.close()

    thread = threading.Thread(target=flush_until_done, name="flush", daemon=True)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join(LAST_FLUSH_S)

    return stop


def _flush_last(attempt: RunningAttempt) -> None:
    from django.db import Error

    from jobs.errors import Fenced

    with suppress(Error, Fenced):
        attempt.flush()


def _open_report() -> int:
    """Held until the process is gone: its end tells the supervisor that."""
    return os.open(handed_over()["report"], os.O_WRONLY)


def _write_report(channel: int, end: Exit) -> None:
    """One line, so that several processes may write."""
    text = json.dumps(
        {
            "kind": str(end.kind),
            "code": end.code,
            "message": end.message[:2000],
            "error_reference": end.error_reference,
            "step": end.step,
        }
    )
    with suppress(OSError):
        os.write(channel, f"{text}\n".encode())
