from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, Count, F, Min, OuterRef, Q, Subquery, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts.models import VisibleQuerySet, WorkspaceRow
from jobs.statuses import (
    ACTIVE,
    TERMINAL,
    TRAINER_KINDS,
    EventKind,
    ExitKind,
    JobKind,
    JobStatus,
    LogLevel,
    Queue,
)

# The job waits for no other, or the other one succeeded. For SELECTs only: an UPDATE with a join
# becomes `id IN (SELECT …)`, which does not look again after waiting for a lock.
UNBLOCKED = Q(after=None) | Q(after__status=JobStatus.SUCCEEDED)


@dataclass(frozen=True)
class QueueSummary:
    queue: str
    queued: int
    running: int
    oldest_queued_s: float | None
    workers: int
    slots: int
    seen_s: float | None


class JobQuerySet(VisibleQuerySet):
    def active(self) -> Self:
        return self.filter(status__in=ACTIVE)

    def for_trainers(self) -> Self:
        """What a trainer process does: trainings, and predictions by a network that is there."""
        return self.filter(kind__in=TRAINER_KINDS)

    def claimable(self, queue: str) -> Self:
        """Queued jobs a worker of this queue would win now, oldest first."""
        running = (
            Job.objects.for_trainers()
            .active()
            .filter(workspace=OuterRef("workspace"))
            .order_by()
            .values("workspace")
            .annotate(number=Count("pk"))
            .values("number")
        )
        return (
            self.filter(UNBLOCKED, queue=queue, status=JobStatus.QUEUED, available_at__lte=Now())
            .annotate(trainings=Coalesce(Subquery(running), 0))
            .filter(
                ~Q(kind__in=TRAINER_KINDS) | Q(trainings__lt=settings.JOBS_RUNNING_TRAININGS),
            )
            .order_by("created_at", "pk")
        )

    def with_position(self) -> Self:
        """Annotate `queue_position` and `queue_length` (meaningful for queued jobs)."""
        line = (
            Job.objects.filter(UNBLOCKED, queue=OuterRef("queue"), status=JobStatus.QUEUED)
            .order_by()
            .values("queue")
            .annotate(number=Count("pk"))
            .values("number")
        )
        ahead = line.filter(created_at__lt=OuterRef("created_at"))
        return self.annotate(
            queue_position=Coalesce(Subquery(ahead), 0) + 1,
            queue_length=Coalesce(Subquery(line), 0),
        )

    def for_list(self) -> Self:
        """Newest first, with everything a row of the jobs page shows, in one query."""
        return self.with_position().select_related("created_by", "after").order_by("-created_at")

    def next_first(self) -> Self:
        """What runs, then what waits, in the order in which it is taken; else as `for_list`."""
        waits = Case(When(status__in=ACTIVE, then=0), default=1)
        return self.for_list().order_by(waits, "created_at")

    def queue_summary(self) -> list[QueueSummary]:
        """One entry per queue: what waits and runs among these jobs, and who works there."""
        rows = {
            row["queue"]: row
            for row in self.order_by()
            .values("queue")
            .annotate(
                queued=Count("pk", filter=Q(status=JobStatus.QUEUED)),
                running=Count("pk", filter=Q(status__in=ACTIVE)),
                oldest=Now() - Min("created_at", filter=Q(status=JobStatus.QUEUED)),
            )
        }
        workers = Worker.objects.by_queue()
        return [
            _summary(str(queue), rows.get(queue, {}), workers.get(queue, [])) for queue in Queue
        ]


def _summary(queue: str, row: dict[str, Any], workers: list[Worker]) -> QueueSummary:
    oldest = row.get("oldest")
    ages = [worker.age_s for worker in workers]
    return QueueSummary(
        queue=queue,
        queued=row.get("queued", 0),
        running=row.get("running", 0),
        oldest_queued_s=oldest.total_seconds() if oldest else None,
        workers=len(workers),
        slots=sum(worker.slots for worker in workers),
        seen_s=min(ages) if ages else None,
    )


