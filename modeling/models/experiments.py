from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Coalesce, JSONObject

from accounts.models import NAME_MAX, VisibleQuerySet, WorkspaceRow
from jobs.models import Job
from markets.models import DatasetVersion, Instrument, Kind
from modeling.measures import HEADS
from modeling.specs import ModelSpec
from modeling.windows.cpcv import NEWEST_SPLIT
from specs.columns import SpecColumn

if TYPE_CHECKING:
    from modeling.models.folds import Fold


class ExperimentQuerySet(VisibleQuerySet):
    def for_list(self) -> ExperimentQuerySet:
        # Counted for the rows of one page only: a join would group all rows before it cuts them.
        own = TrainingRun.objects.filter(experiment=models.OuterRef("pk")).order_by()
        counted = own.values("experiment").annotate(count=models.Count("pk")).values("count")
        return self.prefetch_related("versions__dataset__instrument").annotate(
            run_count=Coalesce(models.Subquery(counted), 0)
        )


class Experiment(WorkspaceRow):
    """A spec on sealed candles. It never changes; people clone it."""

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    name = models.CharField(max_length=NAME_MAX)
    preset = models.CharField(max_length=20, blank=True)
    # What it was cloned or varied from, in the same workspace.
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="clones")
    versions = models.ManyToManyField(DatasetVersion, related_name="experiments")
    model_spec = SpecColumn(ModelSpec)
    # The backtests app's part of the spec; opaque here, because modeling lies below it.
    backtest_spec = models.JSONField(default=dict)
    spec_sha256 = models.CharField(max_length=64)
    # Sealed are the bars that close after `holdout_at`, up to `holdout_until`.
    holdout_at = models.DateTimeField()
    holdout_until = models.DateTimeField()
    holdout_openings = models.PositiveIntegerField(default=0)
    notes = models.TextField(blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    # Digest of the form it was saved with; a form sent again leads back to it.
    form_key = models.CharField(max_length=64, null=True, blank=True, editable=False)

    objects = ExperimentQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["workspace", "-created_at"], name="experiments_by_workspace"),
            # Counts and sorts the list without its wide rows.
            models.Index(
                fields=["workspace", "-id"],
                condition=models.Q(archived_at=None),
                name="experiments_listed",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "form_key"], name="one_experiment_per_form"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def spec(self) -> dict[str, Any]:
        """The whole spec as plain JSON, as the API shows it."""
        return {**self.model_spec.to_json(), "backtest": self.backtest_spec}

    @property
    def pool(self) -> list[DatasetVersion]:
        """The dataset versions trained on, in order of their instruments."""
        versions: list[DatasetVersion] = list(self.versions.all())
        return versions if len(versions) == 1 else sorted(versions, key=instrument_name)

    @property
    def version(self) -> DatasetVersion:
        """The first of the dataset versions trained on: a run's own backtest is on it."""
        return self.pool[0]

    @property
    def others(self) -> list[DatasetVersion]:
        """The versions behind the first: none where there is one instrument."""
        return self.pool[1:]

    @property
    def is_synthetic(self) -> bool:
        """Whether any of the candles are made up."""
        return any(version.is_synthetic for version in self.pool)

    @property
    def instruments(self) -> list[str]:
        """What the instruments are called here, in their order."""
        return [instrument_name(version) for version in self.pool]

    @property
    def bars_used(self) -> tuple[datetime, datetime]:
        """When the first and the last bar open that the spec uses of the candles."""
        return bars_used(self.model_spec, self.pool)


def instrument_name(version: DatasetVersion) -> str:
    """What a pool calls its instrument: the same words mean the same instrument."""
    instrument: Instrument = version.dataset.instrument
    return f"{instrument} perpetual" if instrument.kind == Kind.PERPETUAL else str(instrument)


def span_used(spec: ModelSpec, versions: list[DatasetVersion]) -> tuple[datetime, datetime]:
    """From the first open to the last close that a spec uses of any of these versions.

    Raises InvalidSpec when nothing is left.
    """
    bar = versions[0].bar
    first = min(version.first_at for version in versions)
    return spec.data.within(first, max(version.last_at for version in versions) + bar)


def bars_used(spec: ModelSpec, versions: list[DatasetVersion]) -> tuple[datetime, datetime]:
    """When the first and the last bar open that a spec uses of any of these versions.

    Raises InvalidSpec when nothing is left.
    """
    first, end = span_used(spec, versions)
    return first, end - versions[0].bar


class RunQuerySet(VisibleQuerySet):
    def for_list(self) -> RunQuerySet:
        """Without what only the page of a run shows."""
        return self.defer("causality", "libraries", "notices")

    def with_head_words(self) -> RunQuerySet:
        """With the verdict word of each head as `words`, instead of all that was measured."""
        words = {head: f"verdict__{head}__word" for head in HEADS}
        return self.defer("metrics", "verdict").annotate(words=JSONObject(**words))


class TrainingRun(WorkspaceRow):
    """One seed of an experiment; its status is that of its job."""

    experiment = models.ForeignKey(Experiment, on_delete=models.PROTECT, related_name="runs")
    seed = models.PositiveIntegerField()
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="training_run")
    code_version = models.CharField(max_length=80, blank=True)
    libraries = models.JSONField(default=dict)
    device = models.CharField(max_length=40, blank=True)
    threads = models.PositiveIntegerField(default=0)
    data_sha256 = models.CharField(max_length=64, blank=True)
    weights_sha256 = models.CharField(max_length=64, blank=True)
    predictions_sha256 = models.CharField(max_length=64, blank=True)
    metrics = models.JSONField(default=dict)
    verdict = models.JSONField(default=dict)
    causality = models.JSONField(default=dict)
    leak_alarm = models.JSONField(default=dict)
    # Why the alarm is none, in the words of an editor; every version of it is in the audit.
    alarm_explanation = models.TextField(blank=True)
    alarm_explained_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    alarm_explained_at = models.DateTimeField(null=True)
    notices = models.JSONField(default=list)

    objects = RunQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["workspace", "-created_at"], name="runs_by_workspace")]

    def __str__(self) -> str:
        return f"{self.experiment.name}, seed {self.seed}"

    @property
    def is_withheld(self) -> bool:
        """Whether a leak alarm that nobody has explained keeps the verdicts back."""
        return bool(self.leak_alarm.get("raised")) and not self.alarm_explanation

    @property
    def newest_fold(self) -> Fold:
        """The fold that learned last of those trained an embargo before the hold-out."""
        folds = self.folds.select_related("weights", "predictions")
        if self.experiment.model_spec.evaluation.scheme == "cpcv":
            return folds.get(number=NEWEST_SPLIT)
        return folds.latest("number")

    @property
    def checkpoint_folder(self) -> Path:
        """The folder of this run's checkpoints; it exists while there are any."""
        folder: Path = settings.STATE / "checkpoints" / str(self.pk)
        return folder
