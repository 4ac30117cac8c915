"""The log a user reads on the run page."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max
from django.db.models.functions import Now
from django.utils import timezone

from jobs.claim import lock
from jobs.models import Job, JobLogLine
from jobs.spool import Row

TEXT_LENGTH = 2000
KEPT_FIRST = 500
KEPT_LAST = 4500


def escape_controls(text: str) -> str:
    """Printable text: control characters and lone surrogates become backslash escapes."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        else character
        for character in text
    )


def log_row(job_id: uuid.UUID, attempt_id: int | None, text: str, level: str) -> Row:
    """A line as it waits in the spool. Its instant is corrected by age when it is written."""
    return {
        "key": str(uuid.uuid4()),
        "job": str(job_id),
        "attempt": attempt_id,
        "at": timezone.now().isoformat(),
        "level": level,
        "text": escape_controls(text)[:TEXT_LENGTH],
    }


def write_log_lines(rows: Sequence[Row]) -> None:
    """Append lines to the log of one job and keep its first 500 and last 4500.

    Lines that are there already, after a commit in doubt, are not written again.
    """
    job_id = uuid.UUID(rows[0]["job"])
    lock("outsample.jobs.log", str(job_id))
    rows = _unwritten(rows)
    if not rows:
        return
    number = JobLogLine.objects.filter(job=job_id).aggregate(last=Max("number"))["last"] or 0
    lag = _database_now(job_id) - timezone.now()
    JobLogLine.objects.bulk_create(
        JobLogLine(
            key=row["key"],
            job_id=job_id,
            attempt_id=row["attempt"],
            number=number + place,
            at=datetime.fromisoformat(row["at"]) + lag,
            level=row["level"],
            text=row["text"],
        )
        for place, row in enumerate(rows, start=1)
    )
    number += len(rows)
    stale = JobLogLine.objects.filter(
        job=job_id, number__gt=KEPT_FIRST, number__lte=number - KEPT_LAST
    )
    stale.delete()


def _unwritten(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows after the last written one: rows wait in order and are committed together.

    So lines that were written, and dropped since from the middle of a long log, stay dropped.
    """
    keys = [row["key"] for row in rows]
    found = JobLogLine.objects.filter(key__in=keys).values_list("key", flat=True)
    known = {str(key) for key in found}
    written = [place for place, key in enumerate(keys) if key in known]
    return rows[written[-1] + 1 :] if written else rows


def _database_now(job_id: uuid.UUID) -> datetime:
    now: datetime = Job.objects.filter(pk=job_id).values_list(Now(), flat=True).get()
    return now
