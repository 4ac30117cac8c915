from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit
from accounts.rest import (
    Problem,
    StrictSerializer,
    VisibleRows,
    idempotency_key,
    refuse_conflict,
)
from backtests.models import Backtest
from backtests.presets import preset
from backtests.reading import equity_points, trade_count, trade_rows, trades_csv
from backtests.services import (
    create_experiment,
    estimate,
    launch_backtest,
    launch_experiment,
)
from backtests.specs import BacktestSpec, ExperimentSpec
from jobs.errors import JobConflict, QueueFull
from jobs.statuses import JobStatus
from markets.models import DatasetVersion
from markets.reading import CandleRange, InvalidRange
from modeling.api import RunSerializer
from modeling.models import Experiment, PredictionSet
from modeling.presets import PRESETS
from specs.serializers import SpecSerializerField

NAME_MAX = 200
TRADES_PER_PAGE = 200


class ChosenDataset(StrictSerializer):
    dataset = serializers.IntegerField(min_value=1)
    version = serializers.IntegerField(min_value=1)


class ExperimentRequest(StrictSerializer):
    """A preset, a spec, or a preset with parts of a spec over it."""

    name = serializers.CharField(max_length=NAME_MAX)
    datasets = ChosenDataset(many=True, allow_empty=False)
    preset = serializers.ChoiceField(choices=sorted(PRESETS), required=False)
    spec = serializers.JSONField(required=False)
    notes = serializers.CharField(max_length=10_000, required=False, allow_blank=True)


class EstimateRequest(ExperimentRequest):
    name = serializers.CharField(max_length=NAME_MAX, required=False)


class ExperimentSerializer(serializers.ModelSerializer[Experiment]):
    spec = serializers.JSONField()
    datasets = serializers.SerializerMethodField()
    runs = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Experiment
        fields = (
            "id",
            "name",
            "preset",
            "datasets",
            "spec",
            "spec_sha256",
            "holdout_at",
            "holdout_openings",
            "notes",
            "runs",
            "created_at",
        )

    def get_datasets(self, experiment: Experiment) -> list[dict[str, int]]:
        return [
            {"dataset": version.dataset_id, "version": version.number}
            for version in experiment.versions.all()
        ]


class EstimateSerializer(serializers.Serializer[Any]):
    parameters = serializers.IntegerField()
    weight_mib = serializers.FloatField()
    memory_mib = serializers.FloatField()
    windows = serializers.IntegerField()
    folds = serializers.IntegerField()
    runs = serializers.IntegerField()
    seconds_low = serializers.IntegerField()
    seconds_high = serializers.IntegerField()
    holdout_at = serializers.DateTimeField()


def _chosen(request: Request, data: dict[str, Any]) -> tuple[list[DatasetVersion], ExperimentSpec]:
    """The visible versions and the spec of a request. Raises Problem or InvalidSpec."""
    rows = DatasetVersion.objects.select_related("dataset__instrument").visible_to(request.user)
    versions = [
        rows.filter(dataset_id=item["dataset"], number=item["version"]).first()
        for item in data["datasets"]
    ]
    found = [version for version in versions if version is not None]
    if len(found) < len(versions):
        raise Problem("invalid", "datasets: not found", fields={"datasets": "not found"})
    over = data.get("spec", {})
    if not isinstance(over, dict):
        raise Problem("invalid", "spec: expected an object", fields={"spec": "expected an object"})
    name = data.get("preset")
    base = preset(name).to_json() if name else {}
    return found, ExperimentSpec.parse(_merged(base, over))


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        merged[key] = _merged(inner, value) if both else value
    return merged


