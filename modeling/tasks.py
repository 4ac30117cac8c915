from __future__ import annotations

from jobs.attempts import RunningAttempt
from jobs.decorators import job_task
from jobs.models import Job
from jobs.statuses import JobKind, Queue
from jobs.supervisor import supervise
from modeling.devices import devices_of


@job_task(kind=JobKind.TRAINING, queue=Queue.TRAINING)
def run_training(job: Job, attempt: RunningAttempt) -> None:
    attempt.progress(0.0, "Starting the trainer")
    supervise(job, attempt, module="modeling.run", processes=devices_of(job))


@job_task(kind=JobKind.PREDICT, queue=Queue.TRAINING)
def run_prediction(job: Job, attempt: RunningAttempt) -> None:
    """An opened hold-out or a registered model; they need the network, so a trainer does the work."""
    attempt.progress(0.0, "Starting the trainer")
    supervise(job, attempt, module="modeling.run")
