from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.urls import reverse

from accounts.models import NAME_MAX, VisibleQuerySet, WorkspaceRow
from artifacts.models import StoredFile
from jobs.models import Job
from markets.specs import DownloadSpec, ImportSpec, timeframe_name
from specs.columns import SpecColumn


class Kind(models.TextChoices):
    SPOT = "spot", "Spot"
    PERPETUAL = "perpetual", "Perpetual"


class Source(models.TextChoices):
    FILE = "file", "File"
    EXCHANGE = "exchange", "Exchange"
    SYNTHETIC = "synthetic", "Synthetic"
    RESAMPLED = "resampled", "Resampled"


class Instrument(WorkspaceRow):
    venue = models.CharField(max_length=40, blank=True)
    symbol = models.CharField(max_length=50)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.SPOT)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "venue", "symbol", "kind"], name="one_instrument_per_workspace"
            )
        ]

    def __str__(self) -> str:
        return f"{self.symbol} ({self.venue})" if self.venue else self.symbol


class DatasetQuerySet(VisibleQuerySet):
    def for_list(self) -> DatasetQuerySet:
        """With what lists show; the long reports stay where they are."""
        rows = self.select_related("instrument", "latest__acceptance")
        heavy = ("latest__report", "latest__difference")
        # Counted for the rows of one page only: a join would group all rows before it cuts them.
        own = DatasetVersion.objects.filter(dataset=models.OuterRef("pk")).order_by()
        counted = own.values("dataset").annotate(count=models.Count("pk")).values("count")
        return rows.defer(*heavy).annotate(version_count=models.Subquery(counted))


class Dataset(WorkspaceRow):
    """The candles of one instrument on one timeframe, in sealed versions."""

    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="datasets")
    name = models.CharField(max_length=NAME_MAX)
    timeframe_minutes = models.PositiveIntegerField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    latest = models.ForeignKey(
        "DatasetVersion", null=True, on_delete=models.PROTECT, related_name="+"
    )
    # The highest number that a version had; that of a deleted version is not given again.
    last_number = models.PositiveIntegerField(default=0)

    objects = DatasetQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["workspace", "-created_at"], name="datasets_by_workspace")]

    def __str__(self) -> str:
        return self.name

    @property
    def timeframe(self) -> str:
        return timeframe_name(self.timeframe_minutes)


class VersionQuerySet(VisibleQuerySet):
    def usable(self) -> VersionQuerySet:
        """Versions without findings, or whose findings were accepted."""
        return self.filter(models.Q(findings=[]) | models.Q(acceptance__isnull=False))

    def for_list(self) -> VersionQuerySet:
        """With what lists and choices show; the long reports stay where they are."""
        rows = self.select_related("dataset__instrument", "acceptance")
        return rows.defer("report", "difference")