class ExperimentList(VisibleRows, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Experiments of the workspace; POST makes one. They never change: clone instead."""

    rows = Experiment.objects.prefetch_related("versions", "runs")
    serializer_class = ExperimentSerializer

    @extend_schema(request=ExperimentRequest, responses={201: ExperimentSerializer})
    def post(self, request: Request) -> Response:
        body = ExperimentRequest(data=request.data)
        body.is_valid(raise_exception=True)
        versions, spec = _chosen(request, body.validated_data)
        experiment = create_experiment(
            workspace=request.membership.workspace,
            user=request.user,
            name=body.validated_data["name"],
            versions=versions,
            spec=spec,
            preset=body.validated_data.get("preset", ""),
            notes=body.validated_data.get("notes", ""),
        )
        audit.record(
            "create", workspace=experiment.workspace, user=request.user, subject=experiment.pk, request=request
        )
        return Response(ExperimentSerializer(experiment).data, status=201)


class ExperimentDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    rows = Experiment.objects.prefetch_related("versions", "runs")
    serializer_class = ExperimentSerializer

    def http_method_not_allowed(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.get_object()
        raise Problem(
            "method_not_allowed", "Experiments do not change; clone it.", status_code=405
        )


class ExperimentEstimate(APIView):
    """What a run would cost; nothing is stored or built."""

    @extend_schema(request=EstimateRequest, responses=EstimateSerializer)
    def post(self, request: Request) -> Response:
        body = EstimateRequest(data=request.data)
        body.is_valid(raise_exception=True)
        versions, spec = _chosen(request, body.validated_data)
        if len(versions) != 1:
            raise Problem("invalid", "datasets: expected exactly one", fields={"datasets": "expected exactly one"})
        return Response(EstimateSerializer(estimate(spec, versions[0])).data)


class SeedRequest(StrictSerializer):
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)


class ExperimentRuns(VisibleRows, APIView):
    """Launch a run: of the given seed, else of every seed of the spec."""

    rows = Experiment.objects.prefetch_related("versions__dataset__instrument")

    @extend_schema(request=SeedRequest, responses={202: RunSerializer})
    def post(self, request: Request, pk: int) -> Response:
        experiment = get_object_or_404(self.get_queryset(), pk=pk)
        body = SeedRequest(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            runs = launch_experiment(
                experiment,
                user=request.user,
                seed=body.validated_data.get("seed"),
                idempotency_key=idempotency_key(request),
            )
        except (JobConflict, QueueFull) as error:
            raise refuse_conflict(error) from None
        audit.record(
            "launch", workspace=experiment.workspace, user=request.user, subject=runs[0].pk, request=request
        )
        answer = RunSerializer(runs[0]).data | {"runs": [run.pk for run in runs]}
        return Response(answer, status=202)


class BacktestSerializer(serializers.ModelSerializer[Backtest]):
    status = serializers.CharField(source="job.status")
    code = serializers.CharField(source="job.code")
    message = serializers.CharField(source="job.message")

    class Meta:
        model = Backtest
        fields = (
            "id",
            "name",
            "run",
            "status",
            "code",
            "message",
            "job",
            "is_own",
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

    class Meta(BacktestSerializer.Meta):
        fields = (*BacktestSerializer.Meta.fields, "spec", "metrics", "benchmark", "assumptions")

    def get_metrics(self, row: Backtest) -> dict[str, Any]:
        return {key: value for key, value in _numbers(row).items() if not isinstance(value, (dict, list))}

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
    source = SourceRequest()
    spec = serializers.JSONField(required=False)


class BacktestList(VisibleRows, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Backtests of the workspace; POST runs one on the predictions of a finished run."""

    rows = Backtest.objects.for_list()
    serializer_class = BacktestSerializer

    @extend_schema(request=BacktestRequest, responses={202: BacktestSerializer})
    def post(self, request: Request) -> Response:
        body = BacktestRequest(data=request.data)
        body.is_valid(raise_exception=True)
        data = body.validated_data
        spec = BacktestSpec.parse(data.get("spec", {}))
        sets = PredictionSet.objects.select_related("run__job", "run__experiment")
        source = sets.visible_to(request.user).filter(pk=data["source"]["predictions"]).first()
        if source is None:
            text = "not found"
            raise Problem("invalid", f"source.predictions: {text}", fields={"source.predictions": text})
        if source.run.job.status != JobStatus.SUCCEEDED:
            raise Problem("run_not_finished", "The run has not succeeded.", status_code=409)
        try:
            row = launch_backtest(
                workspace=request.membership.workspace,
                user=request.user,
                name=data["name"],
                run=source.run,
                spec=spec,
                idempotency_key=idempotency_key(request),
            )
        except (JobConflict, QueueFull) as error:
            raise refuse_conflict(error) from None
        audit.record("launch", workspace=row.workspace, user=request.user, subject=row.pk, request=request)
        return Response(BacktestSerializer(row).data, status=202)


class BacktestDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    rows = Backtest.objects.for_list()
    serializer_class = BacktestDetailSerializer


class FinishedBacktest(VisibleRows, APIView):
    """Base of the answers that need a finished report."""

    rows = Backtest.objects.for_list().select_related("equity", "trades")

    def finished(self, pk: int) -> Backtest:
        row: Backtest = get_object_or_404(self.get_queryset(), pk=pk)
        if not row.report:
            raise Problem(
                "backtest_not_finished", f"The backtest is {row.job.status}.", status_code=409
            )
        return row


class BacktestTrades(FinishedBacktest):
    @extend_schema(responses=OpenApiTypes.OBJECT, parameters=[OpenApiParameter("page", int)])
    def get(self, request: Request, pk: int) -> Response:
        row = self.finished(pk)
        page = request.query_params.get("page", "1")
        count = trade_count(row)
        last = max(1, -(-count // TRADES_PER_PAGE))
        if not (page.isascii() and page.isdigit() and 1 <= int(page[:9]) <= last):
            raise Problem("not_found", f"page: expected 1 to {last}", status_code=404)
        start = (int(page) - 1) * TRADES_PER_PAGE
        return Response({"count": count, "results": trade_rows(row, start, start + TRADES_PER_PAGE)})


class BacktestTradesCsv(FinishedBacktest):
    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request, pk: int) -> HttpResponse:
        answer = HttpResponse(trades_csv(self.finished(pk)), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="trades.csv"'
        return answer


class BacktestEquity(FinishedBacktest):
    @extend_schema(responses=OpenApiTypes.OBJECT, parameters=[OpenApiParameter("max", int)])
    def get(self, request: Request, pk: int) -> Response:
        try:
            span = CandleRange.parse(request.query_params)
        except InvalidRange as error:
            text = str(error)
            raise Problem("invalid", f"{error.field}: {text}", fields={error.field: text}) from None
        return Response(equity_points(self.finished(pk), span.most))


class BacktestReport(FinishedBacktest):
    """report.json: all figures under `numbers`, equal for equal runs."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pk: int) -> Response:
        row = self.finished(pk)
        run = row.run
        return Response(
            {
                "id": row.pk,
                "name": row.name,
                **row.report,
                "run": {
                    "id": run.pk,
                    "seed": run.seed,
                    "weights_sha256": run.weights_sha256,
                    "predictions_sha256": run.predictions_sha256,
                    "data_sha256": run.data_sha256,
                    "code_version": run.code_version,
                },
                "spec": row.spec.to_json(),
                "spec_sha256": row.spec_sha256,
            }
        )
