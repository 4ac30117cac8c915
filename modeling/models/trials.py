from __future__ import annotations

from datetime import date

from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import VisibleQuerySet, WorkspaceRow
from modeling.models.experiments import TrainingRun


class TrialQuerySet(VisibleQuerySet):
    def for_list(self) -> TrialQuerySet:
        """Without daily returns and what else a list never reads."""
        heavy = ("daily_returns", "run__causality", "run__libraries", "run__metrics")
        return self.select_related("run__experiment").defer(*heavy)

    def covering(self, first: date, last: date) -> TrialQuerySet:
        """Those whose daily returns reach from the first to the last of these UTC days."""
        return self.filter(first_day__lte=first, last_day__gte=last)


class Trial(WorkspaceRow):
    """One score that somebody could pick; counted without anyone reporting it."""

    class Origin(models.TextChoices):
        RUN = "run", "Training run"
        BACKTEST = "backtest", "Backtest"
        HOLDOUT = "holdout", "Hold-out opening"

    origin = models.CharField(max_length=20, choices=Origin.choices)
    spec_sha256 = models.CharField(max_length=64)
    seed = models.PositiveIntegerField(default=0)
    run = models.ForeignKey(TrainingRun, null=True, on_delete=models.PROTECT, related_name="trials")
    instrument = models.CharField(max_length=100, blank=True)
    daily_sharpe = models.FloatField(null=True)
    days = models.PositiveIntegerField(default=0)
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    # Net returns of the UTC days from `first_day` to `last_day`, without a hole.
    daily_returns = ArrayField(models.FloatField(), default=list)
    first_day = models.DateField(null=True)
    last_day = models.DateField(null=True)
    # Probability of overfitting over those days, as far as the ledger was known then.
    overfitting = models.FloatField(null=True)

    objects = TrialQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(fields=["workspace", "instrument"], name="trials_by_instrument"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "origin", "spec_sha256", "seed"],
                name="one_trial_per_spec_and_seed",
            )
        ]

    def __str__(self) -> str:
        return f"Trial {self.pk}"
