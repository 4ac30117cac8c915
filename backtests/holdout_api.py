from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import MemberRequest, VisibleRows
from accounts.models import NAME_MAX
from accounts.rest import Problem, StrictSerializer, idempotency_key, refuse_conflict
from backtests.openings import Asked, HoldoutRefused, open_and_backtest
from jobs.api import REPLAYED
from jobs.errors import JobConflict, QueueFull
from modeling.models import Experiment, HoldoutOpening, TrainingRun
from modeling.openings import openings_seen


class OpeningRequest(StrictSerializer):
    run = serializers.IntegerField(min_value=1)
    name = serializers.CharField(max_length=NAME_MAX)


class OpeningSerializer(serializers.ModelSerializer[HoldoutOpening]):
    status = serializers.CharField(source="job.status")
    backtest = serializers.SerializerMethodField()

    class Meta:
        model = HoldoutOpening
        fields = (
            "id",
            "run",
            "job",
            "status",
            "openings_before",
            "from_at",
            "until_at",
            "metrics",
            "predictions",
            "backtest",
            "created_at",
        )

    def get_backtest(self, opening: HoldoutOpening) -> int | None:
        return next((row.pk for row in opening.run.backtests.all() if row.is_holdout), None)


class HoldoutSerializer(serializers.Serializer[Any]):
    sealed_from = serializers.DateTimeField()
    sealed_until = serializers.DateTimeField()
    openings_seen = serializers.IntegerField()
    openings = OpeningSerializer(many=True)


class ExperimentHoldout(VisibleRows):
    """The sealed span and its openings; POST opens it with one run. This cannot be undone."""

    rows = Experiment.objects.select_related("workspace")

    @extend_schema(responses=HoldoutSerializer)
    def get(self, request: MemberRequest, pk: int) -> Response:
        experiment = self.found(pk=pk)
        body = {
            "sealed_from": experiment.holdout_at,
            "sealed_until": experiment.holdout_until,
            "openings_seen": openings_seen(experiment),
            "openings": experiment.openings.select_related("job").prefetch_related(
                "run__backtests"
            ),
        }
        return Response(HoldoutSerializer(body).data)

    @extend_schema(request=OpeningRequest, responses={202: OpeningSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        experiment = self.changeable(pk=pk)
        body = OpeningRequest(data=request.data)
        body.is_valid(raise_exception=True)
        runs = TrainingRun.objects.select_related("experiment__workspace", "job")
        run = runs.filter(experiment=experiment, pk=body.validated_data["run"]).first()
        if run is None:
            raise Problem.of_field("run", "not found in this experiment")
        try:
            opening, asked = open_and_backtest(
                run,
                user=request.user,
                name=body.validated_data["name"],
                idempotency_key=idempotency_key(request),
            )
        except HoldoutRefused as error:
            if error.code == "wrong_name":
                raise Problem.of_field("name", str(error)) from None
            raise Problem(error.code, str(error), status_code=409) from None
        except (JobConflict, QueueFull) as error:
            raise refuse_conflict(error) from None
        if asked is not Asked.REPLAYED:
            _record(asked, request, opening)
        answer = OpeningSerializer(opening).data
        return Response(answer, status=202, headers=REPLAYED if asked is Asked.REPLAYED else {})


def _record(asked: Asked, request: MemberRequest, opening: HoldoutOpening) -> None:
    audit.record(
        asked,
        workspace=opening.workspace,
        user=request.user,
        subject=opening.experiment.name,
        request=request,
        experiment=opening.experiment_id,
        run=opening.run_id,
        openings_before=opening.openings_before,
    )
