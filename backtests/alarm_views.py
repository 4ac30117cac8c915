from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.editing import require_editor_of, user_of
from backtests.alarms import EXPLANATION_MAX, Alarmed, NoAlarm, explain_alarm, subject_of
from backtests.experiment_views import experiment_page
from backtests.experiment_views import fetched as fetched_experiment
from backtests.models import SeedVerdict
from modeling.views import fetched, run_page


@require_POST
def alarm_explain(request: HttpRequest, pk: int) -> HttpResponse:
    """Why the leak alarm of a run is none; shown beside it from then on."""
    run = fetched(request, pk)

    def page(status: int, **extra: str) -> HttpResponse:
        return run_page(request, run, status=status, **extra)

    return _explained(request, run, page) or redirect("modeling:run_detail", run.pk)


@require_POST
def seed_alarm_explain(request: HttpRequest, pk: int) -> HttpResponse:
    """Why the leak alarm of a mean prediction is none; shown on the page of its experiment."""
    row = get_object_or_404(SeedVerdict.objects.visible_to(user_of(request)), pk=pk)

    def page(status: int, **extra: str) -> HttpResponse:
        experiment = fetched_experiment(request, row.experiment_id)
        return experiment_page(request, experiment, status=status, **extra)

    return _explained(request, row, page) or redirect(
        "backtests:experiment_detail", row.experiment_id
    )


def _explained(
    request: HttpRequest, row: Alarmed, page: Callable[..., HttpResponse]
) -> HttpResponse | None:
    """Store what the form says, or answer with the `page` that says why not."""
    require_editor_of(row, request)
    text = request.POST.get("text", "").replace("\0", "").strip()
    if problem := _problem(text):
        return page(400, explanation=text, problem=problem)
    try:
        explain_alarm(row, user=user_of(request), text=text)
    except NoAlarm as error:
        messages.error(request, str(error))
        return page(409)
    audit.record(
        "explain_alarm",
        workspace=row.workspace,
        user=user_of(request),
        subject=subject_of(row),
        request=request,
        text=text,
        reasons=row.leak_alarm["reasons"],
    )
    messages.success(request, "The explanation stands beside the alarm; the verdict is shown.")
    return None


def _problem(text: str) -> str:
    if not text:
        return "Found nothing; expected the reason why these scores are no leak."
    if len(text) > EXPLANATION_MAX:
        return f"Found {len(text)} characters; expected at most {EXPLANATION_MAX}."
    return ""
