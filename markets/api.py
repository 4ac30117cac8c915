from __future__ import annotations

import json
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit
from accounts.rest import Problem, VisibleRows, idempotency_key, refuse_conflict
from jobs.errors import JobConflict, QueueFull
from markets.models import Dataset, DatasetVersion, Import
from markets.reading import CandleRange, InvalidRange, chart_bars, iso_times
from markets.services import RefusedUpload, launch_import
from markets.specs import ImportSpec


class VersionSerializer(serializers.ModelSerializer[DatasetVersion]):
    class Meta:
        model = DatasetVersion
        fields = (
            "number",
            "source",
            "sha256",
            "rows",
            "first_at",
            "last_at",
            "gap_count",
            "missing_bars",
            "zero_volume_bars",
            "duplicates_dropped",
            "notices",
        )


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    symbol = serializers.CharField(source="instrument.symbol")
    venue = serializers.CharField(source="instrument.venue")
    kind = serializers.CharField(source="instrument.kind")
    timeframe = serializers.CharField()
    latest_version = VersionSerializer(source="latest")

    class Meta:
        model = Dataset
        fields = ("id", "name", "symbol", "venue", "kind", "timeframe", "latest_version")


class ImportSerializer(serializers.ModelSerializer[Import]):
    status = serializers.CharField(source="job.status")
    code = serializers.CharField(source="job.code")
    message = serializers.CharField(source="job.message")
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


class DatasetList(VisibleRows, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Datasets of the workspace; POST uploads a candle file."""

    rows = Dataset.objects.for_list().exclude(latest=None)
    serializer_class = DatasetSerializer
    parser_classes = [MultiPartParser]

    @extend_schema(request=UploadSerializer, responses={202: ImportSerializer})
    def post(self, request: Request) -> Response:
        upload = request.FILES.get("file")
        if upload is None:
            raise Problem("missing_file", "A file is required.", fields={"file": "a file is required"})
        spec = ImportSpec.parse(_fields_of(request))
        try:
            row = launch_import(
                workspace=request.membership.workspace,
                user=request.user,
                upload=upload,
                spec=spec,
                idempotency_key=idempotency_key(request),
            )
        except RefusedUpload as error:
            raise Problem(
                error.code, error.message, status_code=error.status, fields={error.field: error.message}
            ) from None
        except (JobConflict, QueueFull) as error:
            raise refuse_conflict(error) from None
        audit.record("upload", workspace=row.workspace, user=request.user, subject=row.pk, request=request)
        return Response(ImportSerializer(row).data, status=202)


class DatasetDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    rows = Dataset.objects.for_list().exclude(latest=None)
    serializer_class = DatasetSerializer


class ImportDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One upload and what became of it."""

    rows = Import.objects.select_related("job", "version")
    serializer_class = ImportSerializer


class CandleSerializer(serializers.Serializer[Any]):
    timeframe = serializers.CharField()
    time = serializers.ListField(child=serializers.DateTimeField())
    open = serializers.ListField(child=serializers.FloatField())
    high = serializers.ListField(child=serializers.FloatField())
    low = serializers.ListField(child=serializers.FloatField())
    close = serializers.ListField(child=serializers.FloatField())
    volume = serializers.ListField(child=serializers.FloatField())
    aggregated = serializers.BooleanField()


class VersionCandles(VisibleRows, APIView):
    """Candles of a version, aggregated on the server to at most `max` bars."""

    rows = DatasetVersion.objects.select_related("dataset", "file")

    @extend_schema(
        responses=CandleSerializer,
        parameters=[
            OpenApiParameter("from", str),
            OpenApiParameter("to", str),
            OpenApiParameter("max", int),
        ],
    )
    def get(self, request: Request, pk: int, number: int) -> Response:
        version = get_object_or_404(self.get_queryset(), dataset_id=pk, number=number)
        try:
            span = CandleRange.parse(request.query_params)
        except InvalidRange as error:
            text = str(error)
            raise Problem("invalid", f"{error.field}: {text}", fields={error.field: text}) from None
        bars, is_aggregated = chart_bars(version, span)
        columns = {
            name: getattr(bars, name).tolist() for name in ("open", "high", "low", "close", "volume")
        }
        return Response(
            {
                "timeframe": version.dataset.timeframe,
                "time": iso_times(bars.time),
                **columns,
                "aggregated": is_aggregated,
            }
        )


def _fields_of(request: Request) -> dict[str, Any]:
    data = {name: value for name, value in request.data.items() if name != "file"}
    if "column_map" in data:
        try:
            data["column_map"] = json.loads(data["column_map"])
        except ValueError:
            text = "expected a JSON object"
            raise Problem("invalid_spec", f"column_map: {text}", fields={"column_map": text}) from None
    return data
