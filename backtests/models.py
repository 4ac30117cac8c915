from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from accounts.models import VisibleQuerySet, WorkspaceRow
from artifacts.models import StoredFile
from backtests.specs import BacktestSpec
from jobs.models import Job
from markets.models import DatasetVersion
from modeling.models import TrainingRun, Trial
from specs.columns import SpecColumn


class BacktestQuerySet(VisibleQuerySet):
    def for_list(self) -> BacktestQuerySet:
        return self.select_related("job", "version__dataset__instrument", "run__experiment")


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
    name = models.CharField(max_length=200)
    run = models.ForeignKey(TrainingRun, on_delete=models.PROTECT, related_name="backtests")
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
