"""A second seed that says what the first does: their mean must be judged as either is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backtests.models import Backtest, SeedVerdict
from backtests.seeds_pipeline import judge_seeds
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.execution import run_body
from jobs.models import Job
from jobs.statuses import JobKind, JobStatus
from jobs.workers import claimant
from modeling.models import TrainingRun
from tests import factories


def judged_beside_a_twin(run: TrainingRun, backtest: Backtest) -> SeedVerdict:
    """The verdict over this run and a copy of it under the next seed."""
    twin = TrainingRun.objects.create(
        workspace=run.workspace,
        experiment=run.experiment,
        seed=run.seed + 1,
        job=factories.make_job(run.workspace, kind=JobKind.TRAINING),
    )
    for fold in run.folds.all():
        fold.pk, fold.run = None, twin
        fold.save()
    Backtest.objects.create(
        workspace=run.workspace,
        run=twin,
        version=backtest.version,
        spec=backtest.spec,
        is_own=True,
        job=factories.make_job(run.workspace),
    )
    row = factories.make_seed_verdict(run)
    row.job = factories.make_job(run.workspace, kind=JobKind.SEEDS, status=JobStatus.QUEUED)
    row.save()
    body_of(row, judge_seeds)
    assert row.runs == [run.pk, twin.pk]
    return row


def forget_the_twin(row: SeedVerdict) -> None:
    """Leave the rows as they were before."""
    twin = TrainingRun.objects.get(pk=row.runs[-1])
    row.delete()
    twin.backtests.all().delete()
    twin.delete()


def body_of(row: Any, work: Callable[..., None]) -> None:  # Any: a row with a job
    """Do the work of a row here; it must succeed."""
    lease = claim(row.job_id, claimant())
    assert lease is not None
    run_body(row.job, RunningAttempt(lease), lambda job, attempt: work(row, attempt))
    assert Job.objects.get(pk=row.job_id).status == JobStatus.SUCCEEDED, row.job.message
    row.refresh_from_db()
