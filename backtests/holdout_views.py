from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.editing import require_editor_of, user_of
from backtests.experiment_views import experiment_page, fetched
from backtests.openings import Asked, HoldoutRefused, open_and_backtest
from jobs.errors import JobConflict, QueueFull
from jobs.views import refused_for_now
from modeling.models import TrainingRun

SAID = {
    Asked.OPENED: "The hold-out is opened and counted; the run is being scored on it.",
    Asked.TRIED_AGAIN: "The run is being scored again; its opening was counted before.",
}


@require_POST
def holdout_open(request: HttpRequest, pk: int) -> HttpResponse:
    """Open the sealed hold-out with one run, after its name was typed."""
    experiment = fetched(request, pk)
    require_editor_of(experiment, request)
    name, chosen = request.POST.get("name", "").strip(), request.POST.get("run", "")
    if not chosen.isascii() or not chosen.isdigit() or len(chosen) > 18:
        return experiment_page(
            request, experiment, status=400, holdout_problem="Choose a run that has succeeded."
        )
    rows = TrainingRun.objects.filter(experiment=experiment).select_related("experiment", "job")
    run = get_object_or_404(rows, pk=int(chosen))
    try:
        opening, asked = open_and_backtest(run, user=user_of(request), name=name)
    except HoldoutRefused as error:
        status = 400 if error.code == "wrong_name" else 409
        return experiment_page(
            request, fetched(request, pk), status=status, holdout_problem=str(error), typed=name
        )
    except JobConflict as error:
        return experiment_page(
            request, fetched(request, pk), status=409, holdout_problem=error.message, typed=name
        )
    except QueueFull as error:
        page = experiment_page(
            request, fetched(request, pk), holdout_problem=error.message, typed=name
        )
        return refused_for_now(page, error)
    audit.record(
        asked,
        workspace=experiment.workspace,
        user=user_of(request),
        subject=experiment.name,
        request=request,
        experiment=experiment.pk,
        run=run.pk,
        openings_before=opening.openings_before,
    )
    messages.success(request, SAID[asked])
    return redirect("backtests:experiment_detail", experiment.pk)
