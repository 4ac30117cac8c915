from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page, require_POST, require_safe

from accounts import audit
from accounts.editing import listing, new_key, require_editor_of, search_text, user_of
from jobs.errors import InvalidIdempotencyKey, JobConflict, QueueFull
from jobs.statuses import JobStatus
from jobs.views import live_context, refused_for_now, with_job
from markets.chart_answers import read_or_refused
from markets.models import DatasetVersion
from modeling.cards import trained_on
from modeling.downloads import card_answer, csv_answer, parquet_answer, weights_answer
from modeling.measures import head_verdicts, score_table
from modeling.models import ModelPrediction, RegisteredModel, TrainingRun
from modeling.predictable import Limits
from modeling.prediction_page import Judged, head_answer, predictions_context, window_answer
from modeling.registry import (
    NAME_MAX,
    NOTES_MAX,
    RegistryRefused,
    change_model,
    launch_prediction,
    register_model,
)
from specs.declaration import InvalidSpec

SORTS = {
    "name": "name",
    "stage": "stage",
    "experiment": "run__experiment__name",
    "created": "created_at",
}
VERSIONS_SHOWN = 200
UNSCORED = "Not scored: fewer than 200 of these bars lie behind the training in time and have a known outcome."
PREDICTIONS_SHOWN = 50


@require_safe
def model_list(request: HttpRequest) -> HttpResponse:
    rows = _visible(request).annotate(prediction_count=Count("predictions"))
    if search := search_text(request):
        rows = rows.filter(Q(name__icontains=search) | Q(run__experiment__name__icontains=search))
    stage = request.GET.get("stage", "")
    if stage in RegisteredModel.Stage.values:
        rows = rows.filter(stage=stage)
    found = listing(request, rows, sorts=SORTS, filters={"stage": stage})
    context = {"listing": found, "stages": RegisteredModel.Stage.choices}
    return render(request, "modeling/model_list.html", context)


def model_new(request: HttpRequest) -> HttpResponse:
    """The form that registers a run's fold, and what it sends."""
    sent = request.POST if request.method == "POST" else request.GET
    chosen = sent.get("run", "")
    if not (chosen.isascii() and chosen.isdigit() and len(chosen) < 19):
        raise Http404("expected ?run= with the id of a run")
    runs = TrainingRun.objects.visible_to(request.user).select_related("experiment", "job")
    run = get_object_or_404(runs, pk=int(chosen))
    require_editor_of(run, request)
    if request.method != "POST":
        is_finished = run.job.status == JobStatus.SUCCEEDED
        newest = {"fold": str(run.newest_fold.number)} if is_finished else {}
        return _form(request, run, {"name": str(run)[:NAME_MAX], **newest})
    typed = {name: request.POST.get(name, "") for name in ("name", "fold", "stage", "notes")}
    try:
        model = register_model(
            run,
            user=user_of(request),
            name=typed["name"],
            fold=_fold_number(typed["fold"]),
            stage=typed["stage"],
            notes=typed["notes"],
        )
    except InvalidSpec as error:
        return _form(request, run, typed, status=400, errors=error.fields)
    except RegistryRefused as error:
        return _form(request, run, typed, status=409, refused=str(error))
    audit.record(
        "register_model",
        workspace=model.workspace,
        user=user_of(request),
        subject=model.name,
        request=request,
        model=model.pk,
        run=run.pk,
        stage=model.stage,
    )
    messages.success(request, "The model is registered.")
    return redirect("modeling:model_detail", model.pk)


