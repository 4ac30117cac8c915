"""The second thread of an attempt: heartbeat, cancel flag, drain, flushes, and the last resort."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.db import Error, connection

from jobs import workers
from jobs.attempts import RunningAttempt, StopReason, drop_connection
from jobs.events import record
from jobs.exits import Exit
from jobs.statuses import EventKind, ExitKind

logger = logging.getLogger(__name__)
TICK_S = 1.0


@dataclass(frozen=True)
class Patience:
    """How long a stop may take before the process is ended by force, in seconds."""

    obey_s: float = 30.0  # after a cancel or a lost lease
    drain_ask_s: float = 15.0  # draining: time to finish before the stop is asked
    drain_end_s: float = 20.0  # draining: time before the attempt is closed as preempted


# A supervisor stops its trainer itself; its pulse steps in only when the supervisor hangs.
SUPERVISOR = Patience(obey_s=60.0, drain_ask_s=0.0, drain_end_s=28.0)


class Pulse:
    """Looks once a second and heartbeats every JOBS_HEARTBEAT_S, until stopped."""

    def __init__(
        self,
        attempt: RunningAttempt,
        patience: Patience,
        *,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.attempt = attempt
        self.patience = patience
        self.exit_process = exit_process
        self._next_beat = 0.0
        self._draining_since: float | None = None
        self._stopping_since: float | None = None
        self._last_failure = 0.0

    def tick(self, now: float) -> None:
        """One look; `now` is a monotonic clock in seconds."""
        self._follow_database(now)
        self._follow_drain(now)
        self._end_disobedience(now)

    def _follow_database(self, now: float) -> None:
        try:
            beat = self.attempt.beat() if now >= self._next_beat else self.attempt.look()
        except Error as error:
            logger.warning("heartbeat failed: %s", error, extra=self.attempt.log_extra)
            drop_connection()
            self._last_failure = now
            return
        if now >= self._next_beat:
            self._next_beat = now + settings.JOBS_HEARTBEAT_S
        if beat is None:
            self._lease_gone()
            return
        # After an outage the trainer's own writes come late: do not count that as silence.
        self.attempt.silent_s = min(beat.silent_s, now - self._last_failure)
        if beat.cancelling:
            self.attempt.request_stop(StopReason.CANCEL)
        self.attempt.flush_patiently()

    def _lease_gone(self) -> None:
        attempt = self.attempt
        if attempt.lease_lost.is_set() or attempt.ended.is_set():
            return
        if attempt.has_succeeded():  # its trainer closed it, together with the results
            attempt.ended.set()
            return
        attempt.lose_lease()

    def _follow_drain(self, now: float) -> None:
        if not workers.is_draining():
            return
        if self._draining_since is None:
            self._draining_since = now
        if now - self._draining_since >= self.patience.drain_ask_s:
            self.attempt.request_stop(StopReason.DRAIN)

    def _end_disobedience(self, now: float) -> None:
        attempt = self.attempt
        if attempt.ended.is_set():
            return
        drained = self._draining_since
        if drained is not None and now - drained > self.patience.drain_end_s:
            self._end(ExitKind.PREEMPTED)
            return
        asked = attempt.lease_lost.is_set() or attempt.stop_reason == StopReason.CANCEL
        if asked and self._stopping_since is None:
            self._stopping_since = now
        if self._stopping_since is not None and now - self._stopping_since > self.patience.obey_s:
            self._end(ExitKind.FENCED if attempt.lease_lost.is_set() else ExitKind.CANCELLED)

    def _end(self, kind: ExitKind) -> None:
        logger.error("work did not stop in time, leaving by force", extra=self.attempt.log_extra)
        if kind == ExitKind.FENCED:
            record(self.attempt.job_id, EventKind.FENCED, attempt_id=self.attempt.attempt_id)
        else:
            self.attempt.end(Exit(kind))
        self.exit_process(70)


@contextmanager
def pulsing(attempt: RunningAttempt, patience: Patience) -> Iterator[Pulse]:
    """Run a pulse beside the body, and stop it afterwards."""
    pulse = Pulse(attempt, patience)
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(pulse, stop), name="pulse", daemon=True)
    thread.start()
    try:
        yield pulse
    finally:
        stop.set()
        thread.join(timeout=10)


def _run(pulse: Pulse, stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            try:
                pulse.tick(time.monotonic())
            except Exception:
                # The pulse must outlive any mistake: without it the lease runs out.
                logger.exception("pulse", extra=pulse.attempt.log_extra)
            stop.wait(TICK_S)
    finally:
        connection.close()
