from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Coalesce

from accounts.models import NAME_MAX, VisibleQuerySet, WorkspaceRow
from artifacts.models import StoredFile
from jobs.models import Job
from markets.models import DatasetVersion, Instrument, Kind
from modeling.specs import ModelSpec
from modeling.windows.cpcv import NEWEST_SPLIT
from specs.columns import SpecColumn


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


def instrument_name(version: DatasetVersion) -> str:
    """What a pool calls its instrument: the same words mean the same instrument."""
    instrument: Instrument = version.dataset.instrument
    return f"{instrument} perpetual" if instrument.kind == Kind.PERPETUAL else str(instrument)


class RunQuerySet(VisibleQuerySet):
    def for_list(self) -> RunQuerySet:
        """Without what only the page of a run shows."""
        return self.defer("causality", "libraries", "notices")


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

    def sealed_after(self, version: DatasetVersion) -> datetime | None:
        """The instant behind which this version stays closed; None where nothing is sealed.

        The seal is that of the model's experiment and holds for its market until the hold-out has
        been opened with the model's own run.
        """
        experiment = self.run.experiment
        has_holdout = experiment.holdout_until > experiment.holdout_at
        if not has_holdout or not self.shares_market_of(version):
            return None
        is_open = HoldoutOpening.objects.filter(run=self.run_id).exists()
        return None if is_open else experiment.holdout_at

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
