from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.core.paginator import InvalidPage, Page
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page, require_safe

from accounts.editing import listing, search_text
from backtests import report_page
from backtests.badges import holdout_badge
from backtests.models import Backtest
from backtests.reading import report_json, trades_csv
from jobs.statuses import JobStatus
from jobs.views import STOP_POLLING, live_context, with_job
from markets.chart_answers import chart_answer
from markets.reading import CandleRange, InvalidRange
from modeling.certainty import certainty_table

SORTS = {
    "name": "name",
    "return": "net_return",
    "sharpe": "sharpe",
    "drawdown": "max_drawdown",
    "trades": "trade_count",
    "created": "created_at",
}
CHARTS = {"equity": "Equity after costs", "drawdown": "Below the peak"}
TRADE_SORTS = ("entry_time", "return", "pnl", "bars_held")


@require_safe
def backtest_list(request: HttpRequest) -> HttpResponse:
    rows = Backtest.objects.visible_to(request.user).for_list()
    if search := search_text(request):
        rows = rows.filter(
            Q(name__icontains=search) | Q(version__dataset__instrument__symbol__icontains=search)
        )
    context = {"listing": listing(request, rows, sorts=SORTS)}
    return render(request, "backtests/backtest_list.html", context)


@require_safe
def backtest_detail(request: HttpRequest, pk: int) -> HttpResponse:
    row = fetched(request, pk)
    context = {**backtest_context(row), **live_context(row.job)}
    if row.job.status == JobStatus.SUCCEEDED:
        context |= report_context(row, request)
    return render(request, "backtests/backtest_detail.html", context)


@require_safe
@conditional_page
def backtest_status(request: HttpRequest, pk: int) -> HttpResponse:
    row = fetched(request, pk)
    status = STOP_POLLING if row.job.is_terminal else 200
    context = {**backtest_context(row), **live_context(row.job)}
    return render(request, "backtests/_backtest_live.html", context, status=status)


@require_safe
@gzip_page
@conditional_page
def backtest_chart(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    row = fetched(request, pk)
    if kind not in CHARTS:
        raise Http404("there is no such chart")
    try:
        span = CandleRange.parse(request.GET)
        chart = (
            report_page.equity_chart(row, span)
            if kind == "equity"
            else report_page.drawdown_chart(row)
        )
    except InvalidRange as error:
        raise BadRequest(f"{error.field}: {error}") from error
    except FileNotFoundError:
        raise Http404("this backtest has no equity yet") from None
    return chart_answer(request, chart, title=f"{CHARTS[kind]}, {row.name}")


@require_safe
def trades_file(request: HttpRequest, pk: int) -> HttpResponse:
    row = fetched(request, pk)
    if row.trades is None:
        raise Http404("this backtest has no trades yet")
    return sent(trades_csv(row), "text/csv; charset=utf-8", f"trades-{row.pk}.csv")


@require_safe
def report_file(request: HttpRequest, pk: int) -> HttpResponse:
    row = fetched(request, pk)
    if not row.report:
        raise Http404("this backtest has no report yet")
    return sent(report_json(row), "application/json", f"report-{row.pk}.json")


def sent(text: str, content_type: str, name: str) -> HttpResponse:
    response = HttpResponse(text, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def fetched(request: HttpRequest, pk: int) -> Backtest:
    rows = Backtest.objects.visible_to(request.user).select_related(
        "version__dataset__instrument", "run__experiment", "equity", "trades"
    )
    return with_job(rows.filter(pk=pk))


def backtest_context(row: Backtest) -> dict[str, Any]:
    return {"backtest": row, "run": row.run, "version": row.version, "dataset": row.version.dataset}


def report_context(row: Backtest, request: HttpRequest) -> dict[str, Any]:
    report = row.report
    return {
        "report": report,
        "numbers": report["numbers"],
        "verdict": report_page.verdict_words(report),
        "headline": report_page.headline(report),
        "deflated": report_page.deflated(report),
        "overfitting": report_page.single(report, "overfitting"),
        "holdout": holdout_badge(row.run.experiment),
        "track": report_page.single(report, "minimum_track_record_days"),
        "measures": report_page.measure_rows(report),
        "months": report_page.MONTHS,
        "month_rows": report_page.month_rows(report),
        "rung_heads": report_page.rung_heads(),
        "rung_rows": report_page.rung_rows(report),
        "path_rows": report_page.path_rows(report),
        "certainty": certainty_table(report["numbers"].get("certainty", {})),
        "trades": trades_page(row, request),
        "trade_sort": trade_sort(request),
    }


def trade_sort(request: HttpRequest) -> str:
    wanted = request.GET.get("sort", "entry_time")
    if wanted.removeprefix("-") not in TRADE_SORTS:
        raise Http404(f"cannot sort by {wanted!r}")
    return wanted


def trades_page(row: Backtest, request: HttpRequest) -> Page[dict[str, Any]]:
    try:
        return report_page.trade_page(row, request.GET.get("page", "1"), trade_sort(request))
    except InvalidPage:
        raise Http404("there is no such page") from None