class Job(WorkspaceRow):
    """One piece of background work. The row is the truth and, while queued, the outbox entry."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    kind = models.CharField(max_length=12, choices=JobKind.choices)
    queue = models.CharField(max_length=12, choices=Queue.choices)
    status = models.CharField(
        max_length=12, choices=JobStatus.choices, default=JobStatus.QUEUED, db_index=False
    )
    after = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="waiting", db_index=True
    )
    resumed_from = models.OneToOneField(
        "self", null=True, on_delete=models.PROTECT, related_name="resumed_by"
    )
    progress = models.FloatField(default=0.0)
    message = models.TextField(blank=True)
    code = models.CharField(max_length=64, blank=True)
    error_reference = models.CharField(max_length=16, blank=True)
    idempotency_key = models.CharField(max_length=200, blank=True)
    request_sha256 = models.CharField(max_length=64, blank=True)
    is_launch = models.BooleanField(default=False)
    counted_tries = models.PositiveSmallIntegerField(default=0)
    publish_count = models.PositiveIntegerField(default=0)
    available_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()  # type: ignore[misc]  # the stubs refuse a narrower manager

    class Meta:
        indexes = [
            models.Index(
                fields=["queue", "available_at", "created_at"],
                condition=Q(status=JobStatus.QUEUED),
                name="job_queued",
            ),
            models.Index(
                fields=["workspace", "kind"], condition=Q(status__in=ACTIVE), name="job_active"
            ),
            models.Index(fields=["workspace", "-created_at"], name="job_list"),
            models.Index(
                fields=["workspace", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="job_idempotency",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(progress__gte=0.0) & Q(progress__lte=1.0), name="job_progress_in_0_1"
            ),
            models.CheckConstraint(
                condition=Q(status__in=TERMINAL, ended_at__isnull=False)
                | (~Q(status__in=TERMINAL) & Q(ended_at=None)),
                name="job_ended_when_terminal",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {str(self.pk)[:8]}"

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def duration(self) -> timedelta | None:
        """From the first claim to the end, or until now; None before the first claim."""
        if self.started_at is None:
            return None
        return (self.ended_at or timezone.now()) - self.started_at

    @property
    def blocked_by(self) -> Job | None:
        """The job this one waits for, while that has not succeeded."""
        if self.after is None or self.after.status == JobStatus.SUCCEEDED:
            return None
        return self.after

    def resumes(self) -> list[Job]:
        """The jobs that went on from this one, oldest first."""
        found: list[Job] = []
        last = self
        while (later := Job.objects.filter(resumed_from=last).first()) is not None:
            found.append(later)
            last = later
        return found

    def position(self) -> tuple[int, int]:
        """Place in the queue and its length; a list reads them by `with_position` beforehand."""
        known = self.__dict__
        if "queue_position" in known:
            return known["queue_position"], known["queue_length"]
        row = (
            Job.objects.filter(pk=self.pk).with_position().values("queue_position", "queue_length")
        )
        found = row.get()
        return found["queue_position"], found["queue_length"]

    @property
    def waiting_message(self) -> str:
        """What a queued job waits for; empty in every other state."""
        if self.status != JobStatus.QUEUED:
            return ""
        if self.blocked_by is not None:
            return f"Waiting for the {self.blocked_by.get_kind_display().lower()} to finish"
        place, length = self.position()
        return f"Waiting: position {place} of {max(place, length)} in {self.queue}"

    @property
    def shown_message(self) -> str:
        """The message for people: where a queued job stands, else what the job said last."""
        return " ".join(part for part in (self.message, self.waiting_message) if part)

    @property
    def last_attempt(self) -> JobAttempt | None:
        return self.attempts.order_by("-number").first()


class JobAttempt(models.Model):
    """One try at a job by one worker. Whoever knows the lease token of the open attempt may write."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    lease_token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    worker = models.UUIDField()
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    trainer_pid = models.PositiveIntegerField(null=True)
    device = models.CharField(max_length=100, blank=True)
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    progress_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    exit_kind = models.CharField(max_length=20, choices=ExitKind.choices, blank=True)
    exit_code = models.IntegerField(null=True)
    signal = models.PositiveSmallIntegerField(null=True)
    checkpoint_step = models.PositiveIntegerField(null=True)
    peak_memory_mib = models.PositiveIntegerField(null=True)
    # What the work said last about itself, by name; see RunningAttempt.tell.
    told = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["job"], condition=Q(ended_at=None), name="one_open_attempt_per_job"
            ),
            models.UniqueConstraint(fields=["job", "number"], name="attempt_number_per_job"),
        ]
        indexes = [
            models.Index(fields=["heartbeat_at"], condition=Q(ended_at=None), name="attempt_open")
        ]

    def __str__(self) -> str:
        return f"Attempt {self.number} of {self.job_id}"


class JobEvent(models.Model):
    """What happened to a job, in order. Append-only."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    attempt = models.ForeignKey(
        JobAttempt, null=True, on_delete=models.CASCADE, related_name="events"
    )
    at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=20, choices=EventKind.choices)
    data = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["job", "id"], name="event_by_job")]

    def __str__(self) -> str:
        return f"{self.kind} {self.job_id}"


class JobLogLine(models.Model):
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_lines")
    attempt = models.ForeignKey(
        JobAttempt, null=True, on_delete=models.CASCADE, related_name="log_lines"
    )
    number = models.PositiveIntegerField()
    # Given when the line was said, so that writing it a second time changes nothing.
    key = models.UUIDField(null=True, unique=True, editable=False)
    at = models.DateTimeField()
    level = models.CharField(max_length=8, choices=LogLevel.choices, default=LogLevel.INFO)
    text = models.CharField(max_length=2000)

    class Meta:
        ordering = ["job", "number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="log_number_per_job")]

    def __str__(self) -> str:
        return self.text


class WorkerQuerySet(models.QuerySet["Worker"]):
    def with_age(self) -> Self:
        return self.annotate(age=Now() - F("seen_at"))

    def seen_within(self, seconds: float) -> Self:
        return self.filter(seen_at__gt=Now() - timedelta(seconds=seconds))

    def by_queue(self) -> dict[str, list[Worker]]:
        """Workers seen in the last 30 s, by queue."""
        found: dict[str, list[Worker]] = {}
        for worker in self.with_age().seen_within(30):
            found.setdefault(worker.queue, []).append(worker)
        return found


class Worker(models.Model):
    """A worker or the reconciler, as last seen. For people and readiness, never for recovery."""

    id = models.UUIDField(primary_key=True, editable=False)
    queue = models.CharField(max_length=12)
    host = models.CharField(max_length=255)
    slots = models.PositiveSmallIntegerField()
    seen_at = models.DateTimeField(db_default=Now())
    draining = models.BooleanField(default=False)

    objects = WorkerQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.queue} on {self.host}"

    @property
    def age_s(self) -> float:
        """Seconds since the worker was last seen; needs `with_age`."""
        age: timedelta = self.__dict__["age"]
        return age.total_seconds()
