from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from accounts.api_views import ApiView, MemberRequest
from accounts.rest import Problem
from backtests.compare_views import UnusableChoice, chosen
from backtests.comparing import LEAST, Comparison, compared
from modeling.code_versions import json_of
from modeling.code_versions_api import MixedCodeSerializer


class ColumnSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="pk")
    name = serializers.CharField()
    not_comparable = serializers.ListField(child=serializers.CharField())


class SettingSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    section = serializers.CharField()
    label: Any = serializers.CharField()  # Any: the stubs know Field.label only
    unit = serializers.CharField()
    values = serializers.ListField(child=serializers.JSONField(allow_null=True))
    differs = serializers.BooleanField()


class CellSerializer(serializers.Serializer[Any]):
    value = serializers.FloatField(allow_null=True)
    difference = serializers.FloatField(allow_null=True)
    interval = serializers.ListField(child=serializers.FloatField(allow_null=True), allow_null=True)
    reason = serializers.CharField()


class MeasureSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    group = serializers.CharField()
    label: Any = serializers.CharField(source="measure.label")  # Any: as above
    cells = CellSerializer(many=True)


class ComparisonSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    reference = serializers.IntegerField(source="reference.pk")
    columns = ColumnSerializer(many=True)
    mixed_code = MixedCodeSerializer(
        allow_null=True, help_text="Null where one code version trained all of them."
    )
    settings = SettingSerializer(many=True)
    measures = MeasureSerializer(many=True)


class Compare(ApiView):
    """Runs or backtests side by side: what differs, and each figure minus that of the reference."""

    parameters = frozenset({"runs", "backtests", "reference"})

    @extend_schema(
        responses=ComparisonSerializer,
        parameters=[
            OpenApiParameter("runs", OpenApiTypes.STR, description="2 to 10 ids with commas."),
            OpenApiParameter("backtests", OpenApiTypes.STR, description="2 to 10 ids with commas."),
            OpenApiParameter("reference", OpenApiTypes.INT, description="One of the ids."),
        ],
    )
    def get(self, request: MemberRequest) -> Response:
        try:
            kind, wanted, reference = chosen(request)
        except UnusableChoice as error:
            raise Problem("invalid", str(error)) from error
        if len(wanted) < LEAST:
            raise Problem.of_field(kind, f"found {len(wanted)}; expected 2 to 10 ids with commas")
        try:
            found = compared(request.user, kind, wanted, reference)
        except LookupError:
            raise Http404 from None
        return Response(ComparisonSerializer(_described(found)).data)


def _described(found: Comparison) -> dict[str, Any]:
    columns = [
        {"pk": c.pk, "name": c.name, "not_comparable": found.not_comparable(c)}
        for c in found.columns
    ]
    settings = [
        {**row, "values": [_plain(value) for value in row["cells"]]} for row in found.settings()
    ]
    return {
        "kind": found.kind,
        "reference": found.reference,
        "columns": columns,
        "mixed_code": json_of(found.mixed_code()),
        "settings": settings,
        "measures": found.measures(),
    }


def _plain(value: Any) -> Any:  # Any: a setting, as JSON has it
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    return list(value) if isinstance(value, tuple) else value
