from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import MemberRequest, VisibleList, VisibleRows
from accounts.models import Workspace
from accounts.rest import idempotency_key, refuse_conflict
from jobs import idempotency
from jobs.errors import JobConflict, QueueFull
from jobs.models import Job
from jobs.services import request_cancel

LOG_LINES = 200
REPLAYED = {"Idempotency-Replayed": "true"}


class JobSerializer(serializers.ModelSerializer[Job]):
    message = serializers.CharField(source="shown_message", read_only=True)
    attempt = serializers.SerializerMethodField()
    heartbeat_at = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = (
            "id",
            "kind",
            "queue",
            "status",
            "progress",
            "code",
            "message",
            "error_reference",
            "attempt",
            "heartbeat_at",
            "created_at",
            "started_at",
            "ended_at",
        )

    def get_attempt(self, job: Job) -> int | None:
        return max((attempt.number for attempt in job.attempts.all()), default=None)

    def get_heartbeat_at(self, job: Job) -> str | None:
        beats = [attempt.heartbeat_at for attempt in job.attempts.all()]
        return serializers.DateTimeField().to_representation(max(beats)) if beats else None


class LogLineSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    level = serializers.CharField()
    text = serializers.CharField()


class JobDetailSerializer(JobSerializer):
    log = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = (*JobSerializer.Meta.fields, "log")

    @extend_schema_field(LogLineSerializer(many=True))
    def get_log(self, job: Job) -> Any:  # Any: the stubs type it as a list of anything
        lines = job.log_lines.order_by("-number")[:LOG_LINES]
        return LogLineSerializer(list(lines)[::-1], many=True).data


class JobList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """The jobs of the workspace, newest first."""

    rows = Job.objects.for_list().prefetch_related("attempts")
    serializer_class = JobSerializer


class JobDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One job with the last lines of its log."""

    rows = Job.objects.for_list().prefetch_related("attempts")
    serializer_class = JobDetailSerializer


class JobCancel(VisibleRows):
    """Ask a job to stop. Asking again changes nothing; 409 when it has ended."""

    rows = Job.objects

    @extend_schema(request=None, responses={202: JobSerializer})
    def post(self, request: MemberRequest, pk: str) -> Response:
        return cancelled(request, self.changeable(pk=pk))


def cancelled(request: MemberRequest, job: Job) -> Response:
    """Ask a job to stop and answer with its fresh row."""
    try:
        job = request_cancel(job, user=request.user)
    except JobConflict as error:
        raise refuse_conflict(error) from None
    audit.record(
        "cancel", workspace=job.workspace, user=request.user, subject=job.pk, request=request
    )
    return Response(JobSerializer(job).data, status=202)


def resumed(
    request: MemberRequest,
    row: Any,  # Any: a row of a workspace that has work
    go_on: Callable[..., Job],
    *,
    subject: object,
) -> tuple[Job, dict[str, str]]:
    """Let the work of a row go on, once for its Idempotency-Key; the new job, and the headers."""
    return started(
        request,
        row.workspace,
        "resume",
        lambda key: go_on(row, user=request.user, idempotency_key=key),
        lambda job: job,
        subject=subject,
    )


def started(
    request: MemberRequest,
    workspace: Workspace,
    action: str,
    start: Callable[[str], Any],
    job_of: Callable[[Any], Job],
    *,
    subject: object = None,
) -> tuple[Any, dict[str, str]]:
    """Start work once for its Idempotency-Key; the rows, and the headers of the answer.

    `start` gets the key, `job_of` names the job of what it returns, `subject` is what the audit names
    in place of the job. A repeated request starts nothing, is not recorded again and is answered with
    `Idempotency-Replayed: true`.
    """
    key = idempotency_key(request)
    earlier = idempotency.recent(workspace, key) if key else None
    try:
        made = start(key)
    except (JobConflict, QueueFull) as error:
        raise refuse_conflict(error) from None
    job = job_of(made)
    if earlier is not None and earlier.pk == job.pk:
        return made, REPLAYED
    audit.record(
        action,
        workspace=workspace,
        user=request.user,
        subject=job.pk if subject is None else subject,
        request=request,
    )
    return made, {}
