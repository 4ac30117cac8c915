from __future__ import annotations

import hashlib

from django.db import transaction

from accounts.models import User
from jobs.statuses import JobKind
from markets.candles.resample import coarser_timeframes
from markets.models import Dataset, DatasetVersion, Import, Source
from markets.services.datasets import hold_for_use
from markets.services.imports import import_spec_of, queued, replayed
from markets.specs import TIMEFRAME_MINUTES, ResampleSpec
from specs.declaration import InvalidSpec


@transaction.atomic
def launch_resampling(
    version: DatasetVersion, *, user: User, spec: ResampleSpec, idempotency_key: str = ""
) -> Import:
    """Queue coarser candles of the same instrument, made from a sealed version.

    Raises InvalidSpec for a timeframe that cannot be made from its bars, and JobConflict when the
    key was used for another request.
    """
    possible = coarser_timeframes(version.dataset.timeframe_minutes)
    if spec.timeframe not in possible:
        expected = f"one of {', '.join(possible)}" if possible else "nothing: 1d is the longest"
        raise InvalidSpec(
            {
                "timeframe": f"found {spec.timeframe}; bars of {version.dataset.timeframe} can "
                f"become {expected}"
            }
        )
    request_sha256 = hashlib.sha256(f"resample {version.pk} {spec.timeframe}".encode()).hexdigest()
    if earlier := replayed(version.workspace, idempotency_key, request_sha256):
        return earlier
    hold_for_use([version], accepted=False)
    return Import.objects.create(
        workspace=version.workspace,
        created_by=user,
        job=queued(JobKind.RESAMPLE, version.workspace, user, idempotency_key, request_sha256),
        spec=import_spec_of(version.dataset, spec.timeframe),
        parent=version,
        source=Source.RESAMPLED,
        sent_name=f"{version} to {spec.timeframe}"[:200],
    )


def resampling_choices(version: DatasetVersion) -> list[tuple[str, Dataset | None]]:
    """Each timeframe these candles can become, with the dataset whose next version it would be."""
    names = coarser_timeframes(version.dataset.timeframe_minutes)
    longer = Dataset.objects.filter(
        instrument=version.dataset.instrument_id,
        timeframe_minutes__in=[TIMEFRAME_MINUTES[name] for name in names],
    )
    by_minutes = {dataset.timeframe_minutes: dataset for dataset in longer.exclude(latest=None)}
    return [(name, by_minutes.get(TIMEFRAME_MINUTES[name])) for name in names]
