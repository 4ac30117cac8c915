from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.response import Response

from accounts.api_views import ApiView, MemberRequest, VisibleList
from accounts.rest import Problem
from backtests.ledger import listed_trials, summary_of
from modeling.models import Trial

INSTRUMENT_MAX = 100


class TrialSerializer(serializers.ModelSerializer[Trial]):
    number = serializers.IntegerField()
    kind = serializers.CharField(source="origin")
    sharpe = serializers.FloatField(allow_null=True)
    backtest = serializers.SerializerMethodField()

    class Meta:
        model = Trial
        fields = (
            "id",
            "number",
            "kind",
            "spec_sha256",
            "seed",
            "instrument",
            "sharpe",
            "daily_sharpe",
            "days",
            "first_at",
            "last_at",
            "run",
            "backtest",
            "overfitting",
            "created_at",
        )

    def get_backtest(self, trial: Any) -> int | None:  # Any: an annotated Trial
        return trial.backtest["pk"] if trial.backtest else None


@extend_schema_view(
    get=extend_schema(
        parameters=[
            OpenApiParameter("kind", OpenApiTypes.STR, enum=Trial.Origin.values),
            OpenApiParameter("instrument", OpenApiTypes.STR),
        ]
    )
)
class TrialList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """The trial ledger of the workspace, newest first."""

    rows = Trial.objects
    serializer_class = TrialSerializer
    parameters = VisibleList.parameters | {"kind", "instrument"}

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Trial.objects.none()
        request: Any = self.request  # a MemberRequest
        wanted = request.query_params
        kind = wanted.get("kind", "")
        if kind and kind not in Trial.Origin.values:
            text = f"found {kind[:20]!r}; expected one of {', '.join(Trial.Origin.values)}"
            raise Problem.of_field("kind", text)
        instrument = wanted.get("instrument", "")[:INSTRUMENT_MAX]
        rows = listed_trials(request.membership.workspace, kind=kind, instrument=instrument)
        return rows.order_by("-pk")


class InstrumentSerializer(serializers.Serializer[Any]):
    instrument = serializers.CharField()
    trials = serializers.IntegerField()
    overfitting = serializers.FloatField(allow_null=True)


class SummarySerializer(serializers.Serializer[Any]):
    trials = serializers.IntegerField()
    distinct_specs = serializers.IntegerField()
    variance = serializers.FloatField(allow_null=True)
    luck = serializers.FloatField(allow_null=True)
    instruments = InstrumentSerializer(many=True)


class TrialSummary(ApiView):
    """How many trials there are, how much they differ, and what luck alone would reach."""

    @extend_schema(responses=SummarySerializer)
    def get(self, request: MemberRequest) -> Response:
        return Response(SummarySerializer(summary_of(request.membership.workspace)).data)
