"""Weights, cards and predictions as files to take away; each download is audited."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse

from accounts import audit
from accounts.editing import user_of
from accounts.models import WorkspaceRow
from artifacts.models import StoredFile
from artifacts.store import FileChanged, verified_path
from markets.views.exports import in_pieces
from modeling.cards import model_card
from modeling.evaluation.table import TIMES
from modeling.models import ModelPrediction, PredictionSet, RegisteredModel

CSV_ROWS = 20_000


def weights_answer(request: HttpRequest, model: RegisteredModel) -> FileResponse:
    """The safetensors file as it was stored. Raises Http404 when it is gone or damaged."""
    assert model.fold.weights is not None  # a model without weights is not registered
    answer = _file(model.fold.weights, f"model-{model.pk}-weights.safetensors")
    _record(request, model, "weights")
    return answer


def card_answer(request: HttpRequest, model: RegisteredModel) -> HttpResponse:
    text = json.dumps(model_card(model), indent=2, ensure_ascii=False)
    answer = HttpResponse(text + "\n", content_type="application/json; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="model-{model.pk}-card.json"'
    _record(request, model, "card")
    return answer


def parquet_answer(request: HttpRequest, row: ModelPrediction) -> FileResponse:
    """The sealed prediction file. Raises Http404 before there is one."""
    answer = _file(_predicted(row).file, f"{_file_name(row)}.parquet")
    _record(request, row, "parquet")
    return answer


def csv_answer(request: HttpRequest, row: ModelPrediction) -> StreamingHttpResponse:
    """The predictions as text. Raises Http404 before there are any."""
    answer = _csv(_predicted(row).file, f"{_file_name(row)}.csv")
    _record(request, row, "csv")
    return answer


def set_parquet_answer(request: HttpRequest, row: PredictionSet, name: str) -> FileResponse:
    """The sealed file of a run's predictions. Raises Http404 when it is gone or damaged."""
    answer = _file(row.file, f"{name}.parquet")
    _record(request, row, "parquet")
    return answer


def set_csv_answer(request: HttpRequest, row: PredictionSet, name: str) -> StreamingHttpResponse:
    """A run's predictions as text. Raises Http404 when their file is gone or damaged."""
    answer = _csv(row.file, f"{name}.csv")
    _record(request, row, "csv")
    return answer


def _predicted(row: ModelPrediction) -> PredictionSet:
    if row.predictions is None:
        raise Http404("there are no predictions yet")
    return row.predictions


def _file_name(row: ModelPrediction) -> str:
    return f"model-{row.model_id}-predictions-{row.pk}"


def _csv(stored: StoredFile, name: str) -> StreamingHttpResponse:
    try:
        table = pq.read_table(verified_path(stored))
    except FileChanged as error:
        raise Http404(str(error)) from error
    answer = StreamingHttpResponse(
        in_pieces(_pieces(table)), content_type="text/csv; charset=utf-8"
    )
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _pieces(table: pa.Table) -> Iterator[bytes]:
    """ISO 8601 times with Z; what is not known is empty."""
    for place, name in enumerate(table.column_names):
        if name in TIMES:
            instants = table[name].to_numpy().astype("datetime64[us]")
            texts = np.datetime_as_string(instants, unit="s", timezone="UTC")
            table = table.set_column(place, name, pa.array(texts))
    yield (",".join(table.column_names) + "\n").encode()
    plain = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
    for start in range(0, len(table), CSV_ROWS):
        piece = io.BytesIO()
        pa_csv.write_csv(table.slice(start, CSV_ROWS), piece, plain)
        yield piece.getvalue()


def _file(stored: StoredFile, name: str) -> FileResponse:
    try:
        path = verified_path(stored)
    except FileChanged as error:
        raise Http404(str(error)) from error
    return FileResponse(path.open("rb"), as_attachment=True, filename=name)


def _record(request: HttpRequest, row: WorkspaceRow, form: str) -> None:
    """A look at the headers alone is no download."""
    if request.method == "GET":
        audit.record(
            "export",
            workspace=row.workspace,
            user=user_of(request),
            subject=row,
            request=request,
            format=form,
        )
