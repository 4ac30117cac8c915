"""What programs do with a dataset: rename, delete, accept findings, resample, take away."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import MemberRequest, VisibleRows
from accounts.models import NAME_MAX
from accounts.rest import FiniteJSONRenderer, Problem, StrictSerializer
from jobs.api import started
from markets.api.imports import ImportSerializer
from markets.models import Acceptance, Dataset, DatasetVersion
from markets.services.datasets import (
    REASON_MAX,
    InUse,
    NothingToAccept,
    accept_findings,
    delete_dataset,
    delete_version,
    rename_dataset,
    uses_of,
)
from markets.services.resampling import launch_resampling
from markets.specs import ResampleSpec
from markets.views.exports import csv_answer, parquet_answer, record_export

VERSIONS = DatasetVersion.objects.select_related(
    "dataset__instrument", "file", "acceptance", "workspace"
)


class RenameRequest(StrictSerializer):
    name = serializers.CharField(max_length=NAME_MAX)


class AcceptRequest(StrictSerializer):
    reason = serializers.CharField(max_length=REASON_MAX)


class AcceptanceSerializer(serializers.ModelSerializer[Acceptance]):
    accepted_by = serializers.CharField(source="accepted_by.username", default=None)
    accepted_at = serializers.DateTimeField(source="created_at")

    class Meta:
        model = Acceptance
        fields = ("findings", "reason", "accepted_by", "accepted_at")


class ResampleRequest(StrictSerializer):
    version = serializers.IntegerField(min_value=1, required=False)
    timeframe = serializers.CharField(max_length=10)


class UseSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    name = serializers.CharField()
    address = serializers.CharField()
    at = serializers.DateTimeField()


class RenamedOrDeleted(VisibleRows):
    """Adds another name and the deletion to the route of a dataset."""

    @extend_schema(request=RenameRequest)
    def patch(self, request: MemberRequest, pk: int) -> Response:
        dataset = self.changeable(pk=pk)
        body = RenameRequest(data=request.data)
        body.is_valid(raise_exception=True)
        rename_dataset(dataset, body.validated_data["name"])
        return Response(self.get_serializer(dataset).data)  # type: ignore[attr-defined]  # of the generic view

    @extend_schema(responses={204: None})
    def delete(self, request: MemberRequest, pk: int) -> Response:
        dataset = self.changeable(pk=pk)
        name = str(dataset)
        try:
            delete_dataset(dataset)
        except InUse as error:
            raise in_use(error) from None
        return deleted(request, dataset, name)


class Deleted(VisibleRows):
    """Adds the deletion to the route of a version."""

    @extend_schema(responses={204: None})
    def delete(self, request: MemberRequest, pk: int, number: int) -> Response:
        version = self.changeable(dataset_id=pk, number=number)
        name = str(version)
        try:
            delete_version(version)
        except InUse as error:
            raise in_use(error) from None
        return deleted(request, version, name)


class VersionUses(VisibleRows):
    """What was made from a version, or is being made; while there is any, it is not deleted."""

    rows = VERSIONS

    @extend_schema(responses=UseSerializer(many=True))
    def get(self, request: MemberRequest, pk: int, number: int) -> Response:
        uses = uses_of([self.found(dataset_id=pk, number=number)])
        return Response(UseSerializer(uses, many=True).data)


class VersionAccept(VisibleRows):
    """Take findings above the limits as they are, with a reason; 409 when there are none to take."""

    rows = VERSIONS

    @extend_schema(request=AcceptRequest, responses={201: AcceptanceSerializer})
    def post(self, request: MemberRequest, pk: int, number: int) -> Response:
        version = self.changeable(dataset_id=pk, number=number)
        body = AcceptRequest(data=request.data)
        body.is_valid(raise_exception=True)
        reason = body.validated_data["reason"]
        try:
            row = accept_findings(version, user=request.user, reason=reason)
        except NothingToAccept as error:
            raise Problem("nothing_to_accept", str(error), status_code=409) from None
        audit.record(
            "accept",
            workspace=version.workspace,
            user=request.user,
            subject=version,
            request=request,
            reason=reason,
        )
        return Response(AcceptanceSerializer(row).data, status=201)


class DatasetResample(VisibleRows):
    """Make coarser candles of a version, by default the latest, as a job."""

    rows = Dataset.objects.exclude(latest=None)

    @extend_schema(request=ResampleRequest, responses={202: ImportSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        dataset = self.changeable(pk=pk)
        body = ResampleRequest(data=request.data)
        body.is_valid(raise_exception=True)
        data = body.validated_data
        spec = ResampleSpec.parse({"timeframe": data["timeframe"]})
        wanted = {"number": data["version"]} if "version" in data else {"pk": dataset.latest_id}
        version = VERSIONS.filter(dataset=dataset, **wanted).first()
        if version is None:
            raise Problem.of_field("version", f"found {data.get('version')}; there is no such one")
        row, headers = started(
            request,
            version.workspace,
            "resample",
            lambda key: launch_resampling(
                version, user=request.user, spec=spec, idempotency_key=key
            ),
            lambda row: row.job,
        )
        return Response(ImportSerializer(row).data, status=202, headers=headers)


class FileRenderer(BaseRenderer):
    """Lets a request for a file through; the view writes it itself, refusals are JSON."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return FiniteJSONRenderer().render(data)


class CsvRenderer(FileRenderer):
    media_type = "text/csv"
    format = "csv"


class ParquetRenderer(FileRenderer):
    media_type = "application/vnd.apache.parquet"
    format = "parquet"


class VersionCsv(VisibleRows):
    """All candles of a version as CSV; they read back to the same sha256."""

    rows = VERSIONS
    renderer_classes = [FiniteJSONRenderer, CsvRenderer]

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: MemberRequest, pk: int, number: int) -> Any:
        version = self.found(dataset_id=pk, number=number)
        answer = csv_answer(version)
        record_export(request, version, "csv")
        return answer


class VersionParquet(VisibleRows):
    """The sealed candles of a version as Parquet."""

    rows = VERSIONS
    renderer_classes = [FiniteJSONRenderer, ParquetRenderer]

    @extend_schema(responses={(200, ParquetRenderer.media_type): OpenApiTypes.BINARY})
    def get(self, request: MemberRequest, pk: int, number: int) -> Any:
        version = self.found(dataset_id=pk, number=number)
        answer = parquet_answer(version)
        record_export(request, version, "parquet")
        return answer


def in_use(error: InUse) -> Problem:
    """409 that names the first users by kind."""
    fields: dict[str, str] = {}
    for use in error.uses:
        fields[use.kind] = ", ".join(filter(None, [fields.get(use.kind, ""), use.name]))[:500]
    return Problem("in_use", str(error), status_code=409, fields=fields)


def deleted(request: MemberRequest, row: Dataset | DatasetVersion, name: str) -> Response:
    audit.record(
        "delete", workspace=row.workspace, user=request.user, subject=name, request=request
    )
    return Response(status=204)
