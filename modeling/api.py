from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.response import Response

from accounts.api_views import MemberRequest, VisibleList, VisibleRows
from accounts.rest import Problem, whole_number
from jobs.api import JobSerializer, cancelled, resumed
from markets.api.datasets import SPAN, SPAN_SCHEMA, span_of
from markets.candles.aggregate import MAX_POINTS
from modeling.fold_rows import half_lives_of
from modeling.models import (
    BaselineScore,
    Fold,
    MetricPoint,
    PredictionSet,
    TrainingRun,
    instrument_name,
)
from modeling.reading import prediction_rows
from modeling.selections import selection_of, selection_report
from modeling.services import resume_run


class ChoiceSerializer(serializers.Serializer[Any]):
    """What a fold selected: relevance of every candidate, redundancy of the chosen at their choice."""

    names = serializers.ListField(child=serializers.CharField())
    relevance = serializers.DictField(child=serializers.FloatField())
    redundancy = serializers.DictField(child=serializers.FloatField())


HALF_LIVES = serializers.DictField(child=serializers.ListField(child=serializers.FloatField()))


class FoldSerializer(serializers.ModelSerializer[Fold]):
    selection = serializers.SerializerMethodField()
    half_lives = serializers.SerializerMethodField()

    class Meta:
        model = Fold
        fields = (
            "number",
            "splits",
            "selection",
            "half_lives",
            "epochs",
            "best_epoch",
            "threshold",
            "metrics",
            "weights_sha256",
            "finished_at",
        )

    @extend_schema_field(ChoiceSerializer(allow_null=True))
    def get_selection(self, fold: Fold) -> dict[str, Any] | None:
        found = selection_of(fold)
        return found.to_json() if found else None

    @extend_schema_field(HALF_LIVES)
    def get_half_lives(self, fold: Fold) -> dict[str, list[float]]:
        """Bars after which the attention of each head has halved, by layer; empty without decay."""
        return half_lives_of(fold)


class SharesSerializer(serializers.Serializer[Any]):
    """Share of folds that chose each feature, and the mean pairwise Kuncheva index of the folds."""

    shares = serializers.DictField(child=serializers.FloatField())
    kuncheva_index = serializers.FloatField(allow_null=True)


class BaselineSerializer(serializers.ModelSerializer[BaselineScore]):
    class Meta:
        model = BaselineScore
        fields = ("rung", "metrics", "reason")


class RunSerializer(serializers.ModelSerializer[TrainingRun]):
    status = serializers.CharField(source="job.status")
    verdict = serializers.SerializerMethodField()
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

    def get_verdict(self, run: TrainingRun) -> dict[str, Any] | None:
        """Head verdicts; null while a leak alarm that nobody explained withholds them."""
        return None if run.is_withheld else run.verdict

    def get_predictions(self, run: TrainingRun) -> int | None:
        sets = run.prediction_sets.all()
        return next(
            (
                row.pk
                for row in sets
                if row.rung == PredictionSet.MODEL and not row.is_holdout and row.path <= 1
            ),
            None,
        )

    def get_backtest(self, run: TrainingRun) -> int | None:
        return next((row.pk for row in run.backtests.all() if row.is_own), None)


BACKTESTS = TrainingRun._meta.get_field("backtests").related_model._default_manager
LISTED = TrainingRun.objects.select_related("job").prefetch_related(
    Prefetch(
        "prediction_sets", PredictionSet.objects.only("run", "rung", "path", "is_holdout", "sha256")
    ),
    # Their app lies above this one. A list needs no report of theirs.
    Prefetch("backtests", BACKTESTS.only("run", "is_own")),
)


class PathSerializer(serializers.ModelSerializer[PredictionSet]):
    """The predictions of one path; those of the first are the run's own."""

    predictions = serializers.IntegerField(source="pk")

    class Meta:
        model = PredictionSet
        fields = ("path", "predictions", "sha256")


