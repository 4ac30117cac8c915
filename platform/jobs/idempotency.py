"""The same request twice starts the work once."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.db.models.functions import Now

from accounts.models import Workspace
from jobs.claim import lock
from jobs.errors import InvalidIdempotencyKey, JobConflict
from jobs.models import Job

KEPT = timedelta(hours=24)
MAX_LENGTH = 200


def check_key(key: str) -> str:
    """The key itself, or InvalidIdempotencyKey."""
    if not 1 <= len(key) <= MAX_LENGTH or not all("!" <= character <= "~" for character in key):
        raise InvalidIdempotencyKey(
            f"Idempotency-Key has {len(key)} characters;"
            f" expected 1 to {MAX_LENGTH} visible ASCII characters"
        )
    return key


def replay(workspace: Workspace, key: str, request_sha256: str) -> Job | None:
    """The job this request started before (its newest resume), or None when it is new.

    Call it inside the transaction that will make the rows: an equal request that runs at the same
    moment then waits here until this one commits. JobConflict when the key belongs to another body.
    """
    if not key:
        return None
    check_key(key)
    if not connection.in_atomic_block:
        raise RuntimeError("replay needs the transaction that makes the rows")
    lock("outsample.jobs.idempotency", f"{workspace.pk}:{key}")
    first = _first(workspace, key)
    if first is None:
        return None
    if first.request_sha256 != request_sha256:
        raise JobConflict("idempotency_conflict", job=first)
    return _newest(first)


def remember(job: Job, key: str, request_sha256: str) -> None:
    """Let a key that `replay` did not know stand for a job made in the same transaction."""
    if key:
        job.idempotency_key, job.request_sha256 = key, request_sha256
        job.save(update_fields=["idempotency_key", "request_sha256"])


def recent(workspace: Workspace, key: str) -> Job | None:
    first = _first(workspace, key)
    return _newest(first) if first is not None else None


def _first(workspace: Workspace, key: str) -> Job | None:
    rows = Job.objects.filter(workspace=workspace, idempotency_key=key, created_at__gt=Now() - KEPT)
    return rows.order_by("created_at").first()


def _newest(job: Job) -> Job:
    # The subject row points at the newest job of the chain.
    return [job, *job.resumes()][-1]
