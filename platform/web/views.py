from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db.models import JSONField, Model
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template import loader
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from accounts.editing import new_key
from backtests.measures import MEASURES
from backtests.models import Backtest
from jobs.models import Job, JobQuerySet
from jobs.statuses import TERMINAL
from markets.features.registry import FEATURES
from markets.models import Dataset
from modeling.measures import HEAD_MEASURES
from modeling.models import Experiment
from web.context import THEMES, theme_of
from web.health import quick_look, readiness

SHOWN = 5
# What a job may work on, with what the name of each is made of.
WORKED_ON = (
    "candle_import",
    "feature_report",
    "feature_report__version",
    "feature_report__version__dataset",
    "training_run",
    "training_run__experiment",
    "backtest",
    "study",
    "study_run__variant__study",
    "seed_verdict",
    "seed_verdict__experiment",
    "holdout_opening",
    "holdout_opening__run",
    "holdout_opening__run__experiment",
    "model_prediction",
    "model_prediction__model",
    "model_prediction__version",
    "model_prediction__version__dataset",
)


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    jobs = Job.objects.visible_to(request.user)
    backtests = Backtest.objects.visible_to(request.user)
    context = {
        "open_jobs": named(jobs.exclude(status__in=TERMINAL).next_first())[:10],
        "queues": jobs.queue_summary(),
        "verdicts": list(backtests.exclude(verdict="").for_list()[:SHOWN]),
        "health": quick_look(),
        "has_dataset": Dataset.objects.visible_to(request.user).exclude(latest=None).exists(),
        "has_experiment": Experiment.objects.visible_to(request.user).exists(),
        "key": new_key(),
    }
    return render(request, "web/dashboard.html", context)


def named(jobs: JobQuerySet) -> JobQuerySet:
    """The jobs with what each works on, without the reports of that, which may be long."""
    wide = [
        f"{path}__{column.name}"
        for path in WORKED_ON
        for column in last_model(path)._meta.concrete_fields
        if isinstance(column, JSONField)
    ]
    return jobs.select_related(*WORKED_ON).defer(*wide)


def last_model(path: str) -> type[Model]:
    """The model at the end of a path of relations that begins at a job."""
    model: type[Model] = Job
    for name in path.split("__"):
        model = model._meta.get_field(name).related_model  # type: ignore[assignment]  # a relation
    return model


@require_safe
def glossary(request: HttpRequest) -> HttpResponse:
    context = {
        "measures": MEASURES.values(),
        "head_measures": HEAD_MEASURES.items(),
        "features": FEATURES.values(),
    }
    return render(request, "web/glossary.html", context)


@login_not_required
@require_POST
def theme_set(request: HttpRequest) -> HttpResponse:
    """The switch without JavaScript: the next theme, kept in a cookie."""
    following = THEMES[(THEMES.index(theme_of(request)) + 1) % len(THEMES)]
    target = request.POST.get("next", "/")
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure())
    response = redirect(target if is_ours else "/")
    response.set_cookie("theme", following, max_age=31_536_000, samesite="Lax")
    return response


@login_not_required
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@login_not_required
def readyz(request: HttpRequest) -> HttpResponse:
    status, body = readiness()
    return JsonResponse(body, status=status)


def server_error(request: HttpRequest) -> HttpResponse:
    """500 without context processors: they might be what broke."""
    context = {"request_id": getattr(request, "request_id", "")}
    return HttpResponse(loader.render_to_string("500.html", context), status=500)
