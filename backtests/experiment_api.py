"""Experiments for programs: the same services as the pages."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import ApiView, MemberRequest, VisibleList, VisibleRows
from accounts.models import NAME_MAX, NOTES_MAX
from accounts.rest import Problem, StrictSerializer
from backtests.alarm_api import SeedExplanationSerializer
from backtests.models import SeedVerdict
from backtests.presets import preset
from backtests.seeds_table import mixed_code_of
from backtests.services import create_experiment, estimate, launch_experiment
from backtests.specs import ExperimentSpec
from jobs.api import started
from markets.models import DatasetVersion
from modeling.api import RunSerializer
from modeling.code_versions import json_of
from modeling.code_versions_api import MixedCodeSerializer
from modeling.models import Experiment, TrainingRun
from modeling.presets import PRESETS
from modeling.services import (
    archive_experiment,
    record_parent,
    refuse_many,
    unarchive_experiment,
)
from specs.serializers import SpecPartField, SpecSerializerField


class ChosenDataset(StrictSerializer):
    dataset = serializers.IntegerField(min_value=1)
    version = serializers.IntegerField(min_value=1)


class ExperimentRequest(StrictSerializer):
    """A preset, a spec, or a preset with parts of a spec over it."""

    name = serializers.CharField(max_length=NAME_MAX)
    datasets = ChosenDataset(many=True, allow_empty=False)
    preset = serializers.ChoiceField(choices=sorted(PRESETS), required=False)
    spec = SpecPartField(ExperimentSpec, required=False)
    notes = serializers.CharField(max_length=NOTES_MAX, required=False, allow_blank=True)
    parent = serializers.IntegerField(  # type: ignore[assignment]  # the stubs know Field.parent only
        min_value=1, required=False, help_text="The experiment of this workspace it is a clone of."
    )


class EstimateRequest(ExperimentRequest):
    """The body of an experiment; here it needs no name."""

    name = serializers.CharField(max_length=NAME_MAX, required=False)


class ExperimentSerializer(serializers.ModelSerializer[Experiment]):
    spec = SpecSerializerField(ExperimentSpec, read_only=True)
    datasets = serializers.SerializerMethodField()
    runs: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)  # Any: a list of ids

    class Meta:
        model = Experiment
        fields = (
            "id",
            "name",
            "preset",
            "parent",
            "datasets",
            "spec",
            "spec_sha256",
            "holdout_at",
            "holdout_openings",
            "notes",
            "runs",
            "archived_at",
            "created_at",
        )

    @extend_schema_field(ChosenDataset(many=True))
    def get_datasets(self, experiment: Experiment) -> list[dict[str, int]]:
        return [
            {"dataset": version.dataset_id, "version": version.number}
            for version in experiment.pool
        ]


class SeedVerdictSerializer(serializers.ModelSerializer[SeedVerdict]):
    """Head scores, head verdicts and account of the mean prediction over the seeds of these runs."""

    mixed_code = serializers.SerializerMethodField()

    class Meta:
        model = SeedVerdict
        fields = ("id", "runs", "mixed_code", "metrics", "heads", "equity", "missing")

    @extend_schema_field(MixedCodeSerializer(allow_null=True))
    def get_mixed_code(self, row: SeedVerdict) -> dict[str, Any] | None:
        """What to say where several code versions trained these runs; null where one did."""
        pooled = TrainingRun.objects.filter(pk__in=row.runs).only("code_version", "notices")
        return json_of(mixed_code_of(pooled))


class ExperimentDetailSerializer(ExperimentSerializer):
    verdict = serializers.SerializerMethodField()
    verdict_alarm = serializers.SerializerMethodField()

    class Meta:
        model = Experiment
        fields = (*ExperimentSerializer.Meta.fields, "verdict", "verdict_alarm")

    @extend_schema_field(SeedVerdictSerializer(allow_null=True))
    def get_verdict(self, experiment: Experiment) -> dict[str, Any] | None:
        """That of the mean prediction over seeds; null before two have finished, or while withheld."""
        row = SeedVerdict.objects.of_experiment(experiment)
        if row is None or row.is_withheld:
            return None
        return dict(SeedVerdictSerializer(row).data)

    @extend_schema_field(SeedExplanationSerializer(allow_null=True))
    def get_verdict_alarm(self, experiment: Experiment) -> dict[str, Any] | None:
        """The leak alarm of that mean prediction with its explanation; null where none was raised."""
        row = SeedVerdict.objects.of_experiment(experiment)
        if row is None or not row.leak_alarm.get("raised"):
            return None
        return dict(SeedExplanationSerializer(row).data)


LISTED = Experiment.objects.prefetch_related(
    Prefetch(
        "versions",
        DatasetVersion.objects.select_related("dataset__instrument").only(
            "number", "dataset__instrument"
        ),
    ),
    Prefetch("runs", TrainingRun.objects.only("experiment")),
)


class EstimateSerializer(serializers.Serializer[Any]):
    parameters = serializers.IntegerField()
    effective_samples = serializers.IntegerField(
        allow_null=True,
        help_text="Of the fit slice of the fold that has the fewest; null: no network.",
    )
    samples_per_parameter = serializers.FloatField(allow_null=True)
    capacity_warning = serializers.CharField(
        allow_blank=True, help_text="Said below 1 effective sample per 100 parameters."
    )
    weight_mib = serializers.FloatField()
    memory_mib = serializers.FloatField()
    storage_mib = serializers.FloatField(help_text="Files of the runs of all seeds.")
    windows = serializers.IntegerField()
    folds = serializers.IntegerField()
    runs = serializers.IntegerField()
    seconds_low = serializers.IntegerField()
    seconds_high = serializers.IntegerField()
    epoch_seconds = serializers.FloatField(help_text="One pass over the fit samples of all folds.")
    epochs_least = serializers.IntegerField(help_text="As early as a fold can stop.")
    epochs_most = serializers.IntegerField()
    holdout_at = serializers.DateTimeField()


def _chosen(
    request: MemberRequest, data: dict[str, Any]
) -> tuple[list[DatasetVersion], ExperimentSpec]:
    """The versions of this workspace and the spec of a request. Raises Problem or InvalidSpec."""
    refuse_many(len(data["datasets"]))
    rows = DatasetVersion.objects.select_related("dataset__instrument").visible_to(request.user)
    rows = rows.filter(workspace=request.membership.workspace)
    versions = []
    for place, item in enumerate(data["datasets"]):
        version = rows.filter(dataset_id=item["dataset"], number=item["version"]).first()
        if version is None:
            text = f"dataset {item['dataset']} version {item['version']} not found"
            raise Problem(
                "invalid",
                f"datasets: {text}",
                fields={"datasets": "not found", f"datasets.{place}": text},
            )
        versions.append(version)
    name = data.get("preset")
    base = preset(name).to_json() if name else {}
    return versions, ExperimentSpec.parse(_merged(base, data.get("spec", {})))


def _parent(request: MemberRequest, wanted: int | None) -> Experiment | None:
    """The experiment of this workspace with the id; None where none is named. Raises Problem."""
    if wanted is None:
        return None
    found = Experiment.objects.filter(workspace=request.membership.workspace, pk=wanted).first()
    if found is None:
        raise Problem.of_field("parent", "not found")
    return found


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, part by part."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            merged[key] = _merged(inner, value)
        else:
            merged[key] = value
    return merged


class ExperimentList(VisibleList, generics.ListAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """Experiments of the workspace; POST makes one. They never change: clone instead."""

    rows = LISTED
    serializer_class = ExperimentSerializer
    parameters = VisibleList.parameters | {"archived"}

    def get_queryset(self) -> Any:
        """Without the archived ones, or only those."""
        wanted = self.request.query_params.get("archived", "false")
        if wanted not in ("true", "false"):
            raise Problem.of_field("archived", f"found {wanted[:20]!r}; expected true or false")
        return super().get_queryset().filter(archived_at__isnull=wanted == "false")

    @extend_schema(request=ExperimentRequest, responses={201: ExperimentSerializer})
    def post(self, request: MemberRequest) -> Response:
        body = ExperimentRequest(data=request.data)
        body.is_valid(raise_exception=True)
        versions, spec = _chosen(request, body.validated_data)
        parent = _parent(request, body.validated_data.get("parent"))
        experiment = create_experiment(
            workspace=request.membership.workspace,
            user=request.user,
            name=body.validated_data["name"],
            versions=versions,
            spec=spec,
            preset=body.validated_data.get("preset", ""),
            notes=body.validated_data.get("notes", ""),
        )
        if parent is not None:
            record_parent(experiment, parent)
        audit.record(
            "create",
            workspace=experiment.workspace,
            user=request.user,
            subject=experiment.pk,
            request=request,
        )
        return Response(ExperimentSerializer(experiment).data, status=201)


class ExperimentDetail(VisibleRows, generics.RetrieveAPIView):  # type: ignore[type-arg]  # generic only in the stubs
    """One experiment with its whole spec. It never changes."""

    rows = LISTED
    serializer_class = ExperimentDetailSerializer

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        self.get_object()
        raise Problem("method_not_allowed", "Experiments do not change; clone it.", status_code=405)


class ExperimentArchive(VisibleRows):
    """Take an experiment out of the list. Nothing is deleted; its trials count on."""

    rows = LISTED
    action, change = "archive", staticmethod(archive_experiment)

    @extend_schema(request=None, responses=ExperimentSerializer)
    def post(self, request: MemberRequest, pk: int) -> Response:
        experiment = self.changeable(pk=pk)
        if self.change(experiment):
            audit.record(
                self.action,
                workspace=experiment.workspace,
                user=request.user,
                subject=experiment.name,
                request=request,
                experiment=experiment.pk,
            )
        experiment.refresh_from_db(fields=["archived_at"])
        return Response(ExperimentSerializer(experiment).data)


class ExperimentUnarchive(ExperimentArchive):
    """Bring an archived experiment back into the list."""

    action, change = "unarchive", staticmethod(unarchive_experiment)


class ExperimentEstimate(ApiView):
    """What a run would cost; nothing is stored or built."""

    @extend_schema(request=EstimateRequest, responses=EstimateSerializer)
    def post(self, request: MemberRequest) -> Response:
        body = EstimateRequest(data=request.data)
        body.is_valid(raise_exception=True)
        versions, spec = _chosen(request, body.validated_data)
        return Response(EstimateSerializer(estimate(spec, versions)).data)


class SeedRequest(StrictSerializer):
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)


class LaunchedRunSerializer(RunSerializer):
    """The first run, and the ids of all runs of this launch."""

    runs = serializers.ListField(child=serializers.IntegerField())

    class Meta:
        model = TrainingRun
        fields = (*RunSerializer.Meta.fields, "runs")


class ExperimentRuns(VisibleRows):
    """Launch a run: of the given seed, else of every seed of the spec."""

    rows = Experiment.objects.prefetch_related("versions__dataset__instrument")

    @extend_schema(request=SeedRequest, responses={202: LaunchedRunSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        experiment = self.changeable(pk=pk)
        body = SeedRequest(data=request.data)
        body.is_valid(raise_exception=True)
        runs, headers = started(
            request,
            experiment.workspace,
            "launch",
            lambda key: launch_experiment(
                experiment,
                user=request.user,
                seed=body.validated_data.get("seed"),
                idempotency_key=key,
            ),
            lambda runs: runs[0].job,
        )
        runs[0].runs = [run.pk for run in runs]
        answer = LaunchedRunSerializer(runs[0]).data
        return Response(answer, status=202, headers=headers)
