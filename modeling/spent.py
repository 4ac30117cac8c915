"""What a run was estimated to cost against what it did cost."""

from __future__ import annotations

from typing import Any

from jobs.models import JobAttempt
from jobs.statuses import JobStatus
from modeling.models import TrainingRun
from modeling.services import estimate
from specs.declaration import InvalidSpec


def spent_rows(run: TrainingRun, attempt: JobAttempt | None) -> list[dict[str, Any]]:
    """Time of a run that succeeded and peak memory of its last attempt, each beside its estimate; else none."""
    if run.job.status != JobStatus.SUCCEEDED:
        return []
    try:
        planned = estimate(run.experiment.model_spec, run.experiment.pool)
    except InvalidSpec:
        return []
    duration = run.job.duration
    return [
        {
            "label": "Time",
            "kind": "seconds",
            "unit": "",
            "low": planned["seconds_low"],
            "high": planned["seconds_high"],
            "actual": duration.total_seconds() if duration else None,
        },
        {
            "label": "Memory",
            "kind": "count",
            "unit": "MiB",
            "low": planned["memory_mib"],
            "high": planned["memory_mib"],
            "actual": attempt.peak_memory_mib if attempt else None,
        },
    ]
