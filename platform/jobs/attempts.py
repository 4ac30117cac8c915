"""The running side of an attempt: progress, log, stop requests, and writes under the lease."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from typing import TypeVar

from django.db import (
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import Q
from django.db.models.functions import Now

from jobs.claim import Lease
from jobs.errors import Fenced, StopRequested
from jobs.events import record
from jobs.exits import Exit
from jobs.log_lines import log_row, write_log_lines
from jobs.models import Job, JobAttempt
from jobs.spool import Row, Spool, SpoolFull, Writer
from jobs.statuses import ACTIVE, EventKind, ExitKind, JobStatus
from jobs.transitions import end_attempt

logger = logging.getLogger(__name__)
T = TypeVar("T")

DATABASE_PATIENCE_S = 300.0
FLUSH_WAIT_S = 10.0
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)


class StopReason(StrEnum):
    CANCEL = "cancel"
    DRAIN = "drain"
    TIME_LIMIT = "time_limit"
    DATABASE_AWAY = "database_away"
    SIGNAL = "signal"


class RunningAttempt:
    """What a job's body holds. Safe to use from the thread of the work and that of the pulse."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.job_id: uuid.UUID = lease.job_id
        self.attempt_id = lease.attempt_id
        self.number = lease.number
        self.step: int | None = None
        self.silent_s = 0.0  # since the last progress, as the pulse saw it
        self.stop_reason: StopReason | None = None
        self.stalled = False
        self.lease_lost = threading.Event()
        self.ended = threading.Event()
        self._stop = threading.Event()
        self._closing = False
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._progress: tuple[float, str] | None = None
        self._told: dict[str, float | None] = {}
        self._spool = Spool()
        self._away_since: float | None = None

    @property
    def stop_requested(self) -> bool:
        return self._stop.is_set() or self.lease_lost.is_set()

    def request_stop(self, reason: StopReason) -> None:
        """Ask the work to stop at its next look; the first reason stays."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self._stop.set()

    def wait_for_stop(self, timeout_s: float) -> bool:
        """Sleep, but wake at once when asked to stop."""
        return self._stop.wait(timeout_s)

    def raise_if_stopping(self) -> None:
        """Call between two steps. Raises StopRequested, or Fenced when the lease is gone."""
        if self.lease_lost.is_set():
            raise Fenced(f"attempt {self.attempt_id} lost its lease")
        if self._stop.is_set():
            raise StopRequested(self.stop_reason or "")

    def progress(self, fraction: float, message: str = "", *, step: int | None = None) -> None:
        """Tell how far the work is (0 to 1); written at most once a second by the pulse."""
        with self._lock:
            self._progress = (min(1.0, max(0.0, fraction)), message)
            if step is not None:
                self.step = step

    def tell(self, **figures: float | None) -> None:
        """Tell finite figures of the work for its page; written with the next progress.

        `left_s` are the seconds left at most, None while they are not known; `found_done` is the
        share of the progress that earlier attempts have made.
        """
        with self._lock:
            self._told = self._told | figures

    def log(self, text: str, level: str = "info") -> None:
        """Add a line to the log that the user reads."""
        self.defer(write_log_lines, log_row(self.job_id, self.attempt_id, text, level))

    def defer(self, writer: Writer, row: Row) -> None:
        """Write a JSON row soon, under the lease, by a module-level function of many rows.

        Rows wait on disk while the database is away. The writer may see a row twice when a commit
        was in doubt, so it upserts.
        """
        try:
            self._spool.add(writer, row)
        except SpoolFull:
            self.request_stop(StopReason.DATABASE_AWAY)

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """A transaction that only commits while the lease is ours. Raises Fenced before the body."""
        try:
            with transaction.atomic():
                self._hold_lease()
                yield
        except BaseException:
            self._closing = False
            raise

    def write(self, body: Callable[[], T]) -> T:
        """Run `body` in `fenced()`, again and again while the database is away, up to 5 minutes.

        The body must be safe to repeat: a commit whose answer got lost is done again.
        """

        def under_lease() -> T:
            with self.fenced():
                return body()

        return self._patiently(under_lease)

    def flush_first(self) -> None:
        """Write the waiting rows now, as patiently as `write`.

        For rows that nobody makes again once the next write is done: the metrics up to a checkpoint.
        """
        self._patiently(self.flush)

    def _patiently(self, action: Callable[[], T]) -> T:
        deadline = time.monotonic() + DATABASE_PATIENCE_S
        for attempt in range(1000):
            try:
                return action()
            except (OperationalError, InterfaceError):
                drop_connection()
                if time.monotonic() > deadline:
                    self.request_stop(StopReason.DATABASE_AWAY)
                    raise
                time.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
        raise OperationalError("the database did not come back")

    def _hold_lease(self) -> None:
        # FOR KEY SHARE lets heartbeats pass and holds off whoever wants to close the attempt.
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM {JobAttempt._meta.db_table}"
                " WHERE id = %s AND lease_token = %s AND ended_at IS NULL FOR KEY SHARE",
                [self.attempt_id, self.lease.token],
            )
            if cursor.fetchone() is None:
                self.lose_lease()
                raise Fenced(f"attempt {self.attempt_id} lost its lease")

    def lose_lease(self) -> None:
        if not self._closing and not self.ended.is_set():
            self.lease_lost.set()
            self._stop.set()

    def event(self, kind: EventKind, **data: object) -> None:
        """Append an event of this attempt; inside `fenced()` it belongs to that transaction."""
        record(self.job_id, kind, attempt_id=self.attempt_id, **data)

    def record_checkpoint(self, step: int, **data: object) -> None:
        """Note a finished checkpoint; call it inside `fenced()` beside its row."""
        self._update_attempt(checkpoint_step=step, progress_at=Now())
        self.event(EventKind.CHECKPOINT, step=step, **data)

    def record_device(self, device: str) -> None:
        """Note where the work runs, for example "cpu" or the name of the GPU."""
        with self.fenced():
            self._update_attempt(device=device[:100])

    def record_trainer(self, pid: int) -> None:
        with self.fenced():
            self._update_attempt(trainer_pid=pid)

    def _update_attempt(self, **values: object) -> None:
        JobAttempt.objects.filter(pk=self.attempt_id).update(**values)

    def succeed(self, message: str = "") -> None:
        """End the job as succeeded; inside `fenced()`, in the transaction of the result rows."""
        if not connection.in_atomic_block:
            raise RuntimeError("succeed belongs inside fenced(), beside the result rows")
        self._closing = True  # the pulse writes nothing from here on
        if self._flushing.acquire(timeout=FLUSH_WAIT_S):
            self._flushing.release()
            self._write_rows()
        status = self._end(Exit(ExitKind.OK, message=message))
        if status is None:
            self._closing = False
            self.lose_lease()
            raise Fenced(f"attempt {self.attempt_id} lost its lease")
        transaction.on_commit(self.ended.set)

    def end(self, end: Exit) -> JobStatus | None:
        """Close the attempt; None when it was no longer ours or already closed.

        The last log lines go with it. Tries again while the database is away, up to one minute;
        after that the reconciler finds the attempt by its old heartbeat.
        """
        self._closing = True
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._flush_and_end(end)
            except (OperationalError, InterfaceError):
                drop_connection()
                if time.monotonic() > deadline:
                    logger.exception("attempt left to the reconciler", extra=self.log_extra)
                    return None
                time.sleep(1)

    def _flush_and_end(self, end: Exit) -> JobStatus | None:
        with suppress(Fenced), self._flushing, self.fenced():
            self._write_pending()
        status = self._end(end)
        self.ended.set()
        return status

    def _end(self, end: Exit) -> JobStatus | None:
        return end_attempt(self.attempt_id, end, Q(lease_token=self.lease.token))

    def is_open(self) -> bool:
        rows = JobAttempt.objects.filter(pk=self.attempt_id, lease_token=self.lease.token)
        return rows.filter(ended_at=None).exists()

    def has_succeeded(self) -> bool:
        rows = JobAttempt.objects.filter(pk=self.attempt_id, lease_token=self.lease.token)
        return rows.filter(exit_kind=ExitKind.OK).exists()

    @property
    def log_extra(self) -> dict[str, object]:
        return {"job_id": self.job_id, "attempt": self.number}

    def flush(self) -> None:
        """Write progress and waiting rows under the lease. Raises Fenced or a database error."""
        if self._closing or self.ended.is_set():
            return
        if self._progress is None and not len(self._spool):
            return
        with self._flushing, self.fenced():
            if not self._closing:
                self._write_pending()

    def _write_pending(self) -> None:
        with self._lock:
            progress, self._progress = self._progress, None
            told = self._told
        if progress is not None:
            self._write_progress(*progress, told)
        self._write_rows()

    def _write_rows(self) -> None:
        groups, size = self._spool.waiting()
        for writer, rows in groups:
            writer(rows)
        transaction.on_commit(partial(self._spool.forget, size))

    def _write_progress(self, fraction: float, message: str, told: dict[str, float | None]) -> None:
        self._update_attempt(progress_at=Now(), told=told)
        rows = Job.objects.filter(pk=self.job_id, status__in=ACTIVE)
        rows.update(progress=fraction, message=message)

    def flush_patiently(self) -> None:
        """Flush; a database that is away is waited for, and after 5 minutes the work stops."""
        try:
            self.flush()
        except Fenced:
            return
        except (OperationalError, InterfaceError):
            drop_connection()
            self._note_absence()
            return
        self._away_since = None

    def _note_absence(self) -> None:
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            logger.warning("database away, rows wait on disk", extra=self.log_extra)
        if now - self._away_since > DATABASE_PATIENCE_S:
            self.request_stop(StopReason.DATABASE_AWAY)

    def beat(self) -> Beat | None:
        """Renew the lease and look for a cancel. None: the attempt is no longer open."""
        return _beat(self, "SET heartbeat_at = statement_timestamp()")

    def look(self) -> Beat | None:
        """Look for a cancel without renewing the lease."""
        return _beat(self, "")


class Beat:
    """What one look at the database told: is a cancel asked, and how long ago was progress."""

    def __init__(self, status: str, silent_s: float) -> None:
        self.cancelling = status == JobStatus.CANCELLING
        self.silent_s = silent_s


def _beat(attempt: RunningAttempt, change: str) -> Beat | None:
    attempts, jobs = JobAttempt._meta.db_table, Job._meta.db_table
    open_here = "a.id = %s AND a.lease_token = %s AND a.ended_at IS NULL AND j.id = a.job_id"
    told = "j.status, extract(epoch FROM statement_timestamp() - coalesce(a.progress_at, a.started_at))"
    if change:
        sql = f"UPDATE {attempts} a {change} FROM {jobs} j WHERE {open_here} RETURNING {told}"
    else:
        sql = f"SELECT {told} FROM {attempts} a, {jobs} j WHERE {open_here}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [attempt.attempt_id, attempt.lease.token])
        row = cursor.fetchone()
    return Beat(row[0], float(row[1])) if row else None


def drop_connection() -> None:
    """Forget a connection that broke; the next query opens another one."""
    connection.close()