def _fold_number(text: str) -> int | None:
    """The fold that was chosen; None without a choice. Raises InvalidSpec for what is no number."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidSpec({"fold": f"found {text[:40]!r}; expected the number of a fold"})
    return int(text)


def _form(
    request: HttpRequest,
    run: TrainingRun,
    typed: dict[str, str],
    *,
    status: int = 200,
    errors: dict[str, str] | None = None,
    refused: str = "",
) -> HttpResponse:
    context = {
        "run": run,
        "folds": run.folds.exclude(finished_at=None).order_by("-number").defer("state"),
        "stages": RegisteredModel.Stage.choices,
        "typed": typed,
        "errors": errors or {},
        "refused": refused,
        "is_finished": run.job.status == JobStatus.SUCCEEDED,
        "name_max": NAME_MAX,
        "notes_max": NOTES_MAX,
    }
    return render(request, "modeling/model_new.html", context, status=status)


@require_safe
def model_detail(request: HttpRequest, pk: int) -> HttpResponse:
    return _page(request, _fetched(request, pk))


@require_POST
def model_change(request: HttpRequest, pk: int) -> HttpResponse:
    model = _fetched(request, pk)
    require_editor_of(model, request)
    try:
        changed = change_model(
            model, stage=request.POST.get("stage"), notes=request.POST.get("notes")
        )
    except InvalidSpec as error:
        return _page(request, _fetched(request, pk), status=400, problem=str(error))
    if changed:
        audit.record(
            "change_model",
            workspace=model.workspace,
            user=user_of(request),
            subject=model.name,
            request=request,
            model=model.pk,
            **changed,
        )
        messages.success(request, "Saved.")
    return redirect("modeling:model_detail", model.pk)


@require_POST
def model_predict(request: HttpRequest, pk: int) -> HttpResponse:
    """Queue a prediction on the chosen version and go where it can be watched."""
    model = _fetched(request, pk)
    require_editor_of(model, request)
    chosen = request.POST.get("version", "")
    if not (chosen.isascii() and chosen.isdigit() and len(chosen) < 19):
        return _page(request, model, status=400, problem="Choose a dataset version.")
    versions = DatasetVersion.objects.for_list().filter(workspace=model.workspace_id)
    version = get_object_or_404(versions, pk=int(chosen))
    try:
        row, is_new = launch_prediction(
            model, version, user=user_of(request), idempotency_key=request.POST.get("key", "")
        )
    except InvalidSpec as error:
        return _page(request, model, status=400, problem=str(error))
    except RegistryRefused as error:
        return _page(request, model, status=409, problem=str(error))
    except QueueFull as error:
        return refused_for_now(_page(request, model, problem=error.message), error)
    except (JobConflict, InvalidIdempotencyKey) as error:
        problem = getattr(error, "message", str(error))
        return _page(request, model, status=409, problem=problem)
    if is_new:
        audit.record(
            "predict",
            workspace=model.workspace,
            user=user_of(request),
            subject=row.job_id,
            request=request,
        )
    return redirect("modeling:model_prediction", model.pk, row.pk)


@require_safe
def model_card_file(request: HttpRequest, pk: int) -> HttpResponse:
    return card_answer(request, _fetched(request, pk, whole=True))


@require_safe
def model_weights_file(request: HttpRequest, pk: int) -> FileResponse:
    return weights_answer(request, _fetched(request, pk, whole=True))


@require_safe
@read_or_refused()
def model_prediction(request: HttpRequest, pk: int, prediction: int) -> HttpResponse:
    row = _prediction(request, pk, prediction)
    context: dict[str, Any] = {**live_context(row.job), "prediction": row}
    if row.predictions is not None:
        context |= predictions_context(_judged(row), request.GET)
    return render(request, "modeling/model_prediction.html", context)


@require_safe
@gzip_page
@conditional_page
@read_or_refused()
def model_prediction_chart(request: HttpRequest, pk: int, prediction: int) -> HttpResponse:
    row = _prediction(request, pk, prediction)
    back = reverse("modeling:model_prediction", args=[pk, prediction])
    return window_answer(request, _judged(row).row, title=str(row), back=back)


@require_safe
@gzip_page
@conditional_page
@read_or_refused()
def model_prediction_curve(
    request: HttpRequest, pk: int, prediction: int, head: str
) -> HttpResponse:
    row = _prediction(request, pk, prediction)
    return head_answer(request, _judged(row), head, str(row))


def _judged(row: ModelPrediction) -> Judged:
    """The predictions with their scores. Raises Http404 before there are any."""
    if row.predictions is None:
        raise Http404("there are no predictions yet")
    return Judged(row.predictions, row.metrics, unscored=UNSCORED)


@require_safe
def model_prediction_parquet(request: HttpRequest, pk: int, prediction: int) -> FileResponse:
    return parquet_answer(request, _prediction(request, pk, prediction))


@require_safe
def model_prediction_csv(request: HttpRequest, pk: int, prediction: int) -> StreamingHttpResponse:
    return csv_answer(request, _prediction(request, pk, prediction))


def _visible(request: HttpRequest) -> QuerySet[RegisteredModel]:
    rows: QuerySet[RegisteredModel] = RegisteredModel.objects.visible_to(request.user).for_list()
    return rows


def _fetched(request: HttpRequest, pk: int, *, whole: bool = False) -> RegisteredModel:
    """A visible model; `whole` with what its card and its weights need."""
    rows = _visible(request).select_related("workspace", "created_by")
    if whole:
        rows = rows.defer(None).select_related("fold__weights")
    return get_object_or_404(rows, pk=pk)


def _prediction(request: HttpRequest, pk: int, prediction: int) -> ModelPrediction:
    rows = ModelPrediction.objects.visible_to(request.user).for_list()
    rows = rows.select_related("predictions__file", "model__run__experiment", "workspace")
    return with_job(rows.filter(pk=prediction, model=pk))


def offered(model: RegisteredModel, versions: Iterable[DatasetVersion]) -> dict[str, Any]:
    """The versions that can be predicted, and those that cannot with the reason. All are judged, so that
    many refused ones hide none that can be predicted.
    """
    limits = Limits.of(model)
    found = [(version, limits.obstacle(version)) for version in versions]
    refused = [(version, obstacle) for version, obstacle in found if obstacle is not None]
    return {
        "versions": [version for version, obstacle in found if obstacle is None][:VERSIONS_SHOWN],
        "refused_versions": refused[:VERSIONS_SHOWN],
        "needs_opening": any(obstacle.needs_opening for _, obstacle in refused),
    }


def _page(
    request: HttpRequest, model: RegisteredModel, *, status: int = 200, problem: str = ""
) -> HttpResponse:
    trained = model.run.experiment.version
    versions = DatasetVersion.objects.for_list().usable().filter(workspace=model.workspace_id)
    fitting = versions.filter(dataset__timeframe_minutes=trained.dataset.timeframe_minutes)
    predictions = list(model.predictions.for_list()[:PREDICTIONS_SHOWN])
    context: dict[str, Any] = {
        "model": model,
        "run": model.run,
        "version": trained,
        "trained": trained_on(model),
        "scores": score_table(model.run.metrics),
        "verdicts": head_verdicts(model.run.verdict),
        "stages": RegisteredModel.Stage.choices,
        **offered(model, fitting.order_by("dataset__name", "-number")),
        "predictions": predictions,
        "problem": problem,
        "key": new_key(),
        "notes_max": NOTES_MAX,
    }
    return render(request, "modeling/model_detail.html", context, status=status)