class RunDetailSerializer(RunSerializer):
    folds = FoldSerializer(many=True)
    paths = serializers.SerializerMethodField()
    baselines = BaselineSerializer(many=True)
    selection = serializers.SerializerMethodField()

    class Meta:
        model = TrainingRun
        fields = (
            *RunSerializer.Meta.fields,
            "metrics",
            "folds",
            "paths",
            "selection",
            "baselines",
            "causality",
            "leak_alarm",
            "alarm_explanation",
            "alarm_explained_at",
            "notices",
            "data_sha256",
            "code_version",
            "libraries",
            "device",
            "threads",
        )

    @extend_schema_field(PathSerializer(many=True))
    def get_paths(self, run: TrainingRun) -> list[dict[str, Any]]:
        """Empty unless the scheme is cpcv."""
        sets = [row for row in run.prediction_sets.all() if row.path and row.rung == row.MODEL]
        return list(PathSerializer(sorted(sets, key=lambda row: row.path), many=True).data)

    @extend_schema_field(SharesSerializer(allow_null=True))
    def get_selection(self, run: TrainingRun) -> dict[str, Any] | None:
        """Null where no fold selects."""
        found = selection_report(list(run.folds.all()))
        if found is None:
            return None
        shares = {row["name"]: row["share"] for row in found["features"]}
        return {"shares": shares, "kuncheva_index": found["kuncheva_index"]}


class RunList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Training runs, newest first."""

    rows = LISTED.for_list().defer("metrics")
    serializer_class = RunSerializer


class RunDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One run with its folds, its baselines and its verdict."""

    rows = LISTED.prefetch_related("folds", "baselines")
    serializer_class = RunDetailSerializer


class PointSerializer(serializers.ModelSerializer[MetricPoint]):
    class Meta:
        model = MetricPoint
        fields = ("id", "fold", "name", "step", "value")


class RunMetrics(VisibleRows):
    """Metric points in the order they were written; `after` is the last id seen."""

    rows = TrainingRun.objects
    parameters = frozenset({"after"})

    @extend_schema(
        responses=PointSerializer(many=True),
        parameters=[OpenApiParameter("after", OpenApiTypes.INT)],
    )
    def get(self, request: MemberRequest, pk: int) -> Response:
        run = self.found(pk=pk)
        after = whole_number(request, "after", 0, at_least=0, at_most=10**18)
        points = run.points.filter(pk__gt=after).order_by("pk")[:MAX_POINTS]
        return Response(PointSerializer(points, many=True).data)


class RunCancel(VisibleRows):
    """Ask a run to stop; its last checkpoint is kept."""

    rows = TrainingRun.objects.select_related("job")

    @extend_schema(request=None, responses={202: JobSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        return cancelled(request, self.changeable(pk=pk).job)


class RunResume(VisibleRows):
    """Go on from the last checkpoint of a cancelled, failed or errored run.

    409 with the code `causality` where its certificate has failed: launch a new run once that is mended.
    """

    rows = TrainingRun.objects.select_related("job")

    @extend_schema(request=None, responses={202: JobSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        run = self.changeable(pk=pk)
        job, headers = resumed(request, run, resume_run, subject=run.pk)
        return Response(JobSerializer(job).data, status=202, headers=headers)


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
    realised_regime = serializers.IntegerField(allow_null=True, min_value=0, max_value=3)
    realised_volatility = serializers.FloatField(allow_null=True)
    realised_risk = serializers.IntegerField(allow_null=True, min_value=0, max_value=2)


class PredictionDetail(VisibleRows):
    """Predictions per bar, out of sample only; from `from` on, at most `max` of them.

    Of several instruments those of the first come first; `instrument` names one.
    """

    rows = PredictionSet.objects.select_related("file", "run__experiment")
    parameters = SPAN | {"instrument"}

    @extend_schema(
        responses=PredictionSerializer(many=True),
        parameters=[*SPAN_SCHEMA, OpenApiParameter("instrument", OpenApiTypes.STR)],
    )
    def get(self, request: MemberRequest, pk: int) -> Response:
        row = self.found(pk=pk)
        if wanted := request.query_params.get("instrument", ""):
            row.place = _place_of(wanted, row)
        return Response(prediction_rows(row, span_of(request)))


def _place_of(wanted: str, row: PredictionSet) -> int:
    """Which of the predicted instruments has this name. Raises Problem."""
    known = row.run.experiment.instruments if row.run else [instrument_name(row.version)]
    if wanted not in known:
        expected = ", ".join(known)
        raise Problem.of_field("instrument", f"found {wanted[:80]!r}; expected one of {expected}")
    return known.index(wanted) + 1
