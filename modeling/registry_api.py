"""The model registry for programs: the same services as the pages."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import MemberRequest, VisibleList, VisibleRows
from accounts.rest import Problem, StrictSerializer
from jobs.api import started
from markets.models import DatasetVersion
from modeling.cards import model_card, trained_on
from modeling.downloads import weights_answer
from modeling.models import ModelPrediction, RegisteredModel, TrainingRun
from modeling.registry import (
    NAME_MAX,
    NOTES_MAX,
    RegistryRefused,
    change_model,
    launch_prediction,
    register_model,
)


class ModelSerializer(serializers.ModelSerializer[RegisteredModel]):
    fold = serializers.IntegerField(source="fold.number")
    trained_on = serializers.SerializerMethodField()

    class Meta:
        model = RegisteredModel
        fields = ("id", "name", "stage", "notes", "run", "fold", "trained_on", "created_at")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_trained_on(self, model: RegisteredModel) -> dict[str, Any]:
        return trained_on(model)


class ModelDetailSerializer(ModelSerializer):
    spec_sha256 = serializers.CharField(source="run.experiment.spec_sha256")
    weights_sha256 = serializers.CharField(source="fold.weights_sha256")
    seed = serializers.IntegerField(source="run.seed")
    code_version = serializers.CharField(source="run.code_version")
    metrics = serializers.JSONField(source="run.metrics")
    leak_alarm = serializers.JSONField(source="run.leak_alarm")
    verdict = serializers.SerializerMethodField()

    class Meta:
        model = RegisteredModel
        fields = (
            *ModelSerializer.Meta.fields,
            "spec_sha256",
            "weights_sha256",
            "seed",
            "code_version",
            "metrics",
            "verdict",
            "leak_alarm",
        )

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_verdict(self, model: RegisteredModel) -> dict[str, Any] | None:
        """Null while a leak alarm that nobody explained withholds it."""
        return None if model.run.is_withheld else model.run.verdict


class ModelRequest(StrictSerializer):
    run = serializers.IntegerField(min_value=1)
    fold = serializers.IntegerField(min_value=1, required=False)
    name = serializers.CharField(max_length=NAME_MAX)
    stage = serializers.ChoiceField(RegisteredModel.Stage.choices, required=False)
    notes = serializers.CharField(max_length=NOTES_MAX, required=False, allow_blank=True)


class ModelChange(StrictSerializer):
    stage = serializers.ChoiceField(RegisteredModel.Stage.choices, required=False)
    notes = serializers.CharField(max_length=NOTES_MAX, required=False, allow_blank=True)


class ModelList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Registered models, newest first; POST registers a fold of a succeeded run."""

    rows = RegisteredModel.objects.for_list()
    serializer_class = ModelSerializer

    @extend_schema(request=ModelRequest, responses={201: ModelDetailSerializer})
    def post(self, request: MemberRequest) -> Response:
        body = ModelRequest(data=request.data)
        body.is_valid(raise_exception=True)
        data = dict(body.validated_data)
        runs = TrainingRun.objects.visible_to(request.user).select_related("job", "experiment")
        run = runs.filter(workspace=request.membership.workspace, pk=data.pop("run")).first()
        if run is None:
            raise Problem.of_field("run", "not found")
        try:
            model = register_model(run, user=request.user, **data)
        except RegistryRefused as error:
            raise Problem(error.code, str(error), status_code=409) from None
        audit.record(
            "register_model",
            workspace=model.workspace,
            user=request.user,
            subject=model.name,
            request=request,
            model=model.pk,
            run=run.pk,
            stage=model.stage,
        )
        return Response(ModelDetailSerializer(model).data, status=201)


class ModelDetail(VisibleRows):
    """One registered model; PATCH changes its stage or its notes, which is audited."""

    rows = RegisteredModel.objects.for_list()

    @extend_schema(responses=ModelDetailSerializer)
    def get(self, request: MemberRequest, pk: int) -> Response:
        return Response(ModelDetailSerializer(self.found(pk=pk)).data)

    @extend_schema(request=ModelChange, responses=ModelDetailSerializer)
    def patch(self, request: MemberRequest, pk: int) -> Response:
        model = self.changeable(pk=pk)
        body = ModelChange(data=request.data)
        body.is_valid(raise_exception=True)
        if changed := change_model(model, **body.validated_data):
            audit.record(
                "change_model",
                workspace=model.workspace,
                user=request.user,
                subject=model.name,
                request=request,
                model=model.pk,
                **changed,
            )
        return Response(ModelDetailSerializer(model).data)


class ModelCard(VisibleRows):
    """All that is needed to use the weights elsewhere: features, scalers, thresholds, checksums."""

    rows = RegisteredModel.objects.select_related("run__experiment", "fold")

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: MemberRequest, pk: int) -> Response:
        return Response(model_card(self.found(pk=pk)))


class ModelWeights(VisibleRows):
    """The weights as a safetensors file."""

    rows = RegisteredModel.objects.select_related("fold__weights", "workspace")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: MemberRequest, pk: int) -> FileResponse:
        return weights_answer(request, self.found(pk=pk))


class ModelPredictionSerializer(serializers.ModelSerializer[ModelPrediction]):
    dataset = serializers.IntegerField(source="version.dataset_id")
    version = serializers.IntegerField(source="version.number")
    status = serializers.CharField(source="job.status")
    predictions_sha256 = serializers.CharField(source="predictions.sha256", default="")

    class Meta:
        model = ModelPrediction
        fields = (
            "id",
            "model",
            "dataset",
            "version",
            "status",
            "job",
            "predictions",
            "predictions_sha256",
            "metrics",
            "notices",
            "created_at",
        )


class PredictionRequest(StrictSerializer):
    dataset = serializers.IntegerField(min_value=1)
    version = serializers.IntegerField(min_value=1)


class ModelPredictions(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """What a model predicted on other versions, newest first; POST predicts on one."""

    rows = RegisteredModel.objects.for_list().select_related("workspace")
    serializer_class = ModelPredictionSerializer

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.paginate_queryset(self.found(pk=kwargs["pk"]).predictions.for_list())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(request=PredictionRequest, responses={202: ModelPredictionSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        model = self.changeable(pk=pk)
        body = PredictionRequest(data=request.data)
        body.is_valid(raise_exception=True)
        dataset, number = body.validated_data["dataset"], body.validated_data["version"]
        versions = DatasetVersion.objects.for_list().filter(workspace=model.workspace_id)
        version = versions.filter(dataset=dataset, number=number).first()
        if version is None:
            raise Problem.of_field("dataset", f"no version {number} of dataset {dataset}")
        try:
            row, headers = started(
                request,
                model.workspace,
                "predict",
                lambda key: launch_prediction(
                    model, version, user=request.user, idempotency_key=key
                )[0],
                lambda made: made.job,
            )
        except RegistryRefused as error:
            raise Problem(error.code, str(error), status_code=409) from None
        return Response(ModelPredictionSerializer(row).data, status=202, headers=headers)
