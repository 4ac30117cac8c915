"""Sealed candles as files to take away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.http import FileResponse, Http404, HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.editing import user_of
from artifacts.store import FileChanged, verified_path
from markets.models import DatasetVersion
from markets.reading import candles_csv
from markets.views.datasets import fetched_version

PARQUET = "application/vnd.apache.parquet"


@require_safe
def candles_parquet(request: HttpRequest, pk: int, number: int) -> FileResponse:
    version = fetched_version(request, pk, number)
    try:
        answer = parquet_answer(version)
    except FileChanged as error:
        raise Http404(str(error)) from error
    record_export(request, version, "parquet")
    return answer


@require_safe
def candles_text(request: HttpRequest, pk: int, number: int) -> StreamingHttpResponse:
    version = fetched_version(request, pk, number)
    try:
        answer = csv_answer(version)
    except FileChanged as error:
        raise Http404(str(error)) from error
    record_export(request, version, "csv")
    return answer


def parquet_answer(version: DatasetVersion) -> FileResponse:
    """The sealed file itself. Raises FileChanged."""
    return FileResponse(
        verified_path(version.file).open("rb"),
        as_attachment=True,
        filename=file_name(version, "parquet"),
        content_type=PARQUET,
    )


def csv_answer(version: DatasetVersion) -> StreamingHttpResponse:
    """The candles as text, piece by piece. Raises FileChanged."""
    answer = StreamingHttpResponse(
        in_pieces(candles_csv(version)), content_type="text/csv; charset=utf-8"
    )
    answer["Content-Disposition"] = f'attachment; filename="{file_name(version, "csv")}"'
    return answer


async def in_pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """One piece at a time; the server would collect a plain iterator whole before it sends."""
    while piece := await sync_to_async(lambda: next(pieces, b""))():
        yield piece


def file_name(version: DatasetVersion, ending: str) -> str:
    return f"candles-{version.dataset_id}-v{version.number}.{ending}"


def record_export(request: HttpRequest, version: DatasetVersion, form: str) -> None:
    """An export is audited; a look at its headers is none."""
    if request.method == "GET":
        audit.record(
            "export",
            workspace=version.workspace,
            user=user_of(request),
            subject=version,
            request=request,
            format=form,
        )
