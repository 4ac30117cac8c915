"""A figure as the answer of a chart's address: JSON for the script, or its numbers as a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from artifacts.store import FileChanged
from markets.charts import Figure
from markets.reading import InvalidRange

TABLE_ROWS = 500
PRICES = ("open", "high", "low", "close")


@contextmanager
def read_or_refused() -> Iterator[None]:
    """A range that cannot be shown is the request's fault, a file that changed on disk is not there.

    Raises BadRequest and Http404 in their place. Decorates a view, or surrounds what it reads.
    """
    try:
        yield
    except InvalidRange as error:
        raise BadRequest(f"{error.field}: {error}") from error
    except FileChanged as error:
        raise Http404(str(error)) from error


def chart_answer(
    request: HttpRequest, figure: Figure, *, title: str, note: str = ""
) -> HttpResponse:
    """JSON, or with `?as=rows` a table fragment, or with `?as=table` that table as a page."""
    wanted = request.GET.get("as", "")
    if wanted not in ("rows", "table"):
        return JsonResponse({"figure": figure, "note": note})
    table = {**figure_table(figure), "title": title, "note": note}
    return render(request, f"_chart_{wanted}.html", table)


def figure_table(figure: Figure) -> dict[str, Any]:
    """The drawn numbers: one row for each x, one column for each line; at most 500 rows, ends kept."""
    columns: list[str] = []
    cells: dict[Any, dict[str, Any]] = {}
    for place, trace in enumerate(figure["data"]):
        names = PRICES if "open" in trace else ("y",)
        for name in names:
            heading = (
                name.capitalize() if name in PRICES else trace.get("name") or f"Line {place + 1}"
            )
            columns.append(heading)
            for x, value in zip(trace["x"], trace[name], strict=True):
                if x is not None and value is not None:
                    cells.setdefault(x, {})[heading] = value
    kept = sorted(cells)
    if len(kept) > TABLE_ROWS:
        last = len(kept) - 1
        kept = [kept[round(place * last / (TABLE_ROWS - 1))] for place in range(TABLE_ROWS)]
    rows = [(x, [cells[x].get(name) for name in columns]) for x in kept]
    heading = figure["layout"].get("xaxis", {}).get("title", {}).get("text", "")
    return {"columns": columns, "rows": rows, "x_heading": heading, "points": len(cells)}
