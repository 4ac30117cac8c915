from __future__ import annotations

from jobs.attempts import RunningAttempt
from jobs.decorators import job_task
from jobs.models import Job
from jobs.statuses import JobKind, Queue
from markets.models import FeatureReport, Import


@job_task(kind=JobKind.DETECT, queue=Queue.DATA, extra_memory_gib=4)
def run_detection(job: Job, attempt: RunningAttempt) -> None:
    from markets.pipeline.imports import detect_settings

    detect_settings(Import.objects.select_related("upload").get(job=job), attempt)


@job_task(kind=JobKind.IMPORT, queue=Queue.DATA, extra_memory_gib=4)
def run_import(job: Job, attempt: RunningAttempt) -> None:
    from markets.pipeline.imports import import_candles

    import_candles(Import.objects.select_related("upload").get(job=job), attempt)


@job_task(kind=JobKind.DOWNLOAD, queue=Queue.DATA, extra_memory_gib=4)
def run_download(job: Job, attempt: RunningAttempt) -> None:
    from markets.pipeline.downloads import download_candles

    row = Import.objects.select_related("parent__dataset", "parent__file").get(job=job)
    download_candles(row, attempt)


@job_task(kind=JobKind.RESAMPLE, queue=Queue.DATA, extra_memory_gib=4)
def run_resampling(job: Job, attempt: RunningAttempt) -> None:
    from markets.pipeline.resampling import resample_version

    row = Import.objects.select_related("parent__dataset", "parent__file").get(job=job)
    resample_version(row, attempt)


@job_task(kind=JobKind.FEATURES, queue=Queue.DATA, extra_memory_gib=4)
def run_features(job: Job, attempt: RunningAttempt) -> None:
    from markets.pipeline.features import report_features

    rows = FeatureReport.objects.select_related("version__dataset", "version__file")
    report_features(rows.get(job=job), attempt)
