from __future__ import annotations

from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.gzip import gzip_page
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from accounts.api_views import MemberRequest, VisibleList, VisibleRows
from accounts.rest import Problem
from markets.api.dataset_changes import Deleted, RenamedOrDeleted
from markets.api.imports import ImportSerializer, UploadSerializer, uploaded
from markets.models import Dataset, DatasetVersion
from markets.reading import CandleRange, InvalidRange, chart_bars, iso_times
from markets.services.imports import launch_import

COLUMNS = ("open", "high", "low", "close", "volume")


class VersionSerializer(serializers.ModelSerializer[DatasetVersion]):
    needs_acceptance = serializers.BooleanField(read_only=True)

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
            "findings",
            "needs_acceptance",
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


class DatasetList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Datasets of the workspace; POST uploads a candle file."""

    rows = Dataset.objects.for_list().exclude(latest=None).order_by("-pk")
    serializer_class = DatasetSerializer
    parser_classes = [MultiPartParser]

    @extend_schema(request=UploadSerializer, responses={202: ImportSerializer})
    def post(self, request: MemberRequest) -> Response:
        return uploaded(request, launch_import, ImportSerializer)


class DatasetDetail(RenamedOrDeleted, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    rows = Dataset.objects.for_list().exclude(latest=None)
    serializer_class = DatasetSerializer


class VersionDetailSerializer(VersionSerializer):
    dataset = serializers.IntegerField(source="dataset_id")
    timeframe = serializers.CharField(source="dataset.timeframe")

    class Meta:
        model = DatasetVersion
        fields = (*VersionSerializer.Meta.fields, "dataset", "timeframe", "difference", "report")


class VersionDetail(Deleted):
    """One sealed version with its quality report, and what it changed against the one before."""

    rows = DatasetVersion.objects.select_related("dataset__instrument", "acceptance")

    @extend_schema(responses=VersionDetailSerializer)
    def get(self, request: MemberRequest, pk: int, number: int) -> Response:
        version = self.found(dataset_id=pk, number=number)
        return Response(VersionDetailSerializer(version).data)


SPAN = frozenset({"from", "to", "max"})
SPAN_SCHEMA = [
    OpenApiParameter("from", OpenApiTypes.DATETIME, description="First bar (UTC, its open)."),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="End (UTC, exclusive)."),
    OpenApiParameter("max", OpenApiTypes.INT, description="At most so many bars, up to 2000."),
]


def span_of(request: MemberRequest) -> CandleRange:
    """`from`, `to` and `max` of a request. Raises Problem."""
    try:
        return CandleRange.parse(request.query_params)
    except InvalidRange as error:
        raise Problem.of_field(error.field, str(error)) from None


class CandleSerializer(serializers.Serializer[Any]):
    timeframe = serializers.CharField()
    time = serializers.ListField(child=serializers.DateTimeField())
    open = serializers.ListField(child=serializers.FloatField())
    high = serializers.ListField(child=serializers.FloatField())
    low = serializers.ListField(child=serializers.FloatField())
    close = serializers.ListField(child=serializers.FloatField())
    volume = serializers.ListField(child=serializers.FloatField())
    aggregated = serializers.BooleanField()


@method_decorator(gzip_page, name="dispatch")
class VersionCandles(VisibleRows):
    """Candles of a version, aggregated on the server to at most `max` bars."""

    rows = DatasetVersion.objects.select_related("dataset", "file")
    parameters = SPAN

    @extend_schema(responses=CandleSerializer, parameters=SPAN_SCHEMA)
    def get(self, request: MemberRequest, pk: int, number: int) -> Response:
        version = self.found(dataset_id=pk, number=number)
        bars, is_aggregated = chart_bars(version, span_of(request))
        return Response(
            {
                "timeframe": version.dataset.timeframe,
                "time": iso_times(bars.time),
                **{name: getattr(bars, name).tolist() for name in COLUMNS},
                "aggregated": is_aggregated,
            }
        )
