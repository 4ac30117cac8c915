from __future__ import annotations

from backtests.models import Backtest
from jobs.attempts import RunningAttempt
from jobs.decorators import job_task
from jobs.models import Job
from jobs.statuses import JobKind, Queue


@job_task(kind=JobKind.BACKTEST, queue=Queue.BACKTESTS)
def run_backtest_job(job: Job, attempt: RunningAttempt) -> None:
    from backtests.pipeline import run_backtest

    run_backtest(Backtest.objects.select_related("run__experiment").get(job=job), attempt)
