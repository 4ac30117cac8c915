"""How many processes train a run."""

from __future__ import annotations

from django.conf import settings

from jobs.models import Job
from modeling.failures import devices_missing
from modeling.models import TrainingRun


def devices_of(job: Job) -> int:
    """The devices of a job's run. Raises JobFailed when this machine lets one run take fewer."""
    run = TrainingRun.objects.select_related("experiment").get(job=job)
    wanted = run.experiment.model_spec.training.devices
    if wanted > settings.TRAINING_DEVICES:
        raise devices_missing(found=settings.TRAINING_DEVICES, wanted=wanted)
    return wanted
