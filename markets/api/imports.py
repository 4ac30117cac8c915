from __future__ import annotations

from typing import Any

from django.http import QueryDict
from rest_framework import generics, serializers

from accounts.api_views import MemberRequest, VisibleRows
from accounts.rest import Problem, json_object
from markets.models import Import
from markets.services.imports import RefusedUpload, launch_import


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


class UploadSerializer(serializers.Serializer[Any]):
    """For the schema only; the fields are those of ImportSpec."""

    file = serializers.FileField()
    symbol = serializers.CharField()
    venue = serializers.CharField(required=False)
    kind = serializers.CharField(required=False)
    timeframe = serializers.CharField(required=False)
    timestamp_unit = serializers.CharField(required=False)
    timezone = serializers.CharField(required=False)
    on_violation = serializers.CharField(required=False)
    column_map = serializers.JSONField(required=False)


def launched(**arguments: Any) -> Import:
    try:
        return launch_import(**arguments)
    except RefusedUpload as error:
        raise Problem(
            error.code,
            error.message,
            status_code=error.status,
            fields={error.field: error.message},
        ) from None


class ImportDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One upload and what became of it."""

    rows = Import.objects.select_related("job", "version")
    serializer_class = ImportSerializer


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
