"""The whole path inside one process: import, train and backtest without a broker."""

from __future__ import annotations

import uuid

import backtests.tasks  # noqa: F401 — registers the bodies of jobs
import markets.tasks  # noqa: F401
from accounts.models import User, Workspace
from accounts.services import create_user
from backtests.models import Backtest
from backtests.presets import preset
from backtests.services import create_experiment, launch_experiment
from backtests.specs import ExperimentSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.decorators import TASKS
from jobs.execution import execute, run_body
from jobs.models import Job
from jobs.workers import claimant
from markets.models import DatasetVersion, Import
from markets.services.imports import launch_demo
from modeling.models import TrainingRun


def run_job(job: Job) -> Job:
    """Claim a job and run its body here."""
    execute(job.pk, TASKS[job.kind].body)
    return Job.objects.get(pk=job.pk)


def run_training(run: TrainingRun) -> Job:
    """Train in this process; the trainer's own process is tested with the faults."""
    from modeling.pipeline import train

    lease = claim(run.job_id, claimant())
    assert lease is not None
    run_body(run.job, RunningAttempt(lease), lambda job, attempt: train(run, attempt))
    return Job.objects.get(pk=run.job_id)


def demo_version(workspace: Workspace, user: User) -> DatasetVersion:
    row = launch_demo(workspace=workspace, user=user)
    job = run_job(row.job)
    assert job.status == "succeeded", job.message
    version = Import.objects.select_related("version__dataset__instrument").get(pk=row.pk).version
    assert version is not None
    return version


def quick_spec(**parts: dict[str, object]) -> ExperimentSpec:
    """`tiny` on a short span, in seconds."""
    base = preset("tiny").to_json()
    base["training"] |= {"epochs": 1, "threads": 1}
    base["evaluation"] |= {"folds": 2, "bootstrap_draws": 100}
    for name, values in parts.items():
        base[name] |= values
    return ExperimentSpec.parse(base)


def make_people() -> tuple[User, Workspace]:
    user, _ = create_user(f"alice-{uuid.uuid4().hex[:8]}")
    return user, user.memberships.get().workspace


def finished_run(
    user: User, versions: DatasetVersion | list[DatasetVersion], spec: ExperimentSpec
) -> TrainingRun:
    pool = versions if isinstance(versions, list) else [versions]
    experiment = create_experiment(
        workspace=pool[0].workspace, user=user, name="Path", versions=pool, spec=spec
    )
    run = launch_experiment(experiment, user=user)[0]
    job = run_training(run)
    assert job.status == "succeeded", job.message
    return TrainingRun.objects.select_related("experiment", "job").get(pk=run.pk)


def finished_backtest(run: TrainingRun) -> Backtest:
    row = run.backtests.select_related("job").get(is_own=True)
    job = run_job(row.job)
    assert job.status == "succeeded", job.message
    return Backtest.objects.get(pk=row.pk)
