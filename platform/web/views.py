from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template import loader
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from accounts.editing import new_key
from backtests.measures import MEASURES
from backtests.models import Backtest
from jobs.models import Job
from jobs.statuses import TERMINAL
from markets.features.registry import FEATURES
from markets.models import Dataset
from modeling.measures import HEAD_MEASURES
from modeling.models import Experiment
from web.context import THEMES, theme_of
from web.health import quick_look, readiness
from web.worked_on import named

SHOWN = 5


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
