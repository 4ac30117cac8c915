from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.editing import require_editor_of, user_of
from backtests.alarms import EXPLANATION_MAX, NoAlarm, explain_alarm
from modeling.views import fetched, run_page


@require_POST
def alarm_explain(request: HttpRequest, pk: int) -> HttpResponse:
    """Why the leak alarm of a run is none; shown beside it from then on."""
    run = fetched(request, pk)
    require_editor_of(run, request)
    text = request.POST.get("text", "").replace("\0", "").strip()
    if problem := _problem(text):
        return run_page(request, run, status=400, explanation=text, problem=problem)
    try:
        explain_alarm(run, user=user_of(request), text=text)
    except NoAlarm as error:
        messages.error(request, str(error))
        return run_page(request, run, status=409)
    audit.record(
        "explain_alarm",
        workspace=run.workspace,
        user=user_of(request),
        subject=f"run {run.pk}",
        request=request,
        text=text,
        reasons=run.leak_alarm["reasons"],
    )
    messages.success(request, "The explanation stands beside the alarm; the verdict is shown.")
    return redirect("modeling:run_detail", run.pk)


def _problem(text: str) -> str:
    if not text:
        return "Found nothing; expected the reason why these scores are no leak."
    if len(text) > EXPLANATION_MAX:
        return f"Found {len(text)} characters; expected at most {EXPLANATION_MAX}."
    return ""
