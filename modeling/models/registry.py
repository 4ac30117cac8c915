from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models

from accounts.models import NAME_MAX, VisibleQuerySet, WorkspaceRow
from jobs.models import Job
from markets.models import DatasetVersion, Instrument
from modeling.models.experiments import TrainingRun
from modeling.models.folds import Fold
from modeling.models.predictions import HoldoutOpening, PredictionSet


class ModelQuerySet(VisibleQuerySet):
    def for_list(self) -> ModelQuerySet:
        """With what lists and the page show of the run, its experiment and its candles."""
        versions = DatasetVersion.objects.for_list().select_related("dataset__instrument")
        return (
            self.select_related("run__experiment", "run__job", "fold")
            .defer("run__causality", "run__libraries", "fold__state")
            .prefetch_related(models.Prefetch("run__experiment__versions", versions))
        )


class RegisteredModel(WorkspaceRow):
    """The weights of one fold of a finished run under a name that people use."""

    class Stage(models.TextChoices):
        CANDIDATE = "candidate", "Candidate"
        STAGING = "staging", "Staging"
        PRODUCTION = "production", "Production"
        RETIRED = "retired", "Retired"

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    run = models.ForeignKey(TrainingRun, on_delete=models.PROTECT, related_name="registered")
    fold = models.ForeignKey(Fold, on_delete=models.PROTECT, related_name="registered")
    name = models.CharField(max_length=NAME_MAX)
    stage = models.CharField(max_length=20, choices=Stage.choices, default=Stage.CANDIDATE)
    notes = models.TextField(blank=True)

    objects = ModelQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="one_model_per_name")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_retired(self) -> bool:
        """Whether it predicts nothing new; what it has predicted stays."""
        return self.stage == self.Stage.RETIRED

    def knows(self, version: DatasetVersion) -> bool:
        """Whether it was trained on candles of this instrument."""
        trained: list[DatasetVersion] = self.run.experiment.pool
        return any(row.dataset.instrument_id == version.dataset.instrument_id for row in trained)

    def shares_market_of(self, version: DatasetVersion) -> bool:
        """Whether the symbol is that of any of its training candles, on whatever venue: prices are the same
        there, so that the bars it was trained on, and the sealed ones, are known there as well.
        """
        wanted = bare_symbol(version.dataset.instrument)
        trained: list[DatasetVersion] = self.run.experiment.pool
        return any(bare_symbol(row.dataset.instrument) == wanted for row in trained)

    @property
    def seal(self) -> datetime | None:
        """The instant behind which its market stays closed; None where nothing is sealed.

        It is that of the model's experiment, until the hold-out has been opened with the model's own
        run.
        """
        experiment = self.run.experiment
        if experiment.holdout_until <= experiment.holdout_at:
            return None
        is_open = HoldoutOpening.objects.filter(run=self.run_id).exists()
        return None if is_open else experiment.holdout_at  # type: ignore[no-any-return]  # a row's column

    def sealed_after(self, version: DatasetVersion) -> datetime | None:
        """The instant behind which this version stays closed; None where nothing is sealed."""
        return self.seal if self.shares_market_of(version) else None

    @property
    def out_of_sample_from(self) -> datetime:
        """The end of the embargo behind all that its weights have learned from; what was known
        earlier is no test of it, on no instrument: markets move together.
        """
        experiment = self.run.experiment
        learned = datetime.fromisoformat(self.fold.splits["slices"]["calibration"]["to_at"])
        embargo_bars = experiment.model_spec.evaluation.embargo_bars
        return learned + max(1, embargo_bars) * experiment.version.bar  # type: ignore[no-any-return]  # a row's property


def bare_symbol(instrument: Instrument) -> str:
    """Letters and digits of a symbol: BTC/USDT, BTC-USDT and btcusdt are one."""
    return "".join(letter for letter in instrument.symbol.casefold() if letter.isalnum())


class ModelPredictionQuerySet(VisibleQuerySet):
    def for_list(self) -> ModelPredictionQuerySet:
        """With what lists and the page show."""
        rows = self.select_related("job", "model", "version__dataset__instrument", "predictions")
        return rows.defer("version__report", "version__difference")

    def for_work(self) -> ModelPredictionQuerySet:
        """With what the prediction itself needs."""
        return self.select_related(
            "version__dataset__instrument",
            "version__file",
            "model__run__experiment",
            "model__fold__weights",
            "model__fold__predictions",
        ).prefetch_related("model__run__experiment__versions__dataset__instrument")


class ModelPrediction(WorkspaceRow):
    """What a registered model says of a dataset version; its status is that of its job."""

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="predictions")
    version = models.ForeignKey(
        DatasetVersion, on_delete=models.PROTECT, related_name="model_predictions"
    )
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="model_prediction")
    predictions = models.OneToOneField(
        PredictionSet, null=True, on_delete=models.PROTECT, related_name="of_model"
    )
    metrics = models.JSONField(default=dict)
    notices = models.JSONField(default=list)

    objects = ModelPredictionQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.model} on {self.version}"
