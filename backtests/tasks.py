from __future__ import annotations

from backtests.models import Backtest, SeedVerdict, Study
from jobs.attempts import RunningAttempt
from jobs.decorators import job_task
from jobs.models import Job
from jobs.statuses import JobKind, Queue


@job_task(kind=JobKind.BACKTEST, queue=Queue.BACKTESTS)
def run_backtest_job(job: Job, attempt: RunningAttempt) -> None:
    from backtests.pipeline import run_backtest

    run_backtest(Backtest.objects.for_work().get(job=job), attempt)


@job_task(kind=JobKind.STUDY, queue=Queue.BACKTESTS)
def run_study_job(job: Job, attempt: RunningAttempt) -> None:
    from backtests.study_pipeline import compare_variants

    studies = Study.objects.select_related("experiment")
    compare_variants(studies.of_job(job), attempt)


@job_task(kind=JobKind.SEEDS, queue=Queue.BACKTESTS)
def judge_seeds_job(job: Job, attempt: RunningAttempt) -> None:
    from backtests.seeds_pipeline import judge_seeds

    rows = SeedVerdict.objects.select_related("experiment", "job")
    judge_seeds(rows.get(job=job), attempt)