class DatasetVersion(WorkspaceRow):
    """Sealed candles: this row and its file never change."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.FILE)
    sha256 = models.CharField(max_length=64)
    file = models.ForeignKey(StoredFile, on_delete=models.PROTECT, related_name="+")
    rows = models.PositiveIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    gap_count = models.PositiveIntegerField()
    missing_bars = models.PositiveIntegerField()
    zero_volume_bars = models.PositiveIntegerField()
    duplicates_dropped = models.PositiveIntegerField()
    notices = models.JSONField(default=list)
    report = models.JSONField(default=dict)
    # What exceeded the limits when it was sealed; limits of a later release do not reach back.
    findings = models.JSONField(default=list)
    # What changed against the version before it; null for the first.
    difference = models.JSONField(null=True)
    # The version that a resampled one was made from.
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="derived")

    objects = VersionQuerySet.as_manager()  # type: ignore[misc]  # narrows the base's manager

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="one_version_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("markets:version_detail", args=[self.dataset_id, self.number])

    @property
    def needs_acceptance(self) -> bool:
        """Findings above the limits that nobody has taken as they are: it cannot be used."""
        return bool(self.findings) and not hasattr(self, "acceptance")

    @property
    def is_synthetic(self) -> bool:
        """Made by a generator, or resampled from what was."""
        notices = (notice["code"] for notice in self.notices)
        return self.source == Source.SYNTHETIC or "synthetic" in notices

    @property
    def bar(self) -> timedelta:
        return timedelta(minutes=self.dataset.timeframe_minutes)

    @property
    def missing_share(self) -> float:
        return self.missing_bars / max(1, self.rows + self.missing_bars)


class Acceptance(WorkspaceRow):
    """Someone has looked at findings above the limits and takes the candles as they are."""

    version = models.OneToOneField(
        DatasetVersion, on_delete=models.CASCADE, related_name="acceptance"
    )
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    findings = models.JSONField(default=list)
    reason = models.TextField()

    def __str__(self) -> str:
        return f"Acceptance of {self.version}"


class FeatureReport(WorkspaceRow):
    """The features of a version as one code version computes them: their summary and certificate.

    The values themselves lie in the feature cache, which may be emptied at any time.
    """

    version = models.ForeignKey(
        DatasetVersion, on_delete=models.CASCADE, related_name="feature_reports"
    )
    code_version = models.CharField(max_length=40)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="feature_report")
    summary = models.JSONField(null=True)
    certificate = models.JSONField(null=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["version", "code_version"], name="one_feature_report_per_code_version"
            )
        ]

    def __str__(self) -> str:
        return f"Features of {self.version}"


class Import(WorkspaceRow):
    """One attempt to get a sealed version: from a file, an exchange, another version or a generator.

    `job` is the work under way or done last: detection first, where a preview was asked for, then
    the import itself.
    """

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="candle_import")
    # What worked on it before: previews, and imports that were then corrected.
    earlier_jobs = models.ManyToManyField(Job, related_name="+")
    spec = SpecColumn(ImportSpec)
    # What the head of the file says, as `markets.sources.preview` tells it.
    preview = models.JSONField(null=True)
    # What is asked of the exchange.
    download = SpecColumn(DownloadSpec, null=True)
    # The version whose candles are resampled, or continued with newer bars.
    parent = models.ForeignKey(
        DatasetVersion, null=True, on_delete=models.SET_NULL, related_name="resamplings"
    )
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.FILE)
    sent_name = models.CharField(max_length=200)
    # Kept for 24 h after a failure so that the mapping can be corrected.
    upload = models.ForeignKey(StoredFile, null=True, on_delete=models.SET_NULL, related_name="+")
    version = models.ForeignKey(
        DatasetVersion, null=True, on_delete=models.SET_NULL, related_name="imports"
    )

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.sent_name

    @property
    def kind_of_work(self) -> str:
        """What its page is called, before "of" and what came in."""
        named = {Source.EXCHANGE: "Download", Source.RESAMPLED: "Resampling"}
        return named.get(Source(self.source), "Import")

    @property
    def parts_folder(self) -> Path:
        """Where the pages of a download lie until it is sealed, on the machine that fetched them."""
        return downloads_folder() / str(self.pk)

    @property
    def awaits_confirmation(self) -> bool:
        """The upload is still there and nothing works on it: it can be imported, or tried again."""
        return self.upload_id is not None and self.version_id is None and self.job.is_terminal

    @property
    def found_known_candles(self) -> bool:
        """It ended at a version that another import had made: the candles are equal."""
        if self.version is None:
            return False
        first = self.version.imports.order_by("pk").values_list("pk", flat=True).first()
        return first != self.pk

    def job_with_key(self, key: str) -> Job:
        """The job that a request with this Idempotency-Key started; without one, the newest."""
        earlier = self.earlier_jobs.filter(idempotency_key=key).first() if key else None
        return earlier or self.job


def downloads_folder() -> Path:
    """The pages of all downloads that are under way, a folder for each import."""
    return settings.STATE / "downloads"  # type: ignore[no-any-return]  # settings are not typed
