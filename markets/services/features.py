from __future__ import annotations

import time

from django.conf import settings
from django.db import transaction

from accounts.models import User
from jobs.services import enqueue
from jobs.statuses import JobKind, JobStatus, Queue
from markets.feature_reading import is_stored, report_of
from markets.features.eviction import evict
from markets.features.registry import CODE_VERSION
from markets.models import DatasetVersion, FeatureReport
from markets.services.datasets import hold_for_use


@transaction.atomic
def launch_features(version: DatasetVersion, *, user: User) -> tuple[FeatureReport, bool]:
    """Queue the features of a version unless they are computed or under way; whether it was queued.

    One job works on a version and code version at a time, however often it is asked for. Raises
    InvalidSpec when the version was deleted meanwhile.
    """
    hold_for_use([version], accepted=False)  # one asks at a time
    report = report_of(version)
    if report and not report.job.is_terminal:
        return report, False
    if report and report.job.status == JobStatus.SUCCEEDED and is_stored(version):
        return report, False
    job = enqueue(
        workspace=version.workspace, created_by=user, kind=JobKind.FEATURES, queue=Queue.DATA
    )
    if report:
        report.job = job
        report.save(update_fields=["job"])
        return report, True
    made = FeatureReport.objects.create(
        workspace=version.workspace, version=version, code_version=str(CODE_VERSION), job=job
    )
    return made, True


def evict_features() -> int:
    """Keep the cache of this machine below its limit; what is still needed is computed again."""
    return evict(settings.FEATURE_CACHE, max_bytes=settings.FEATURE_CACHE_BYTES, now=time.time())
