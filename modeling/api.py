from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit
from accounts.rest import Problem, VisibleRows, refuse_conflict
from jobs.api import JobSerializer
from jobs.errors import JobConflict, QueueFull
from jobs.services import request_cancel
from markets.reading import CandleRange, InvalidRange
from modeling.models import BaselineScore, Fold, MetricPoint, PredictionSet, TrainingRun
from modeling.reading import prediction_rows
from modeling.services import resume_run

POINTS_MAX = 2000


class FoldSerializer(serializers.ModelSerializer[Fold]):
    class Meta:
        model = Fold
        fields = (
            "number",
            "splits",
            "epochs",
            "best_epoch",
            "threshold",
            "metrics",
            "weights_sha256",
            "finished_at",
        )


class BaselineSerializer(serializers.ModelSerializer[BaselineScore]):
    class Meta:
        model = BaselineScore
        fields = ("rung", "metrics", "verdicts", "reason")


class RunSerializer(serializers.ModelSerializer[TrainingRun]):
    status = serializers.CharField(source="job.status")
    predictions = serializers.SerializerMethodField()
    backtest = serializers.SerializerMethodField()

    class Meta:
        model = TrainingRun
        fields = (
            "id",
            "experiment",
            "status",
            "job",
            "seed",
            "verdict",
            "weights_sha256",
            "predictions_sha256",
            "predictions",
            "backtest",
            "created_at",
        )

    def get_predictions(self, run: TrainingRun) -> int | None:
        sets = run.prediction_sets.all()
        return next((row.pk for row in sets if row.rung == PredictionSet.MODEL), None)

    def get_backtest(self, run: TrainingRun) -> int | None:
        return next((row.pk for row in run.backtests.all() if row.is_own), None)


class RunDetailSerializer(RunSerializer):
    folds = FoldSerializer(many=True)
    baselines = BaselineSerializer(many=True)

    class Meta(RunSerializer.Meta):
        fields = (
            *RunSerializer.Meta.fields,
            "metrics",
            "folds",
            "baselines",
            "causality",
            "leak_alarm",
            "notices",
            "data_sha256",
            "code_version",
            "libraries",
            "device",
            "threads",
        )


class RunList(VisibleRows, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    rows = TrainingRun.objects.select_related("job").prefetch_related("prediction_sets", "backtests")
    serializer_class = RunSerializer


class RunDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    rows = TrainingRun.objects.select_related("job").prefetch_related(
        "prediction_sets", "backtests", "folds", "baselines"
    )
    serializer_class = RunDetailSerializer


class PointSerializer(serializers.ModelSerializer[MetricPoint]):
    class Meta:
        model = MetricPoint
        fields = ("id", "fold", "name", "step", "value")


class RunMetrics(VisibleRows, APIView):
    """Metric points in the order they were written; `after` is the last id seen."""

    rows = TrainingRun.objects

    @extend_schema(
        responses=PointSerializer(many=True), parameters=[OpenApiParameter("after", int)]
    )
    def get(self, request: Request, pk: int) -> Response:
        run = get_object_or_404(self.get_queryset(), pk=pk)
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            text = f"found {after[:20]!r}; expected a whole number"
            raise Problem("invalid", f"after: {text}", fields={"after": text})
        points = run.points.filter(pk__gt=int(after)).order_by("pk")[:POINTS_MAX]
        return Response(PointSerializer(points, many=True).data)


class RunCancel(VisibleRows, APIView):
    """Ask a run to stop; its last checkpoint is kept."""

    rows = TrainingRun.objects.select_related("job")

    @extend_schema(request=None, responses={202: JobSerializer})
    def post(self, request: Request, pk: int) -> Response:
        run = get_object_or_404(self.get_queryset(), pk=pk)
        try:
            job = request_cancel(run.job, user=request.user)
        except JobConflict as error:
            raise refuse_conflict(error) from None
        audit.record("cancel", workspace=run.workspace, user=request.user, subject=run.pk, request=request)
        return Response(JobSerializer(job).data, status=202)


class RunResume(VisibleRows, APIView):
    """Go on from the last checkpoint of a cancelled, failed or errored run."""

    rows = TrainingRun.objects.select_related("job")

    @extend_schema(request=None, responses={202: JobSerializer})
    def post(self, request: Request, pk: int) -> Response:
        run = get_object_or_404(self.get_queryset(), pk=pk)
        try:
            job = resume_run(run, user=request.user)
        except (JobConflict, QueueFull) as error:
            raise refuse_conflict(error) from None
        audit.record("resume", workspace=run.workspace, user=request.user, subject=run.pk, request=request)
        return Response(JobSerializer(job).data, status=202)


class PredictionSerializer(serializers.Serializer[Any]):
    instrument = serializers.CharField()
    open_at = serializers.DateTimeField()
    known_at = serializers.DateTimeField()
    fold = serializers.IntegerField()
    action = serializers.FloatField()
    market_regime = serializers.ListField(child=serializers.FloatField())
    confidence = serializers.FloatField()
    volatility = serializers.FloatField()
    risk = serializers.ListField(child=serializers.FloatField())
    realised_return = serializers.FloatField(allow_null=True)
    realised_volatility = serializers.FloatField(allow_null=True)


class PredictionDetail(VisibleRows, APIView):
    """Predictions per bar, out of sample only."""

    rows = PredictionSet.objects.select_related("file", "run__experiment")

    @extend_schema(
        responses=PredictionSerializer(many=True),
        parameters=[
            OpenApiParameter("from", str),
            OpenApiParameter("to", str),
            OpenApiParameter("max", int),
        ],
    )
    def get(self, request: Request, pk: int) -> Response:
        row = get_object_or_404(self.get_queryset(), pk=pk)
        try:
            span = CandleRange.parse(request.query_params)
        except InvalidRange as error:
            text = str(error)
            raise Problem("invalid", f"{error.field}: {text}", fields={error.field: text}) from None
        return Response(prediction_rows(row, span))
