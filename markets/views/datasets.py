from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.core.paginator import InvalidPage, Page, Paginator
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateparse import parse_datetime
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import (
    conditional_page,
    require_safe,
)

from accounts.editing import listing, new_key, search_text
from jobs.statuses import JobKind, JobStatus
from markets.chart_answers import chart_answer, read_or_refused
from markets.models import Dataset, DatasetVersion, Import, Source
from markets.reading import (
    CandleRange,
    chart_bars,
    jump_to,
    range_links,
    shown_span,
    span_query,
)
from markets.services.datasets import LISTED, uses_of
from markets.services.downloads import can_continue
from markets.services.resampling import resampling_choices
from markets.specs import TIMEFRAME_MINUTES
from markets.views.feature_part import features_part
from markets.views.imports import DELIMITERS, ROLES

SORTS = {
    "name": "name",
    "symbol": "instrument__symbol",
    "venue": "instrument__venue",
    "timeframe": "timeframe_minutes",
    "rows": "latest__rows",
    "versions": "version_count",
    "last": "latest__last_at",
}
TABS = {"quality": "Quality", "features": "Features", "used": "Used by", "versions": "Versions"}
GAPS_PER_PAGE = 100
UNACCEPTED = Q(latest__acceptance=None) & ~Q(latest__findings=[])
ENDED_WELL = Q(job__status=JobStatus.SUCCEEDED) & ~Q(job__kind=JobKind.DETECT)


@require_safe
def dataset_list(request: HttpRequest) -> HttpResponse:
    rows = Dataset.objects.visible_to(request.user).exclude(latest=None).for_list()
    filters = {name: request.GET.get(name, "") for name in ("source", "timeframe", "state")}
    if search := search_text(request):
        rows = rows.filter(
            Q(name__icontains=search)
            | Q(instrument__symbol__icontains=search)
            | Q(instrument__venue__icontains=search)
        )
    if filters["source"] in Source.values:
        rows = rows.filter(latest__source=filters["source"])
    if filters["timeframe"] in TIMEFRAME_MINUTES:
        rows = rows.filter(timeframe_minutes=TIMEFRAME_MINUTES[filters["timeframe"]])
    if filters["state"] == "unaccepted":
        rows = rows.filter(UNACCEPTED)
    imports = Import.objects.visible_to(request.user).select_related("job")
    waiting = imports.filter(version=None).exclude(job__status=JobStatus.CANCELLED)
    context = {
        "listing": listing(request, rows, sorts=SORTS, filters=filters),
        "sources": Source.choices,
        "timeframes": TIMEFRAME_MINUTES,
        "imports": waiting.exclude(ENDED_WELL)[:5],
        "key": new_key(),
    }
    return render(request, "markets/dataset_list.html", context)


@require_safe
def dataset_detail(request: HttpRequest, pk: int, number: int | None = None) -> HttpResponse:
    return detail_page(request, fetched_version(request, pk, number))


