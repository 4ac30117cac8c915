from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.db.models import Prefetch, Q, prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page, require_POST, require_safe

from accounts.editing import listing, new_key, search_text
from jobs.views import STOP_POLLING, ask_for, live_context, log_context, refused, with_job
from markets.candles.aggregate import MAX_POINTS
from markets.chart_answers import chart_answer
from markets.models import DatasetVersion
from modeling.causality import certificate_table
from modeling.certainty import certainty_of, certainty_table
from modeling.charting import CURVES, DRAWN, curve_figure, newest_point
from modeling.fold_rows import fold_rows, half_life_rows
from modeling.ladders import run_ladder
from modeling.measures import (
    head_verdicts,
    heads_by_word,
    ladder_cells,
    ladder_heads,
    score_table,
)
from modeling.models import PredictionSet, RunQuerySet, TrainingRun
from modeling.next_action import next_action
from modeling.selections import selection_report
from modeling.services import can_resume, resume_run
from modeling.spent import spent_rows

SORTS = {
    "created": "created_at",
    "status": "job__status",
    "seed": "seed",
    "experiment": "experiment__name",
}


@require_safe
def run_list(request: HttpRequest) -> HttpResponse:
    rows = visible_runs(request).for_list().with_head_words()
    if search := search_text(request):
        rows = rows.filter(Q(experiment__name__icontains=search))
    found = listing(request, rows, sorts=SORTS)
    shown = [(run, heads_by_word(run.words)) for run in found.page]
    return render(request, "modeling/run_list.html", {"listing": found, "rows": shown})


@require_safe
def run_detail(request: HttpRequest, pk: int) -> HttpResponse:
    return run_page(request, fetched(request, pk))


def run_page(
    request: HttpRequest, run: TrainingRun, *, status: int = 200, **extra: object
) -> HttpResponse:
    """The page of a run; `extra` is what a refused form brings back."""
    prefetch_related_objects([run], "folds")  # the live box counts the same rows
    sets = run.prediction_sets.headline().filter(is_holdout=False)
    folds = list(run.folds.all())
    live = run_context(run)
    may_resume = can_resume(run)
    backtests = list(
        run.backtests.filter(model_prediction=None).select_related(
            "job", "version__dataset__instrument"
        )
    )
    context = {
        **live,
        "charts": [(kind, CURVES[kind][0]) for kind in DRAWN],
        "more_charts": [(kind, CURVES[kind][0]) for kind in CURVES if kind not in DRAWN],
        "fold_rows": fold_rows(run, folds),
        "half_lives": half_life_rows(folds),
        "selection": selection_report(folds),
        "ladder_heads": ladder_heads(),
        "ladder": run_ladder(run, folds),
        "scores": score_table(run.metrics),
        "instruments": instrument_rows(run),
        "certainty": certainty_table(certainty_of(run.metrics)),
        "verdicts": head_verdicts(run.verdict),
        "backtests": backtests,
        "awaits_backtest": run.job.is_terminal
        and not all(row.job.is_terminal for row in backtests),
        "predictions": next((row for row in sets if row.rung == PredictionSet.MODEL), None),
        "causality": certificate_table(run.causality),
        "spent": spent_rows(run, live["attempt"]),
        "may_resume": may_resume,
        "next": next_action(run, may_resume=may_resume),
        "key": new_key(),
        "events": run.job.events.order_by("pk")[:200],
        **log_context(run.job, request),
        "explanation": run.alarm_explanation,
        **extra,
    }
    return render(request, "modeling/run_detail.html", context, status=status)


@require_safe
@conditional_page
def run_status(request: HttpRequest, pk: int) -> HttpResponse:
    run = fetched(request, pk)
    status = STOP_POLLING if run.job.is_terminal else 200
    return render(request, "modeling/_run_live.html", run_context(run), status=status)


@require_safe
def run_metrics(request: HttpRequest, pk: int) -> HttpResponse:
    """Logged points after the one with the id `after`, oldest first."""
    run = fetched(request, pk)
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 19):
        raise BadRequest("after: expected the id of a point")
    points = run.points.filter(pk__gt=int(after)).order_by("pk")[:MAX_POINTS]
    rows = list(points.values("id", "fold", "name", "step", "value"))
    return JsonResponse({"points": rows, "status": run.job.status})


@require_safe
@gzip_page
@conditional_page
def run_chart(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    run = fetched(request, pk)
    if kind not in CURVES:
        raise Http404("there is no such chart")
    return chart_answer(request, curve_figure(run, kind), title=f"{CURVES[kind][0]}, {run}")


@require_POST
def run_resume(request: HttpRequest, pk: int) -> HttpResponse:
    run = fetched(request, pk)
    said = "The run goes on from its last checkpoint."
    error = ask_for(request, run, "resume", resume_run, subject=run.pk, said=said)
    if error is None:
        return redirect("modeling:run_detail", run.pk)
    return refused(run_page(request, fetched(request, pk)), error)


def visible_runs(request: HttpRequest) -> RunQuerySet:
    rows: RunQuerySet = TrainingRun.objects.visible_to(request.user)
    versions = DatasetVersion.objects.for_list().select_related("dataset__instrument")
    return rows.select_related("job", "experiment", "alarm_explained_by").prefetch_related(
        Prefetch("experiment__versions", versions)
    )


def fetched(request: HttpRequest, pk: int) -> TrainingRun:
    return with_job(visible_runs(request).filter(pk=pk))


def run_context(run: TrainingRun) -> dict[str, Any]:
    return {"run": run, "version": newest_point(run), **live_context(run.job)}


def instrument_rows(run: TrainingRun) -> list[dict[str, Any]]:
    """The key scores on each of several instruments, and on all of them."""
    found = run.metrics.get("instruments", {})
    rows = [{"label": name, "cells": ladder_cells(scores)} for name, scores in found.items()]
    return [*rows, {"label": "All", "cells": ladder_cells(run.metrics)}] if rows else []
