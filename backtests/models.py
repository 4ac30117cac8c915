from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import NAME_MAX, VisibleQuerySet, WorkspaceRow
from artifacts.models import StoredFile
from backtests.specs import BacktestSpec
from jobs.models import Job
from jobs.statuses import TERMINAL, JobStatus
from markets.models import DatasetVersion
from modeling.models import (
    Experiment,
    ModelPrediction,
    PredictionSet,
    TrainingRun,
    Trial,
    instrument_name,
)
from specs.columns import SpecColumn


class BacktestQuerySet(VisibleQuerySet):
    def for_list(self) -> BacktestQuerySet:
        """With what lists show; specs and long reports stay where they are."""
        heavy = ("spec", "report", "withheld", "version__report", "version__difference")
        return self.select_related("job", "version__dataset__instrument").defer(*heavy)

    def for_report(self) -> BacktestQuerySet:
        """With the report and what its heads name."""
        return self.select_related("job", "version__dataset__instrument", "run__experiment")

    def for_work(self) -> BacktestQuerySet:
        """With what the simulation itself needs."""
        return self.select_related(
            "run__experiment",
            "version__dataset__instrument",
            "version__file",
            "model_prediction__model__run__experiment",
            "model_prediction__model__fold",
        )


class Verdict(models.TextChoices):
    BEATS = "beats", "beats"
    TIES = "ties", "not better than"
    LOSES = "loses", "loses to"
    UNDECIDED = "undecided", "undecided"
    WITHHELD = "withheld", "withheld"


WITHHELD = (
    "These scores are too good to be taken for skill. The verdict stays withheld. "
    "Find the leak and run again, or explain on the page of the run why it is none."
)
# What was counted says nothing about who won.
COUNTED = ("rungs", "days", "closed_trades", "draws")


def kept_back(verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict under a leak alarm: nothing of it but what was counted."""
    counted = {key: verdict[key] for key in COUNTED}
    empty = dict.fromkeys(verdict) | {"comparisons": []}
    return empty | counted | {"word": Verdict.WITHHELD.value, "sentence": WITHHELD}


class Backtest(WorkspaceRow):
    """What a run's predictions would have earned after costs, beside its rungs."""

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    name = models.CharField(max_length=NAME_MAX)
    # The run that the predictions come from: its spec and its scores are those of the report.
    run = models.ForeignKey(TrainingRun, on_delete=models.PROTECT, related_name="backtests")
    # What a registered model of that run said later, perhaps of other candles.
    model_prediction = models.ForeignKey(
        ModelPrediction, null=True, on_delete=models.PROTECT, related_name="backtests"
    )
    version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="backtests")
    # A run and its own backtest are one trial; any further backtest counts by itself.
    is_own = models.BooleanField(default=False)
    # Of the opened hold-out, over its span; made by the opening alone.
    is_holdout = models.BooleanField(default=False)
    trial = models.ForeignKey(Trial, null=True, on_delete=models.PROTECT, related_name="backtests")
    spec = SpecColumn(BacktestSpec)
    spec_sha256 = models.CharField(max_length=64)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="backtest")
    # Summary for lists; everything else stands in the report.
    verdict = models.CharField(max_length=10, choices=Verdict.choices, blank=True)
    net_return = models.FloatField(null=True)
    benchmark_return = models.FloatField(null=True)
    sharpe = models.FloatField(null=True)
    sharpe_low = models.FloatField(null=True)
    sharpe_high = models.FloatField(null=True)
    max_drawdown = models.FloatField(null=True)
    trade_count = models.PositiveIntegerField(null=True)
    days = models.PositiveIntegerField(null=True)
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    badges = models.JSONField(default=list)
    # {"numbers": …, "reasons": …, "verdict": …, "assumptions": …}
    report = models.JSONField(default=dict)
    # The verdict while a leak alarm keeps it back; no page and no answer reads it.
    withheld = models.JSONField(default=dict)
    equity = models.ForeignKey(StoredFile, null=True, on_delete=models.PROTECT, related_name="+")
    trades = models.ForeignKey(StoredFile, null=True, on_delete=models.PROTECT, related_name="+")

    objects = BacktestQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["workspace", "-created_at"], name="backtests_by_workspace")]

    def __str__(self) -> str:
        return self.name

    def prediction_sets(self) -> models.QuerySet[PredictionSet]:
        """What is simulated: a registered model's set, or those of the run and its learned rungs."""
        if self.model_prediction is not None:
            return PredictionSet.objects.filter(of_model=self.model_prediction)
        return self.run.prediction_sets.filter(is_holdout=self.is_holdout)

    @property
    def instrument(self) -> str:
        """What is traded, as pools call it."""
        return instrument_name(self.version)

    @property
    def sealed_after(self) -> datetime | None:
        """The instant behind which no bar is read; None where nothing is sealed."""
        if self.is_holdout:
            return None
        if self.model_prediction is not None:
            return self.model_prediction.model.sealed_after(self.version)
        return self.run.experiment.holdout_at

    @property
    def out_of_sample_from(self) -> datetime | None:
        """The instant before which predictions count for nothing; None where all of them count."""
        if self.model_prediction is None:
            return None
        return self.model_prediction.model.out_of_sample_from

    def withhold(self) -> None:
        """Keep the verdict back until somebody explains the alarm; it is not lost."""
        if self.withheld or not self.report:
            return
        self.withheld = self.report["verdict"]
        self.report = self.report | {"verdict": kept_back(self.withheld)}
        self.verdict = Verdict.WITHHELD

    def release(self) -> None:
        """Show the verdict that an alarm kept back."""
        if not self.withheld:
            return
        self.report = self.report | {"verdict": self.withheld}
        self.verdict = self.withheld["word"]
        self.withheld = {}