def detail_page(
    request: HttpRequest,
    version: DatasetVersion,
    *,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page of a version; `problems` are texts beside the small forms that were refused."""
    tab = request.GET.get("tab", "quality")
    if tab not in TABS:
        raise Http404("there is no such tab")
    span = span_of(version, request)
    query = span_query(span.from_at, span.to_at) if span.from_at and span.to_at else ""
    context = {
        "version": version,
        "dataset": version.dataset,
        "tab": tab,
        "tabs": TABS.items(),
        "jumps": range_links(version, span),
        "range": range_json(span),
        "range_query": query,
        "problems": problems or {},
        "can_continue": can_continue(version),
        "key": new_key(),
        **PARTS[tab](request, version),
    }
    return render(request, "markets/dataset_detail.html", context, status=status)


def quality_part(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    order = "time" if request.GET.get("gaps") == "time" else "size"
    return {
        "gaps": gap_marks(version),
        "gap_page": gap_page(version, order, request.GET.get("gap_page", "1")),
        "gap_order": order,
        "roles": ROLES,
        "delimiters": DELIMITERS,
        "outliers": [
            row | {"query": _jump(version, row["at"])} for row in version.report["outliers"]
        ],
        "changes": [
            row | {"query": _jump(version, row["at"])}
            for row in (version.difference or {}).get("changes", [])
        ],
        "expected_bars": version.rows + version.missing_bars,
        "acceptance": getattr(version, "acceptance", None),
    }


def used_part(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    return {
        "uses": uses_of([version]),
        "imports": version.imports.select_related("job", "created_by")[:LISTED],
        "choices": resampling_choices(version),
    }


def versions_part(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    return {"versions": version.dataset.versions.for_list()}  # type: ignore[attr-defined]  # VersionQuerySet


PARTS = {
    "quality": quality_part,
    "features": features_part,
    "used": used_part,
    "versions": versions_part,
}


@require_safe
@gzip_page
@conditional_page
@read_or_refused()
def candles_chart(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    from markets.charts import candles_figure

    version = fetched_version(request, pk, number)
    bars, aggregated = chart_bars(version, CandleRange.parse(request.GET))
    title = str(version)
    note = f"Aggregated to {len(bars)} bars; zoom in for more." if aggregated else ""
    return chart_answer(request, candles_figure(bars, title), title=title, note=note)


def fetched_version(request: HttpRequest, pk: int, number: int | None) -> DatasetVersion:
    """The version asked for, or the latest one of the dataset."""
    versions = DatasetVersion.objects.visible_to(request.user).select_related(
        "dataset__instrument", "file", "acceptance__accepted_by", "parent__dataset", "workspace"
    )
    if number is None:
        dataset = get_object_or_404(Dataset.objects.visible_to(request.user), pk=pk)
        return get_object_or_404(versions, pk=dataset.latest_id)
    return get_object_or_404(versions, dataset_id=pk, number=number)


def span_of(version: DatasetVersion, request: HttpRequest) -> CandleRange:
    """The part of the chart that a page's address names. Raises BadRequest."""
    with read_or_refused():
        return shown_span(version, request.GET)


def range_json(span: CandleRange) -> str:
    """The span as the script of charts takes it; empty when it is not bounded on both sides."""
    if span.from_at is None or span.to_at is None:
        return ""
    return json.dumps([f"{at:%Y-%m-%dT%H:%M:%S}Z" for at in (span.from_at, span.to_at)])


def gap_page(version: DatasetVersion, order: str, number: str) -> Page[dict[str, Any]]:
    """One page of all gaps, largest first or in time, each with its link. Raises Http404."""
    gaps = version.report.get("gaps") or version.report["largest_gaps"]
    if order == "size":
        gaps = sorted(gaps, key=lambda gap: -gap["missing_bars"])
    try:
        page = Paginator(gaps, GAPS_PER_PAGE).page(number)
    except InvalidPage:
        raise Http404("there is no such page of gaps") from None
    page.object_list = [
        gap | {"query": _jump(version, gap["after"], gap["missing_bars"])}
        for gap in page.object_list
    ]
    return page


def _jump(version: DatasetVersion, at: str, bars: int = 0) -> str:
    instant = parse_datetime(at)
    return jump_to(version, instant, bars) if instant else ""


def gap_marks(version: DatasetVersion) -> list[dict[str, float]]:
    """Where the largest gaps lie on a strip of the whole span, in percent of its width."""
    span = (version.last_at + version.bar - version.first_at) / timedelta(seconds=1)
    marks = []
    for gap in version.report.get("largest_gaps", []):
        after = _seconds_after(version, gap["after"])
        bar_s = version.bar.total_seconds()
        marks.append(
            {
                "left": round(100 * (after + bar_s) / span, 3),
                "width": round(100 * gap["missing_bars"] * bar_s / span, 3),
                "after": gap["after"],
                "missing_bars": gap["missing_bars"],
            }
        )
    return marks


def _seconds_after(version: DatasetVersion, text: str) -> float:
    instant = parse_datetime(text)
    return (instant - version.first_at).total_seconds() if instant else 0.0
