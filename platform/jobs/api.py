from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit
from accounts.rest import VisibleRows, refuse_conflict
from jobs.errors import JobConflict
from jobs.models import Job
from jobs.services import request_cancel

LOG_LINES = 200


class JobSerializer(serializers.ModelSerializer[Job]):
    message = serializers.CharField(source="shown_message")
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
        attempts = job.attempts.all()
        return max((attempt.number for attempt in attempts), default=None)

    def get_heartbeat_at(self, job: Job) -> str | None:
        beats = [attempt.heartbeat_at for attempt in job.attempts.all()]
        return serializers.DateTimeField().to_representation(max(beats)) if beats else None


class JobDetailSerializer(JobSerializer):
    log = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = (*JobSerializer.Meta.fields, "log")

    def get_log(self, job: Job) -> list[dict[str, Any]]:
        lines = job.log_lines.order_by("-number").values("number", "at", "level", "text")
        return list(lines[:LOG_LINES])[::-1]


class JobList(VisibleRows, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """The jobs of the workspace, newest first."""

    rows = Job.objects.for_list().prefetch_related("attempts")
    serializer_class = JobSerializer


class JobDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One job with the last lines of its log."""

    rows = Job.objects.for_list().prefetch_related("attempts")
    serializer_class = JobDetailSerializer


class JobCancel(VisibleRows, APIView):
    """Ask a job to stop. Asking again changes nothing; 409 when it has ended."""

    rows = Job.objects

    @extend_schema(request=None, responses={202: JobSerializer})
    def post(self, request: Request, pk: str) -> Response:
        job = generics.get_object_or_404(self.get_queryset(), pk=pk)
        try:
            job = request_cancel(job, user=request.user)
        except JobConflict as error:
            raise refuse_conflict(error) from None
        audit.record(
            "cancel", workspace=job.workspace, user=request.user, subject=job.pk, request=request
        )
        return Response(JobSerializer(job).data, status=202)
