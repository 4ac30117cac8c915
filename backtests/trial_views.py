from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.editing import acting_workspace, listing
from backtests.ledger import listed_trials, summary_of
from modeling.models import Trial

SORTS = {
    "number": "pk",
    "kind": "origin",
    "seed": "seed",
    "instrument": "instrument",
    "sharpe": "ranked",
    "days": "days",
    "first": "first_at",
}


@require_safe
def trial_list(request: HttpRequest) -> HttpResponse:
    """The ledger of the workspace that the person acts in, as its reports count it."""
    kind, instrument = request.GET.get("kind", ""), request.GET.get("instrument", "")[:100]
    if kind and kind not in Trial.Origin.values:
        raise Http404(f"there is no kind of trial {kind!r}")
    workspace = acting_workspace(request)
    filters = {"kind": kind, "instrument": instrument}
    rows = listed_trials(workspace, **filters)
    context = {
        "listing": listing(request, rows, sorts=SORTS, filters=filters),
        "kinds": Trial.Origin.choices,
        "summary": summary_of(workspace),
    }
    return render(request, "backtests/trial_list.html", context)