class StudyQuerySet(VisibleQuerySet):
    def for_list(self) -> StudyQuerySet:
        """With how many runs there are, have succeeded and have not ended."""
        return self.select_related("experiment", "created_by", "job").annotate(
            run_count=models.Count("variants__runs", distinct=True),
            done_count=models.Count("variants__runs", filter=_OF_DONE, distinct=True),
            open_count=models.Count("variants__runs", filter=_OF_OPEN, distinct=True),
        )

    def of_job(self, job: Job) -> Study:
        """The study that was launched with this job, or one of whose runs brought it."""
        is_ours = models.Q(job=job) | models.Q(variants__runs__job=job)
        study: Study = self.filter(is_ours).distinct().get()
        return study


_RUN_STATUS = "variants__runs__run__job__status"
_OF_DONE = models.Q(**{_RUN_STATUS: JobStatus.SUCCEEDED})
_OF_OPEN = models.Q(variants__runs__isnull=False) & ~models.Q(**{f"{_RUN_STATUS}__in": TERMINAL})


class Study(WorkspaceRow):
    """An ablation: an experiment, and variants that each change one component of it."""

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    name = models.CharField(max_length=NAME_MAX)
    experiment = models.ForeignKey(Experiment, on_delete=models.PROTECT, related_name="studies")
    seeds = ArrayField(models.PositiveIntegerField())
    # The launch itself; it compares what is there when it begins. Each run brings a job of its own.
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="study")

    objects = StudyQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["workspace", "-created_at"], name="studies_by_workspace")]

    def __str__(self) -> str:
        return self.name

    def jobs(self, parts: Iterable[StudyRun] | None = None) -> list[Job]:
        """The launch, and run, backtest and comparison of each run the study itself has made.

        `parts` are the runs of the study where they have been read already.
        """
        found = [self.job]
        for part in StudyRun.objects.of_study(self) if parts is None else parts:
            if part.job is not None:
                found += part.chain()
        return found


def status_of_all(jobs: Iterable[Job]) -> JobStatus:
    """One word for many jobs: what is going on, else the worst end that one of them came to."""
    statuses = {JobStatus(job.status) for job in jobs}
    for status in (
        JobStatus.CANCELLING,
        JobStatus.RUNNING,
        JobStatus.QUEUED,
        JobStatus.ERRORED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    ):
        if status in statuses:
            return status
    return JobStatus.SUCCEEDED


