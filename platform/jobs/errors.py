"""What can go wrong with a job, as exceptions that services, pipelines and the trainer raise."""

from __future__ import annotations

from typing import Any


class JobFailed(Exception):
    """The user can mend it: `code` for programs, `message` says what to do next."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class StopRequested(Exception):
    """The work was asked to stop; raised between two steps."""


class Fenced(Exception):
    """The lease of this attempt is gone; nothing more may be written."""


class PeerLost(Exception):
    """Another process of this attempt is gone; whoever knows why has said so."""


class JobConflict(Exception):
    """A request that the state of the job does not allow (409); `job` where there is one."""

    def __init__(self, code: str, message: str = "", job: Any = None) -> None:  # Any: a Job row
        self.code = code
        self.message = message or CONFLICTS[code]
        self.job = job
        super().__init__(f"{code}: {self.message}")


CONFLICTS = {
    "job_finished": "This job has already ended.",
    "job_active": "This job has not ended yet. Cancel it first or wait.",
    "no_checkpoint": "There is no checkpoint to resume from. Start a new run.",
    "checkpoint_incompatible": "The code has changed since the checkpoint. Start a new run.",
    "idempotency_conflict": "This Idempotency-Key was used with another request. Use a new key.",
}


class QueueFull(Exception):
    """A quota of the workspace is used up (429); try again after `retry_after_s`."""

    def __init__(self, code: str, message: str, retry_after_s: int) -> None:
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        super().__init__(f"{code}: {message}")


class InvalidIdempotencyKey(ValueError):
    """The Idempotency-Key is not 1 to 200 visible ASCII characters."""


class ForbiddenTransition(AssertionError):
    """Our code asked for a change of state that the table does not know."""
