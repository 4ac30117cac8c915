"""Backtests for programs: what there is, and one more on predictions that are there."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.response import Response

from accounts.api_views import MemberRequest, VisibleList, VisibleRows
from accounts.models import NAME_MAX
from accounts.rest import Problem, StrictSerializer
from backtests.models import Backtest
from backtests.services import BacktestRefused, launch_backtest_of
from backtests.specs import BacktestSpec
from jobs.api import started
from modeling.models import PredictionSet
from specs.serializers import SpecPartField, SpecSerializerField


class BacktestSerializer(serializers.ModelSerializer[Backtest]):
    dataset = serializers.IntegerField(source="version.dataset_id")
    version = serializers.IntegerField(source="version.number")
    status = serializers.CharField(source="job.status")
    code = serializers.CharField(source="job.code")
    message = serializers.CharField(source="job.message")

    class Meta:
        model = Backtest
        fields = (
            "id",
            "name",
            "dataset",
            "version",
            "run",
            "model_prediction",
            "status",
            "code",
            "message",
            "job",
            "is_own",
            "is_holdout",
            "verdict",
            "net_return",
            "benchmark_return",
            "sharpe",
            "sharpe_low",
            "sharpe_high",
            "max_drawdown",
            "trade_count",
            "days",
            "first_at",
            "last_at",
            "badges",
            "created_at",
        )


class BacktestDetailSerializer(BacktestSerializer):
    spec = SpecSerializerField(BacktestSpec)
    metrics = serializers.SerializerMethodField()
    benchmark = serializers.SerializerMethodField()
    assumptions = serializers.SerializerMethodField()

    class Meta:
        model = Backtest
        fields = (*BacktestSerializer.Meta.fields, "spec", "metrics", "benchmark", "assumptions")

    def get_metrics(self, row: Backtest) -> dict[str, Any]:
        return {
            key: value
            for key, value in _numbers(row).items()
            if not isinstance(value, (dict, list))
        }

    def get_benchmark(self, row: Backtest) -> dict[str, Any]:
        found: dict[str, Any] = _numbers(row).get("benchmark", {})
        return found

    def get_assumptions(self, row: Backtest) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = row.report.get("assumptions", [])
        return found


def _numbers(row: Backtest) -> dict[str, Any]:
    numbers: dict[str, Any] = row.report.get("numbers", {})
    return numbers


class SourceRequest(StrictSerializer):
    predictions = serializers.IntegerField(min_value=1)


class BacktestRequest(StrictSerializer):
    name = serializers.CharField(max_length=NAME_MAX)
    dataset = serializers.IntegerField(min_value=1, required=False)
    version = serializers.IntegerField(min_value=1, required=False)
    source = SourceRequest()  # type: ignore[assignment]  # the stubs know Field.source only
    spec = SpecPartField(BacktestSpec, required=False)


def _look_at(source: PredictionSet, data: dict[str, Any]) -> None:
    """Look at the predictions of the version that a request names, else at the first. Raises Problem."""
    wanted = data.get("dataset"), data.get("version")
    known = source.run.experiment.pool if source.run else [source.version]
    for place, version in enumerate(known, start=1):
        if wanted in (
            (None, None),
            (version.dataset_id, None),
            (version.dataset_id, version.number),
        ):
            source.place = place
            return
    listed = ", ".join(f"{version.dataset_id} v{version.number}" for version in known)
    raise Problem.of_field("dataset", f"these are no predictions of it; expected one of {listed}")


class BacktestList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Backtests of the workspace; POST runs one on the predictions of a finished run, or of a registered
    model."""

    rows = Backtest.objects.for_list()
    serializer_class = BacktestSerializer

    @extend_schema(request=BacktestRequest, responses={202: BacktestSerializer})
    def post(self, request: MemberRequest) -> Response:
        body = BacktestRequest(data=request.data)
        body.is_valid(raise_exception=True)
        data = body.validated_data
        spec = BacktestSpec.parse(data.get("spec", {}))
        workspace = request.membership.workspace
        sets = PredictionSet.objects.select_related("run__job", "run__experiment")
        sets = sets.visible_to(request.user).filter(workspace=workspace)
        source = sets.filter(pk=data["source"]["predictions"]).first()
        if source is None:
            raise Problem.of_field("source.predictions", "not found")
        _look_at(source, data)
        row, headers = started(
            request,
            workspace,
            "launch",
            lambda key: _launched(source, request, data["name"], spec, key),
            lambda row: row.job,
        )
        return Response(BacktestSerializer(row).data, status=202, headers=headers)


def _launched(
    source: PredictionSet, request: MemberRequest, name: str, spec: BacktestSpec, key: str
) -> Backtest:
    try:
        return launch_backtest_of(
            source, user=request.user, name=name, spec=spec, idempotency_key=key
        )
    except BacktestRefused as error:
        raise Problem(error.code, str(error), status_code=409) from None


class BacktestDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One backtest with its measures, its benchmark and its assumptions."""

    rows = Backtest.objects.for_report()
    serializer_class = BacktestDetailSerializer
