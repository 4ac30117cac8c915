from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from accounts.editing import user_of
from backtests.comparing import KINDS, LEAST, MOST, Comparison, choices, compared
from backtests.reading import equity_columns, harmless
from backtests.views import sent
from markets.chart_answers import chart_answer
from modeling.charting import curve_figure

ID_DIGITS = 18


class UnusableChoice(ValueError):
    """What was asked for cannot be compared; the text says why."""


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """What differs, the figures with their differences, and the curves over each other."""
    try:
        kind, wanted, reference = chosen(request)
    except UnusableChoice as error:
        return render(request, "backtests/compare.html", {"problem": error}, status=400)
    context: dict[str, Any] = {"kind": kind, "wanted": wanted, "most": MOST}
    if len(wanted) < MOST:
        context["choices"] = choices(user_of(request), kind, wanted)
    if not wanted:
        return render(request, "backtests/compare.html", context)
    found = compared_or_404(request, kind, wanted, reference)
    settings = found.settings()
    context |= {
        "comparison": found,
        "columns": [head(found, place) for place in range(len(found.columns))],
        "is_enough": len(wanted) >= LEAST,
        "mixed_code": found.mixed_code(),
        "shows_all": request.GET.get("show") == "all",
        "settings": settings,
        "differing": [row for row in settings if row["differs"]],
        "measures": found.measures(),
        "has_equity": any(c.backtest and c.backtest.equity_id for c in found.columns),
    }
    return render(request, "backtests/compare.html", context)


@require_safe
@gzip_page
def compare_equity(request: HttpRequest) -> HttpResponse:
    from backtests.charts_compared import equities_figure

    found = asked(request)
    tracks = {}
    for column in found.columns:
        if column.backtest and column.backtest.equity:
            columns = equity_columns(column.backtest)
            growth = columns["equity"] / column.backtest.spec.capital
            tracks[column.short] = columns["time"], growth
    return chart_answer(request, equities_figure(tracks), title="Equity, compared")


@require_safe
@gzip_page
def compare_loss(request: HttpRequest) -> HttpResponse:
    from backtests.charts_compared import losses_figure

    curves = {}
    for column in asked(request).columns:
        trace = curve_figure(column.run, "loss")["data"][0]
        curves[column.short] = trace["x"], trace["y"]
    return chart_answer(request, losses_figure(curves), title="Training loss, compared")


@require_safe
def compare_file(request: HttpRequest) -> HttpResponse:
    """Every setting and every figure as CSV, with full values."""
    found = asked(request)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in csv_lines(found):
        writer.writerow([harmless(cell) for cell in line])
    return sent(text.getvalue(), "text/csv; charset=utf-8", f"compare-{found.kind}.csv")


def csv_lines(found: Comparison) -> Iterable[list[Any]]:
    labels = [column.label for column in found.columns]
    yield ["part", "name", "unit", *labels, *[f"{label}, difference" for label in labels]]
    blanks = [""] * len(labels)
    words = ["; ".join(found.not_comparable(column)) for column in found.columns]
    yield ["Comparison", f"Not comparable with {found.reference.label}", "", *words, *blanks]
    for row in found.settings():
        values = ["" if value is None else plain(value) for value in row["cells"]]
        yield [row["section"], row["label"], row["unit"], *values, *blanks]
    for row in found.measures():
        values = [cell["value"] for cell in row["cells"]]
        yield [
            row["group"],
            row["measure"].label,
            "",
            *["" if value is None else value for value in values],
            *["" if cell["difference"] is None else cell["difference"] for cell in row["cells"]],
        ]


def plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def chosen(request: HttpRequest) -> tuple[str, list[int], int | None]:
    """Kind, ids in the order asked for, and the reference. Raises UnusableChoice."""
    kinds = [kind for kind in KINDS if request.GET.get(kind)]
    if len(kinds) > 1:
        raise UnusableChoice("Found runs and backtests; expected one of the two. Leave one out.")
    kind = kinds[0] if kinds else KINDS[0]
    wanted = list(dict.fromkeys(ids(",".join(request.GET.getlist(kind)))))
    if len(wanted) > MOST:
        raise UnusableChoice(f"Found {len(wanted)} {kind}; expected at most {MOST}. Choose fewer.")
    reference = ids(request.GET.get("reference", ""))
    return kind, wanted, reference[0] if reference else None


def ids(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) <= ID_DIGITS):
            raise UnusableChoice(
                f"Found {part[:40]!r} among the numbers; expected numbers with commas, such as 1,2."
            )
    return [int(part) for part in parts]


def asked(request: HttpRequest) -> Comparison:
    """The comparison of a file or chart; it needs at least one column."""
    try:
        kind, wanted, reference = chosen(request)
    except UnusableChoice as error:
        raise Http404(str(error)) from error
    if not wanted:
        raise Http404("nothing was chosen")
    return compared_or_404(request, kind, wanted, reference)


def compared_or_404(
    request: HttpRequest, kind: str, wanted: list[int], reference: int | None
) -> Comparison:
    try:
        return compared(user_of(request), kind, wanted, reference)
    except LookupError:
        raise Http404("one of them was not found") from None


def head(found: Comparison, place: int) -> dict[str, Any]:
    """One column with its marks and the address of the comparison without it."""
    column = found.columns[place]
    rest = [other.pk for other in found.columns if other is not column]
    kept = "" if column is found.reference else f"&reference={found.reference.pk}"
    return {
        "column": column,
        "is_reference": column is found.reference,
        "reasons": found.not_comparable(column),
        "without": f"?{found.kind}={','.join(map(str, rest))}{kept}",
    }
