from __future__ import annotations

import uuid

from jobs.models import JobEvent
from jobs.statuses import EventKind


def record(
    job_id: uuid.UUID, kind: EventKind, *, attempt_id: int | None = None, **data: object
) -> None:
    """Append one event; call it in the transaction of what it tells."""
    JobEvent.objects.create(job_id=job_id, attempt_id=attempt_id, kind=kind, data=data)
