from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models

from accounts.models import VisibleQuerySet, WorkspaceRow
from artifacts.models import StoredFile
from jobs.models import Job
from markets.models import DatasetVersion
from modeling.models.experiments import Experiment, TrainingRun

if TYPE_CHECKING:
    from modeling.models.registry import RegisteredModel


class PredictionSetQuerySet(VisibleQuerySet):
    def headline(self) -> PredictionSetQuerySet:
        """Those that results speak of: of several paths the first, whatever the others earn."""
        return self.filter(path__lte=1)


class PredictionSet(WorkspaceRow):
    """Out-of-sample predictions of a run, of one of its learned rungs, or of a registered model, in
    one sealed file."""

    MODEL = "model"

    # None for those that a registered model made later on candles of its choice.
    run = models.ForeignKey(
        TrainingRun, null=True, on_delete=models.PROTECT, related_name="prediction_sets"
    )
    rung = models.CharField(max_length=40, default=MODEL)
    # 1 to 7 under combinatorial cross-validation, where each path predicts every bar once; else 0.
    path = models.PositiveSmallIntegerField(default=0)
    # Of the opened hold-out; never mixed with the walk-forward predictions.
    is_holdout = models.BooleanField(default=False)
    file = models.ForeignKey(StoredFile, on_delete=models.PROTECT, related_name="+")
    sha256 = models.CharField(max_length=64)
    rows = models.PositiveIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    # Per fold: number and threshold on |action|.
    folds = models.JSONField(default=list)

    # Which of the instruments of its file is looked at, counted from 1; 0 for all. Not stored.
    place = 0

    objects = PredictionSetQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run", "rung", "path", "is_holdout"], name="one_prediction_set_per_path"
            )
        ]

    def __str__(self) -> str:
        return f"Predictions of {self.maker} ({self.rung})"

    @property
    def maker(self) -> TrainingRun | RegisteredModel:
        """The run they belong to, or the model that made them."""
        return self.run or self.of_model.model  # type: ignore[no-any-return]  # a reverse relation

    @property
    def version(self) -> DatasetVersion:
        """The candles that are predicted; of several instruments those of the one that is looked at."""
        if self.run is None:
            return self.of_model.version  # type: ignore[no-any-return]  # a reverse relation
        return self.run.experiment.pool[max(self.place, 1) - 1]

    @property
    def bar(self) -> timedelta:
        """How long a predicted bar lasts."""
        return self.version.bar


class HoldoutOpening(WorkspaceRow):
    """One look behind the seal: one run, scored once. The row is never changed back or deleted."""

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    experiment = models.ForeignKey(Experiment, on_delete=models.PROTECT, related_name="openings")
    run = models.OneToOneField(TrainingRun, on_delete=models.PROTECT, related_name="opening")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="holdout_opening")
    from_at = models.DateTimeField()
    until_at = models.DateTimeField()
    # How often these bars had been looked at before, by this experiment or another.
    openings_before = models.PositiveIntegerField(default=0)
    predictions = models.OneToOneField(
        PredictionSet, null=True, on_delete=models.PROTECT, related_name="opening"
    )
    metrics = models.JSONField(default=dict)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"Hold-out of {self.run}"
