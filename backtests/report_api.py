"""The results of a finished backtest for programs: trades, equity, report."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

from accounts.api_views import MemberRequest, VisibleRows
from accounts.rest import FiniteJSONRenderer, Problem, whole_number
from backtests.models import Backtest
from backtests.reading import equity_points, report_json, trade_count, trade_rows, trades_csv
from markets.reading import MAX_POINTS

TRADES_PER_PAGE = 200


class FinishedBacktest(VisibleRows):
    """Base of the answers that need a finished report."""

    rows = Backtest.objects.for_report().select_related("equity", "trades")

    def finished(self, pk: int) -> Backtest:
        row: Backtest = self.found(pk=pk)
        if not row.report:
            raise Problem(
                "backtest_not_finished", f"The backtest is {row.job.status}.", status_code=409
            )
        return row


class BacktestTrades(FinishedBacktest):
    """Trades in order of entry, 200 a page."""

    parameters = frozenset({"page"})

    @extend_schema(
        responses=OpenApiTypes.OBJECT, parameters=[OpenApiParameter("page", OpenApiTypes.INT)]
    )
    def get(self, request: MemberRequest, pk: int) -> Response:
        row = self.finished(pk)
        page = whole_number(request, "page", 1, at_most=10**9)
        count = trade_count(row)
        start = (page - 1) * TRADES_PER_PAGE
        if page > 1 and start >= count:
            raise Problem("not_found", "There is no such page.", status_code=404)
        results = trade_rows(row, start, min(count, start + TRADES_PER_PAGE))
        return Response({"count": count, "results": results})


class CsvRenderer(BaseRenderer):
    """Lets a request for text/csv through; the view writes the text itself."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, *args: Any) -> Any:
        return FiniteJSONRenderer().render(data)


class BacktestTradesCsv(FinishedBacktest):
    """All trades as a CSV file."""

    renderer_classes = [FiniteJSONRenderer, CsvRenderer]

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: MemberRequest, pk: int) -> HttpResponse:
        answer = HttpResponse(trades_csv(self.finished(pk)), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="trades.csv"'
        return answer


class BacktestEquity(FinishedBacktest):
    """At most `max` points of the equity, its extremes kept."""

    parameters = frozenset({"max"})

    @extend_schema(
        responses=OpenApiTypes.OBJECT, parameters=[OpenApiParameter("max", OpenApiTypes.INT)]
    )
    def get(self, request: MemberRequest, pk: int) -> Response:
        most = whole_number(request, "max", MAX_POINTS, at_most=MAX_POINTS)
        return Response(equity_points(self.finished(pk), most))


class BacktestReport(FinishedBacktest):
    """report.json: all figures under `numbers`, equal for equal runs."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: MemberRequest, pk: int) -> HttpResponse:
        return HttpResponse(report_json(self.finished(pk)), content_type="application/json")
