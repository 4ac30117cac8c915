"""What open jobs work on, for a list that names it."""

from __future__ import annotations

from django.db.models import JSONField, Model

from jobs.models import Job, JobQuerySet

# What a job may work on, with what the name of each is made of.
WORKED_ON = (
    "candle_import",
    "feature_report",
    "feature_report__version",
    "feature_report__version__dataset",
    "training_run",
    "training_run__experiment",
    "backtest",
    "study",
    "study_run",
    "study_run__variant",
    "study_run__variant__study",
    "seed_verdict",
    "seed_verdict__experiment",
    "holdout_opening",
    "holdout_opening__run",
    "holdout_opening__run__experiment",
    "model_prediction",
    "model_prediction__model",
    "model_prediction__version",
    "model_prediction__version__dataset",
)


def named(jobs: JobQuerySet) -> JobQuerySet:
    """The jobs with what each works on, without the reports of that, which may be long."""
    wide = [
        f"{path}__{column.name}"
        for path in WORKED_ON
        for column in last_model(path)._meta.concrete_fields
        if isinstance(column, JSONField)
    ]
    return jobs.select_related(*WORKED_ON).defer(*wide)


def last_model(path: str) -> type[Model]:
    """The model at the end of a path of relations that begins at a job."""
    model: type[Model] = Job
    for name in path.split("__"):
        model = model._meta.get_field(name).related_model  # type: ignore[assignment]  # a relation
    return model
