from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import BadRequest
from django.db.models import Q
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import (
    conditional_page,
    require_safe,
)

from accounts.editing import listing, new_key
from artifacts.store import FileChanged, verified_path
from jobs.statuses import JobStatus
from markets.chart_answers import chart_answer
from markets.models import Dataset, DatasetVersion, Import
from markets.reading import CandleRange, InvalidRange, chart_bars

SORTS = {
    "name": "name",
    "symbol": "instrument__symbol",
    "rows": "latest__rows",
    "last": "latest__last_at",
}
TABS = ("quality", "used", "versions")


@require_safe
def dataset_list(request: HttpRequest) -> HttpResponse:
    rows = Dataset.objects.visible_to(request.user).exclude(latest=None).for_list()
    if search := request.GET.get("q", "").strip()[:200]:
        rows = rows.filter(
            Q(name__icontains=search)
            | Q(instrument__symbol__icontains=search)
            | Q(instrument__venue__icontains=search)
        )
    imports = Import.objects.visible_to(request.user).select_related("job")
    context = {
        "listing": listing(request, rows, sorts=SORTS),
        "imports": imports.filter(version=None).exclude(job__status=JobStatus.CANCELLED)[:5],
        "key": new_key(),
    }
    return render(request, "markets/dataset_list.html", context)


@require_safe
def dataset_detail(request: HttpRequest, pk: int, number: int | None = None) -> HttpResponse:
    version = fetched_version(request, pk, number)
    tab = request.GET.get("tab", "quality")
    if tab not in TABS:
        raise Http404("there is no such tab")
    context = {
        "version": version,
        "dataset": version.dataset,
        "tab": tab,
        "tabs": (("quality", "Quality"), ("used", "Used by"), ("versions", "Versions")),
        "gaps": gap_marks(version),
        "expected_bars": version.rows + version.missing_bars,
        "versions": version.dataset.versions.all() if tab == "versions" else (),
        "experiments": version.experiments.order_by("-pk")[:50] if tab == "used" else (),
    }
    return render(request, "markets/dataset_detail.html", context)


@require_safe
@conditional_page
def candles_chart(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    from markets.charts import candles_figure

    version = fetched_version(request, pk, number)
    try:
        bars, aggregated = chart_bars(version, CandleRange.parse(request.GET))
    except InvalidRange as error:
        raise BadRequest(f"{error.field}: {error}") from error
    except FileNotFoundError:
        raise Http404("the candles are gone from the storage") from None
    title = str(version)
    note = f"Aggregated to {len(bars)} bars; zoom in for more." if aggregated else ""
    return chart_answer(request, candles_figure(bars, title), title=title, note=note)


@require_safe
def candles_file(request: HttpRequest, pk: int, number: int) -> FileResponse:
    version = fetched_version(request, pk, number)
    try:
        path = verified_path(version.file)
    except FileChanged as error:
        raise Http404(str(error)) from error
    name = f"candles-{version.dataset_id}-v{version.number}.parquet"
    return FileResponse(
        path.open("rb"),
        as_attachment=True,
        filename=name,
        content_type="application/vnd.apache.parquet",
    )


def fetched_version(request: HttpRequest, pk: int, number: int | None) -> DatasetVersion:
    """The version asked for, or the latest one of the dataset."""
    versions = DatasetVersion.objects.visible_to(request.user).select_related(
        "dataset__instrument", "file"
    )
    if number is None:
        dataset = get_object_or_404(Dataset.objects.visible_to(request.user), pk=pk)
        return get_object_or_404(versions, pk=dataset.latest_id)
    return get_object_or_404(versions, dataset_id=pk, number=number)


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
