from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from accounts.api_views import MemberRequest, VisibleList, VisibleRows
from accounts.rest import Problem, idempotency_key, json_object
from jobs.api import started
from jobs.models import Job
from markets.models import Import
from markets.services.imports import (
    NothingToConfirm,
    RefusedUpload,
    confirm_import,
    preview_again,
    stage_import,
)
from markets.specs import ImportSpec


class ImportSerializer(serializers.ModelSerializer[Import]):
    status = serializers.CharField(source="job.status")
    code = serializers.CharField(source="job.code")
    message = serializers.CharField(source="job.shown_message")
    dataset = serializers.SerializerMethodField()
    version = serializers.SerializerMethodField()

    class Meta:
        model = Import
        fields = ("id", "job", "status", "code", "message", "sent_name", "dataset", "version")

    def get_dataset(self, row: Import) -> int | None:
        return row.version.dataset_id if row.version else None

    def get_version(self, row: Import) -> int | None:
        return row.version.number if row.version else None


class ImportDetailSerializer(ImportSerializer):
    settings = serializers.SerializerMethodField()
    preview = serializers.JSONField(help_text="What the head of the file says; null before.")
    awaits_confirmation = serializers.BooleanField()

    class Meta:
        model = Import
        fields = (*ImportSerializer.Meta.fields, "awaits_confirmation", "settings", "preview")

    def get_settings(self, row: Import) -> dict[str, Any]:
        return row.spec.to_json()


class SettingsSerializer(serializers.Serializer[Any]):
    """For the schema only; the fields are those of ImportSpec, none of them required."""

    symbol = serializers.CharField(required=False)
    venue = serializers.CharField(required=False)
    kind = serializers.CharField(required=False)
    timeframe = serializers.CharField(required=False)
    timestamp_unit = serializers.CharField(required=False)
    timezone = serializers.CharField(required=False)
    on_violation = serializers.CharField(required=False)
    column_map = serializers.JSONField(required=False)


class UploadSerializer(SettingsSerializer):
    """For the schema only: a file and how it is to be read."""

    file = serializers.FileField()
    symbol = serializers.CharField()


class ImportList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Imports of the workspace; POST uploads a candle file for a preview and imports nothing yet."""

    rows = Import.objects.select_related("job", "version").defer(
        "preview", "version__report", "version__difference"
    )
    serializer_class = ImportSerializer
    parser_classes = [MultiPartParser]

    @extend_schema(request=UploadSerializer, responses={202: ImportDetailSerializer})
    def post(self, request: MemberRequest) -> Response:
        return uploaded(request, stage_import, ImportDetailSerializer)


class ImportDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One upload, its preview, and what became of it."""

    rows = Import.objects.select_related("job", "version")
    serializer_class = ImportDetailSerializer


class ImportConfirm(VisibleRows):
    """Import an upload that is here; the body overrides the settings that it was sent with."""

    rows = Import.objects.select_related("job", "version", "workspace")
    start = staticmethod(confirm_import)
    action = "confirm"

    @extend_schema(request=SettingsSerializer, responses={202: ImportDetailSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        row = self.changeable(pk=pk)
        data = request.data if isinstance(request.data, dict) else {}
        spec = ImportSpec.parse({**row.spec.to_json(), **data})
        row, headers = started(
            request,
            row.workspace,
            self.action,
            lambda key: again(self.start, row, user=request.user, spec=spec, idempotency_key=key),
            job_of(request),
        )
        return Response(ImportDetailSerializer(row).data, status=202, headers=headers)


class ImportPreview(ImportConfirm):
    """Read the head of an upload again with other settings; nothing is imported."""

    start = staticmethod(preview_again)
    action = "preview"


def uploaded(
    request: MemberRequest,
    start: Callable[..., Import],
    serializer: type[ImportSerializer],
) -> Response:
    """Take a sent file with its settings and start its job once for its Idempotency-Key."""
    fields = fields_of(request)
    upload = request.FILES.get("file")
    if upload is None:
        raise Problem("missing_file", "A file is required.", fields={"file": "a file is required"})
    spec = ImportSpec.parse(fields)
    workspace = request.membership.workspace
    row, headers = started(
        request,
        workspace,
        "upload",
        lambda key: accepted(
            start,
            workspace=workspace,
            user=request.user,
            upload=upload,
            spec=spec,
            idempotency_key=key,
        ),
        job_of(request),
    )
    return Response(serializer(row).data, status=202, headers=headers)


def job_of(request: MemberRequest) -> Callable[[Import], Job]:
    """Which job of an import this request started; a later one may have taken its place."""
    key = idempotency_key(request)
    return lambda row: row.job_with_key(key)


def accepted(start: Callable[..., Import], **arguments: Any) -> Import:
    try:
        return start(**arguments)
    except RefusedUpload as error:
        raise Problem(
            error.code,
            error.message,
            status_code=error.status,
            fields={error.field: error.message},
        ) from None


def again(start: Callable[..., Import], row: Import, **arguments: Any) -> Import:
    try:
        return start(row, **arguments)
    except NothingToConfirm as error:
        raise Problem(error.code, error.message, status_code=409) from None


def fields_of(request: MemberRequest) -> dict[str, Any]:
    """The text fields of the form, each at most once; a second file is an unknown field."""
    data: dict[str, Any] = {}
    assert isinstance(request.data, QueryDict)  # the only parser of this route
    for name, values in request.data.lists():
        if len(values) > 1:
            raise Problem.of_field(name[:80], f"found {len(values)} times; expected once")
        if name != "file":
            data[name] = values[0]
    if "column_map" in data:
        try:
            data["column_map"] = json_object(data["column_map"])
        except Problem as error:
            raise Problem.of_field("column_map", error.text) from None
    return data
