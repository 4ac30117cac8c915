from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import MemberRequest, VisibleList, VisibleRows
from accounts.rest import Problem, StrictSerializer, refuse_conflict
from backtests.models import Study, StudyRun, status_of_all
from backtests.studies import SEEDS_MAX, cancel_study, launch_study, resume_study, seeds_of
from backtests.study_table import WORDS, mixed_code_of, progress_of, table_json
from backtests.variants import KEYS
from jobs.api import resumed, started
from jobs.errors import JobConflict
from modeling.code_versions import json_of
from modeling.code_versions_api import MixedCodeSerializer
from modeling.models import Experiment

SEEDS = 3


class StudyRequest(StrictSerializer):
    """An experiment, the seeds (three by default) and the variants (all by default)."""

    experiment = serializers.IntegerField(min_value=1)
    seeds = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=2**31 - 1),
        required=False,
        allow_empty=False,
        max_length=SEEDS_MAX,
    )
    variants = serializers.ListField(
        child=serializers.ChoiceField(choices=KEYS), required=False, allow_empty=False
    )
    take_other_code = serializers.BooleanField(
        default=False,
        help_text="Take over what other code than the running one has trained; else train it again.",
    )


class StudySerializer(serializers.ModelSerializer[Study]):
    class Meta:
        model = Study
        fields = ("id", "name", "experiment", "seeds", "job", "created_at")


class ProgressSerializer(serializers.Serializer[Any]):
    runs = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    running = serializers.IntegerField()
    queued = serializers.IntegerField()
    stopped = serializers.IntegerField()


class StudyCellSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    mean = serializers.FloatField(allow_null=True)
    std = serializers.FloatField(allow_null=True)
    difference = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    rows = serializers.IntegerField(allow_null=True)
    word = serializers.ChoiceField(choices=tuple(WORDS), allow_blank=True)
    reason = serializers.CharField(allow_blank=True)


class StudyRunSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    seed = serializers.IntegerField()
    status = serializers.CharField()
    code_version = serializers.CharField(
        allow_blank=True, help_text="What trained it; empty until it has succeeded."
    )


class StudyVariantSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    label: Any = serializers.CharField()  # Any: the stubs know Field.label only
    change = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    experiment = serializers.IntegerField(allow_null=True)
    parameters = serializers.IntegerField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    seeds_finished = serializers.IntegerField()
    seeds_compared = serializers.ListField(child=serializers.IntegerField())
    runs = StudyRunSerializer(many=True)
    cells = StudyCellSerializer(many=True)


class StudyDetailSerializer(StudySerializer):
    """With the table as far as it is filled."""

    status = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    mixed_code = serializers.SerializerMethodField()
    variants = serializers.SerializerMethodField()

    class Meta:
        model = Study
        fields = (*StudySerializer.Meta.fields, "status", "progress", "mixed_code", "variants")

    def to_representation(self, instance: Study) -> Any:
        self.parts = list(StudyRun.objects.of_study(instance))  # read once for all fields
        return super().to_representation(instance)

    def get_status(self, study: Study) -> str:
        return status_of_all(study.jobs(self.parts))

    @extend_schema_field(ProgressSerializer)
    def get_progress(self, study: Study) -> Any:
        return progress_of(self.parts)

    @extend_schema_field(MixedCodeSerializer(allow_null=True))
    def get_mixed_code(self, study: Study) -> Any:
        """What to say where several code versions trained the finished runs; null where one did."""
        return json_of(mixed_code_of(self.parts))

    @extend_schema_field(StudyVariantSerializer(many=True))
    def get_variants(self, study: Study) -> Any:
        return table_json(study, self.parts)


class StudyList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Studies of the workspace; POST launches one: each variant changes one component."""

    rows = Study.objects
    serializer_class = StudySerializer

    @extend_schema(request=StudyRequest, responses={202: StudyDetailSerializer})
    def post(self, request: MemberRequest) -> Response:
        body = StudyRequest(data=request.data)
        body.is_valid(raise_exception=True)
        data = body.validated_data
        experiment = (
            Experiment.objects.visible_to(request.user)
            .filter(workspace=request.membership.workspace, pk=data["experiment"])
            .prefetch_related("versions__dataset__instrument")
            .first()
        )
        if experiment is None:
            raise Problem.of_field("experiment", "not found")
        study, headers = started(
            request,
            experiment.workspace,
            "launch",
            lambda key: launch_study(
                experiment,
                user=request.user,
                seeds=data.get("seeds") or seeds_of(experiment, SEEDS),
                keys=data.get("variants", KEYS),
                take_other_code=data["take_other_code"],
                idempotency_key=key,
            ),
            lambda study: study.job,
        )
        return Response(StudyDetailSerializer(study).data, status=202, headers=headers)


class StudyDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One study with its table as far as it is filled."""

    rows = Study.objects.select_related("job")
    serializer_class = StudyDetailSerializer


class StudyChange(VisibleRows):
    """Base of cancel and resume: 202 with the study, or 409 with the reason."""

    rows = Study.objects.select_related("job", "workspace")

    def changed(self, pk: int, headers: dict[str, str] | None = None) -> Response:
        return Response(StudyDetailSerializer(self.found(pk=pk)).data, status=202, headers=headers)


class StudyCancel(StudyChange):
    """Ask everything of the study that is open to stop; finished runs stay."""

    @extend_schema(request=None, responses={202: StudyDetailSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        study = self.changeable(pk=pk)
        try:
            cancel_study(study, user=request.user)
        except JobConflict as error:
            raise refuse_conflict(error) from None
        audit.record(
            "cancel",
            workspace=study.workspace,
            user=request.user,
            subject=f"study {study.pk}",
            request=request,
        )
        return self.changed(pk)


class StudyResume(StudyChange):
    """Go on with what was stopped or failed."""

    @extend_schema(request=None, responses={202: StudyDetailSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        study = self.changeable(pk=pk)
        _, headers = resumed(request, study, resume_study, subject=f"study {study.pk}")
        return self.changed(pk, headers)
