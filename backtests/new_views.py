"""The form that backtests a prediction set, of a run or of a registered model, once more."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from accounts import audit
from accounts.editing import new_key, require_editor_of, user_of
from backtests.later import in_sample_text
from backtests.models import Backtest
from backtests.services import NAME_MAX, BacktestRefused, launch_backtest_of
from backtests.specs import BacktestSpec, SpanSpec
from jobs.errors import InvalidIdempotencyKey, JobConflict, QueueFull
from jobs.views import refused_for_now
from markets.forms import dress
from modeling.models import Experiment, PredictionSet
from specs.declaration import InvalidSpec
from specs.forms import SpecForm


class BacktestForm(SpecForm):
    """A name and every field of BacktestSpec."""

    def __init__(
        self, data: Any = None, *, initial: BacktestSpec | None = None, name: str = ""
    ) -> None:
        super().__init__(BacktestSpec, data, initial=initial)
        self.fields["name"] = forms.CharField(
            label="Name",
            max_length=NAME_MAX,
            initial=name,
            help_text="As lists and reports show it.",
        )
        dress(self)


@require_http_methods(["GET", "HEAD", "POST"])
def backtest_new(request: HttpRequest) -> HttpResponse:
    """The form with the assumptions of the experiment, and what it sends."""
    source = _asked(request)
    require_editor_of(source, request)
    if request.method != "POST":
        return _page(request, source, BacktestForm(initial=_assumed(source), name=_name(source)))
    form = BacktestForm(request.POST)
    if not (form.is_valid() and isinstance(form.spec, BacktestSpec)):
        return _page(request, source, form, status=400)
    try:
        row = launch_backtest_of(
            source,
            user=user_of(request),
            name=form.cleaned_data["name"],
            spec=form.spec,
            idempotency_key=request.POST.get("key", ""),
        )
    except InvalidSpec as error:
        form.add_spec_errors(error)
        return _page(request, source, form, status=400)
    except QueueFull as error:
        return refused_for_now(_page(request, source, form, refused=error.message), error)
    except (BacktestRefused, JobConflict, InvalidIdempotencyKey) as error:
        return _page(request, source, form, status=409, refused=str(error))
    _record(request, row)
    return redirect("backtests:backtest_detail", row.pk)


def _asked(request: HttpRequest) -> PredictionSet:
    """The visible set named by `predictions`. Raises Http404."""
    wanted = request.POST.get("predictions") or request.GET.get("predictions", "")
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 19):
        raise Http404("expected ?predictions= with the id of a prediction set")
    rows = PredictionSet.objects.visible_to(request.user).select_related(
        "workspace", "run__job", "run__experiment", "of_model__model__run__experiment"
    )
    found: PredictionSet = get_object_or_404(rows, pk=int(wanted))
    return found


def _page(
    request: HttpRequest,
    source: PredictionSet,
    form: BacktestForm,
    *,
    status: int = 200,
    refused: str = "",
) -> HttpResponse:
    context = {
        "form": form,
        "source": source,
        "later": None if source.run else source.of_model,  # type: ignore[attr-defined]  # a reverse relation
        "refused": refused or _too_early(source),
        "key": new_key(),
    }
    return render(request, "backtests/backtest_new.html", context, status=status)


def _too_early(source: PredictionSet) -> str:
    """Why a registered model's predictions cannot be judged at all; empty where some can."""
    if source.run is not None:
        return ""
    start = source.of_model.model.out_of_sample_from  # type: ignore[attr-defined]  # a reverse relation
    return in_sample_text(start) if source.last_at + source.version.bar < start else ""


def _experiment(source: PredictionSet) -> Experiment:
    maker = source.run or source.of_model.model.run  # type: ignore[attr-defined]  # a reverse relation
    found: Experiment = maker.experiment
    return found


def _assumed(source: PredictionSet) -> BacktestSpec:
    """Those of the experiment, over all there is: its span is one of its own candles."""
    spec = BacktestSpec.parse(_experiment(source).backtest_spec)
    return spec if source.run else spec.model_copy(update={"span": SpanSpec()})


def _name(source: PredictionSet) -> str:
    return f"{source.maker} on {source.version}"[:NAME_MAX]


def _record(request: HttpRequest, row: Backtest) -> None:
    audit.record(
        "launch",
        workspace=row.workspace,
        user=user_of(request),
        subject=row.name,
        request=request,
        backtest=row.pk,
    )
