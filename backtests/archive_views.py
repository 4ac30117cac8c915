from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.editing import require_editor_of, user_of
from backtests.experiment_views import fetched
from modeling.models import Experiment
from modeling.services import archive_experiment, unarchive_experiment


@require_POST
def experiment_archive(request: HttpRequest, pk: int) -> HttpResponse:
    """Take an experiment out of the list; nothing of it is deleted and its trials count on."""
    experiment = fetched(request, pk)
    require_editor_of(experiment, request)
    if archive_experiment(experiment):
        _record("archive", experiment, request)
    messages.success(request, "The experiment is archived. Its runs and trials stay.")
    return redirect("backtests:experiment_detail", experiment.pk)


@require_POST
def experiment_unarchive(request: HttpRequest, pk: int) -> HttpResponse:
    """Bring an archived experiment back into the list."""
    experiment = fetched(request, pk)
    require_editor_of(experiment, request)
    if unarchive_experiment(experiment):
        _record("unarchive", experiment, request)
    messages.success(request, "The experiment is in the list again.")
    return redirect("backtests:experiment_detail", experiment.pk)


def _record(action: str, experiment: Experiment, request: HttpRequest) -> None:
    audit.record(
        action,
        workspace=experiment.workspace,
        user=user_of(request),
        subject=experiment.name,
        request=request,
        experiment=experiment.pk,
    )
