from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page, require_POST, require_safe

from accounts import audit
from accounts.editing import require_editor_of, user_of
from markets.chart_answers import chart_answer, read_or_refused
from markets.feature_charts import correlation_figure, feature_figure, no_figure
from markets.feature_reading import (
    NAMES,
    bar_name,
    bars_in,
    report_of,
    scales_of,
    stored_scale,
)
from markets.features.registry import FAMILIES, FEATURES
from markets.features.summary import strongest_pairs
from markets.reading import CandleRange, chart_bars
from markets.services.features import launch_features
from markets.views.datasets import fetched_version
from specs.declaration import InvalidSpec

CANDLES = 1000
PAIRS = 100
NOT_COMPUTED = "The values are not in the cache. Compute the features to see them."


@require_safe
def feature_catalogue(request: HttpRequest) -> HttpResponse:
    family, search = request.GET.get("family", ""), request.GET.get("q", "").strip()[:100]
    found = [
        feature
        for feature in FEATURES.values()
        if family in ("", feature.family)
        and search.lower() in f"{feature.name} {feature.formula}".lower()
    ]
    context = {
        "features": found,
        "families": FAMILIES,
        "family": family,
        "search": search,
        "total": len(FEATURES),
    }
    return render(request, "markets/feature_list.html", context)


@require_POST
def features_compute(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    version = fetched_version(request, pk, number)
    require_editor_of(version, request)
    try:
        _, was_queued = launch_features(version, user=user_of(request))
    except InvalidSpec as error:
        raise BadRequest(str(error)) from error
    if was_queued:
        audit.record(
            "features",
            workspace=version.workspace,
            user=user_of(request),
            subject=version,
            request=request,
        )
    return redirect(reverse("markets:version_detail", args=[pk, number]) + "?tab=features")


@require_safe
@gzip_page
@conditional_page
@read_or_refused()
def feature_chart(
    request: HttpRequest, pk: int, number: int, name: str, scale: int
) -> HttpResponse:
    version = fetched_version(request, pk, number)
    if name not in NAMES or scale not in scales_of(version):
        raise Http404("there is no such feature or timescale")
    title = f"{name} on bars of {bar_name(version, scale)}"
    stored = stored_scale(version, scale)
    if stored is None:
        return chart_answer(request, no_figure(title, NOT_COMPUTED), title=title)
    asked = CandleRange.parse(request.GET)
    span = CandleRange(asked.from_at, asked.to_at, min(asked.most, CANDLES))
    bars, aggregated = chart_bars(version, span)
    part = bars_in(stored, span)
    figure = feature_figure(bars, part, part.values[NAMES.index(name)], name, title)
    note = (
        f"Candles aggregated to {len(bars)} bars, the line thinned with its extremes kept; "
        "zoom in for more."
        if aggregated
        else ""
    )
    return chart_answer(request, figure, title=title, note=note)


@require_safe
@gzip_page
@conditional_page
def correlation_chart(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    report = report_of(fetched_version(request, pk, number))
    if report is None or not report.summary:
        title = "Correlation of the features"
        return chart_answer(request, no_figure(title, NOT_COMPUTED), title=title)
    correlation = report.summary["correlation"]
    figure = correlation_figure(correlation)
    wanted = request.GET.get("as", "")
    if wanted in ("rows", "table"):
        return render(request, f"_chart_{wanted}.html", pairs_table(correlation))
    return chart_answer(request, figure, title=figure["layout"]["meta"]["title"])


def pairs_table(correlation: dict[str, Any]) -> dict[str, Any]:
    """The strongest pairs as the table twin of the heat map."""
    pairs = strongest_pairs(correlation, PAIRS)
    every = len(correlation["names"]) * (len(correlation["names"]) - 1) // 2
    return {
        "title": "Strongest correlations",
        "x_heading": "Pair",
        "columns": ["Spearman"],
        "rows": [(f"{first}, {second}", [value]) for first, second, value in pairs],
        "points": every,
        "note": "",
    }
