"""What a run stores fold by fold while it trains."""

from __future__ import annotations

from django.db import models

from artifacts.models import StoredFile
from modeling.models.experiments import TrainingRun


class Fold(models.Model):
    """One walk-forward step of a run; a finished fold is never computed again."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="folds")
    number = models.PositiveIntegerField()
    splits = models.JSONField(default=dict)
    finished_at = models.DateTimeField(null=True)
    epochs = models.PositiveIntegerField(default=0)
    best_epoch = models.PositiveIntegerField(default=0)
    threshold = models.FloatField(null=True)
    state = models.JSONField(default=dict)
    metrics = models.JSONField(default=dict)
    weights = models.ForeignKey(StoredFile, null=True, on_delete=models.PROTECT, related_name="+")
    weights_sha256 = models.CharField(max_length=64, blank=True)
    predictions = models.ForeignKey(
        StoredFile, null=True, on_delete=models.PROTECT, related_name="+"
    )
    # Actions on the calibration slice; None for a fold that an earlier release finished.
    calibration = models.ForeignKey(
        StoredFile, null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="one_fold_per_number")
        ]

    def __str__(self) -> str:
        return f"Fold {self.number}"


class MetricPoint(models.Model):
    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="points")
    fold = models.PositiveIntegerField()
    name = models.CharField(max_length=60)
    step = models.PositiveIntegerField()
    value = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run", "fold", "name", "step"], name="one_point_per_step"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.step}"


class Checkpoint(models.Model):
    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="checkpoints")
    fold = models.PositiveIntegerField()
    step = models.PositiveIntegerField()
    # The state file in the run's own folder; it names the arrays beside it.
    name = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-fold", "-step"]
        constraints = [
            models.UniqueConstraint(fields=["run", "fold", "step"], name="one_checkpoint_per_step")
        ]

    def __str__(self) -> str:
        return f"Checkpoint of step {self.step}"


class BaselineScore(models.Model):
    """The head metrics of one rung on the same folds, or the reason why there are none."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="baselines")
    rung = models.CharField(max_length=40)
    metrics = models.JSONField(default=dict)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["run", "rung"], name="one_score_per_rung")]

    def __str__(self) -> str:
        return self.rung
