"""The features for programs: the catalogue, the values of a version, their summary and certificate."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from django.http import FileResponse
from django.utils.decorators import method_decorator
from django.views.decorators.gzip import gzip_page
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import ApiView, MemberRequest, VisibleRows
from accounts.permissions import require_launch_scope
from accounts.rest import FiniteJSONRenderer, Problem, whole_number
from markets.api.dataset_changes import ParquetRenderer
from markets.api.datasets import SPAN, SPAN_SCHEMA, span_of
from markets.charts import shortest
from markets.feature_reading import NAMES, bar_name, bars_in, report_of, scales_of, stored_scale
from markets.features.files import write_features
from markets.features.registry import CODE_VERSION, FEATURES, UnknownFeature, registered
from markets.features.table import ScaleFeatures
from markets.models import DatasetVersion, FeatureReport
from markets.reading import MAX_POINTS, iso_times
from markets.services.features import launch_features

VALUES_MAX = 40_000  # of one answer, which keeps it below 1 MB
VERSIONS = DatasetVersion.objects.select_related("dataset", "file", "workspace")


class FeatureSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    family = serializers.CharField()
    formula = serializers.CharField()
    inputs = serializers.SerializerMethodField()
    warm_up = serializers.IntegerField()
    warm_up_days = serializers.IntegerField()

    def get_inputs(self, feature: Any) -> list[str]:
        return feature.inputs.split()  # type: ignore[no-any-return]  # a text of letters


class CatalogueSerializer(serializers.Serializer[Any]):
    code_version = serializers.CharField()
    count = serializers.IntegerField()
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = FeatureSerializer(many=True)


class FeatureCatalogue(ApiView):
    """The 67 features in their order; all on one page."""

    @extend_schema(responses=CatalogueSerializer)
    def get(self, request: MemberRequest) -> Response:
        found = {"code_version": str(CODE_VERSION), "count": len(FEATURES)}
        pages = {"next": None, "previous": None, "results": list(FEATURES.values())}
        return Response(CatalogueSerializer(found | pages).data)


class QueuedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(source="job.status")
    job = serializers.UUIDField(source="job_id")
    progress = serializers.FloatField(source="job.progress")


class ValuesSerializer(serializers.Serializer[Any]):
    timeframe = serializers.CharField()
    scale = serializers.IntegerField()
    code_version = serializers.CharField()
    time = serializers.ListField(child=serializers.DateTimeField())
    features = serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField(allow_null=True))
    )
    every = serializers.IntegerField()
    aggregated = serializers.BooleanField()


class ReportSerializer(serializers.ModelSerializer[FeatureReport]):
    status = serializers.CharField(source="job.status")
    computed_at = serializers.DateTimeField(source="job.ended_at", allow_null=True)

    class Meta:
        model = FeatureReport
        fields = ("code_version", "status", "job", "computed_at", "summary", "certificate")


class Computed(VisibleRows):
    """Base of what needs computed features: where they are not, an editor's request computes them."""

    rows = VERSIONS

    def queued(self, request: MemberRequest, version: DatasetVersion) -> Response:
        """202 with the job. Raises 403 `needs_editor` or `missing_scope` for who may only read."""
        self.changeable(pk=version.pk)
        require_launch_scope(request)
        report, was_queued = launch_features(version, user=request.user)
        if was_queued:
            audit.record(
                "features",
                workspace=version.workspace,
                user=request.user,
                subject=version,
                request=request,
            )
        return Response(QueuedSerializer(report).data, status=202, headers={"Retry-After": "5"})