class StudyVariant(models.Model):
    """One row of a study's table: the base, a variant, or why there is no such variant."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="variants")
    place = models.PositiveIntegerField()
    key = models.CharField(max_length=20)
    change = models.CharField(max_length=300, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    parameters = models.PositiveBigIntegerField(null=True)
    experiment = models.ForeignKey(
        Experiment, null=True, on_delete=models.PROTECT, related_name="study_variants"
    )
    # {"seeds": […], "runs": […], "base_runs": […], "rows": {metric: paired difference}}
    comparison = models.JSONField(default=dict)

    class Meta:
        ordering = ["study", "place"]
        constraints = [models.UniqueConstraint(fields=["study", "key"], name="one_row_per_variant")]

    def __str__(self) -> str:
        return f"{self.key} of {self.study_id}"


class StudyRunQuerySet(models.QuerySet["StudyRun"]):
    def of_study(self, study: Study) -> StudyRunQuerySet:
        """The runs of a study with their jobs and own backtests, in three queries."""
        own = Backtest.objects.filter(is_own=True).select_related("job", "trial").defer("report")
        return (
            self.filter(variant__study=study)
            .select_related("variant", "run__job", "run__experiment", "job")
            .prefetch_related(models.Prefetch("run__backtests", own))
        )


class StudyRun(models.Model):
    """A run that a study counts in; `job` compares again once the run's own backtest has ended."""

    variant = models.ForeignKey(StudyVariant, on_delete=models.CASCADE, related_name="runs")
    run = models.ForeignKey(TrainingRun, on_delete=models.PROTECT, related_name="study_runs")
    # None for a run that had finished before the study was launched.
    job = models.OneToOneField(Job, null=True, on_delete=models.PROTECT, related_name="study_run")

    objects = StudyRunQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["variant", "run"], name="one_row_per_run_of_variant")
        ]

    def __str__(self) -> str:
        return f"Run {self.run_id} of variant {self.variant_id}"

    @property
    def backtest(self) -> Backtest:
        """The own backtest of the run; needs `of_study`."""
        found: Backtest = self.run.backtests.all()[0]
        return found

    def chain(self) -> list[Job]:
        """The jobs that this run of the study is made of, in their order."""
        jobs = [self.run.job, self.backtest.job]
        return jobs if self.job is None else [*jobs, self.job]


class SeedVerdictQuerySet(VisibleQuerySet):
    def over_most_seeds(self) -> SeedVerdictQuerySet:
        """Those that are there, the one over the most seeds first, and of as many the newest."""
        rows = self.filter(job__status=JobStatus.SUCCEEDED).exclude(runs=[])
        return rows.order_by("-runs__len", "-pk")

    def of_experiment(self, experiment: Experiment) -> SeedVerdict | None:
        """The one over the most seeds that is there; None before two seeds are finished."""
        rows = self.filter(experiment=experiment).select_related("alarm_explained_by")
        return rows.over_most_seeds().first()


class SeedVerdict(WorkspaceRow):
    """The verdict of an experiment: that of the mean prediction over its seeds.

    A row is made behind every run of an experiment with several, and judges what is finished then.
    """

    experiment = models.ForeignKey(
        Experiment, on_delete=models.PROTECT, related_name="seed_verdicts"
    )
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="seed_verdict")
    # One run a seed, in the order of the seeds; empty while there is one seed only.
    runs = ArrayField(models.BigIntegerField(), default=list)
    metrics = models.JSONField(default=dict)
    heads = models.JSONField(default=dict)
    # {"verdict": …, "numbers": …, "paths": …}, or {"reason": …} where no account could be made.
    equity = models.JSONField(default=dict)
    # Why a rung has no mean: {rung: reason}.
    missing = models.JSONField(default=dict)
    leak_alarm = models.JSONField(default=dict)
    # Why the alarm of the mean is none, as an editor explains that of a run.
    alarm_explanation = models.TextField(blank=True)
    alarm_explained_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    alarm_explained_at = models.DateTimeField(null=True)

    objects = SeedVerdictQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"Verdict over seeds of {self.experiment}"

    @property
    def is_withheld(self) -> bool:
        """Whether an alarm of the mean, or of one of its runs, that nobody has explained keeps it back."""
        runs = TrainingRun.objects.filter(pk__in=self.runs)
        return self.is_alarmed or any(run.is_withheld for run in runs)

    @property
    def is_alarmed(self) -> bool:
        """Whether the mean itself has raised an alarm that nobody has explained."""
        return bool(self.leak_alarm.get("raised")) and not self.alarm_explanation