@method_decorator(gzip_page, name="dispatch")
class VersionFeatures(Computed):
    """Values of features from the cache; 202 and a job when they are not computed.

    More bars than fit are answered as every n-th one (`every`), so each value is that of its bar.
    A time is the open of the bar; its values are known at its close. `format=parquet` gives all bars.
    """

    parameters = SPAN | {"names", "scale"}
    renderer_classes = [FiniteJSONRenderer, ParquetRenderer]

    @extend_schema(
        responses={200: ValuesSerializer, 202: QueuedSerializer},
        parameters=[
            OpenApiParameter("names", OpenApiTypes.STR, description="Separated by commas; all 67."),
            OpenApiParameter("scale", OpenApiTypes.INT, description="Base bars in one bar: 1."),
            *SPAN_SCHEMA,
        ],
    )
    def get(self, request: MemberRequest, pk: int, number: int) -> Any:
        is_file = request.accepted_renderer.format == ParquetRenderer.format
        answer_in_json(request)
        version = self.found(dataset_id=pk, number=number)
        names, factor, span = asked_names(request), asked_scale(request, version), span_of(request)
        scale = stored_scale(version, factor, verified=is_file)
        if scale is None:
            return self.queued(request, version)
        if is_file:
            return file_answer(version, names, bars_in(scale, span))
        most = asked_bars(request, len(names))
        return Response(values_of(version, names, bars_in(scale, span), most))


class VersionFeatureReport(Computed):
    """How the features of a version are spread, how alike they are, and their causality certificate."""

    @extend_schema(responses={200: ReportSerializer, 202: QueuedSerializer})
    def get(self, request: MemberRequest, pk: int, number: int) -> Response:
        version = self.found(dataset_id=pk, number=number)
        report = report_of(version)
        if report is None or report.certificate is None:
            return self.queued(request, version)
        return Response(ReportSerializer(report).data)


def answer_in_json(request: MemberRequest) -> None:
    """Whatever is not the file itself, a refusal or a queued job, is JSON and says so."""
    request.accepted_renderer = FiniteJSONRenderer()
    request.accepted_media_type = FiniteJSONRenderer.media_type


def asked_names(request: MemberRequest) -> tuple[str, ...]:
    """The features asked for, all without `names`. Raises Problem."""
    text = request.query_params.get("names", "")
    try:
        return registered(name.strip() for name in text.split(",")) if text else NAMES
    except UnknownFeature as error:
        raise Problem.of_field("names", str(error)) from None


def asked_scale(request: MemberRequest, version: DatasetVersion) -> int:
    """The timescale asked for, the base bars without `scale`. Raises Problem."""
    known = scales_of(version)
    text = request.query_params.get("scale", "1")
    for factor in known:
        if text == str(factor):
            return factor
    expected = ", ".join(map(str, known))
    raise Problem.of_field("scale", f"found {text[:20]!r}; expected one of {expected}")


def asked_bars(request: MemberRequest, names: int) -> int:
    """At most so many bars. Raises Problem when that many values are no longer one answer."""
    most = min(MAX_POINTS, VALUES_MAX // names)
    if (bars := whole_number(request, "max", most, at_most=MAX_POINTS)) > most:
        text = f"found {bars} bars of {names} features; expected at most {most}, or fewer names"
        raise Problem.of_field("max", text)
    return bars


def values_of(
    version: DatasetVersion, names: tuple[str, ...], scale: ScaleFeatures, most: int
) -> dict[str, Any]:
    every = max(1, -(-len(scale.open_time) // most))
    return {
        "timeframe": bar_name(version, scale.factor),
        "scale": scale.factor,
        "code_version": str(CODE_VERSION),
        "time": iso_times(scale.open_time[::every]),
        "features": {
            name: shortest(np.asarray(scale.values[NAMES.index(name), ::every])) for name in names
        },
        "every": every,
        "aggregated": every > 1,
    }


def file_answer(
    version: DatasetVersion, names: tuple[str, ...], scale: ScaleFeatures
) -> FileResponse:
    file = tempfile.TemporaryFile()  # noqa: SIM115 — closed, and so deleted, by the response
    write_features(file, names, scale, [NAMES.index(name) for name in names])
    file.seek(0)
    name = f"features-{version.dataset_id}-v{version.number}-x{scale.factor}.parquet"
    return FileResponse(
        file, as_attachment=True, filename=name, content_type=ParquetRenderer.media_type
    )
