"""JSON arrays of rows, taken apart a piece of whole rows at a time so that memory stays bounded."""

from __future__ import annotations

import codecs
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from markets.candles.errors import InvalidCandles
from markets.candles.raw import RawCandles
from markets.sources.cells import MAX_FIELD_BYTES, batch_of_cells, floats_of_texts
from markets.sources.layout import layout_of_arrays
from markets.sources.table import Batch, Gatherer
from markets.sources.text import check_utf8, notices_of_encoding
from markets.sources.times import NS_LIMIT, TimePiece, piece_of_strings
from markets.specs import ImportSpec

CHUNK_BYTES = 1024**2
MAX_ROW_BYTES = 16 * 1024
SPACE = b" \t\r\n"
_SEPARATOR = re.compile(rb"\][ \t\r\n]*,")
_MARKS = np.zeros(256, dtype=np.bool_)
_MARKS[list(b"[],")] = True


def read_json(
    path: Path, sent_name: str, spec: ImportSpec, *, last_row: int | None = None
) -> RawCandles:
    """Rows of a JSON file `[[time, open, high, low, close, volume, …], …]`, those up to `last_row`
    where it is given. Numbers may be written as strings; null is an empty cell.

    Raises InvalidCandles `damaged_file` for what is no JSON or cut off, `columns_not_found` when
    rows are no arrays or of an unknown length, and what the cells raise, with the row from 1.
    """
    gatherer: Gatherer | None = None
    first_row = 1
    for start, piece in _pieces(path):
        left = None if last_row is None else last_row + 1 - first_row
        text = _text(start, piece if left is None else _head_of(piece, left), first_row)
        rows = _rows(text, first_row)
        if gatherer is None:
            columns = _length(rows[0], first_row)
            gatherer = Gatherer(layout_of_arrays(columns, spec), spec, "Row")
        rows = rows[:left]
        _check_shape(rows, len(gatherer.layout.names), first_row)
        if rows:
            gatherer.add(_batch(rows, text, gatherer, first_row))
        first_row += len(rows)
        if left is not None and len(rows) >= left:
            break
    if gatherer is None:
        raise InvalidCandles("no_rows", "The file has no rows. Choose a file with candles.")
    settings: dict[str, str | int] = {
        "file_name": sent_name,
        "file_bytes": path.stat().st_size,
        "format": "json",
        "encoding": "utf-8-sig" if _has_mark(path) else "utf-8",
    }
    return gatherer.finish(settings, notices_of_encoding(str(settings["encoding"])))


def sample_of_json(path: Path, *, rows: int) -> list[list[str]]:
    """The first rows as cells. Raises InvalidCandles where they cannot be told apart."""
    start, piece = next(_pieces(path), (0, b""))
    if not piece:
        return []
    written = _rows(_text(start, _head_of(piece, rows), 1), 1, as_written=True)
    return [[_written_cell(cell) for cell in row] for row in written if isinstance(row, list)]


def _has_mark(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """Runs of whole rows without the brackets around them all, each with its place in the file."""
    with path.open("rb") as stream:
        block = stream.read(CHUNK_BYTES)
        rest = block.removeprefix(codecs.BOM_UTF8).lstrip(SPACE)
        if not rest.startswith(b"["):
            raise _damaged("The file does not begin with a bracket.")
        rest = rest[1:]
        start = len(block) - len(rest)
        has_rows = False
        while block := stream.read(CHUNK_BYTES):
            rest += block
            end, following = _last_separator(rest)
            if not end:
                raise _row_too_long()
            yield start, rest[:end]
            has_rows = True
            start += following
            rest = rest[following:]
    body = rest.rstrip(SPACE)
    if not body.endswith(b"]"):
        raise _damaged("Its last bracket is missing.")
    if body[:-1].strip(SPACE):
        yield start, body[:-1]
    elif has_rows:
        raise _damaged("It ends in a comma.")


def _last_separator(rest: bytes) -> tuple[int, int]:
    """Where the last row that is followed by another ends, and where the other begins; or 0, 0."""
    window = max(0, len(rest) - 2 * MAX_ROW_BYTES)
    found = deque(_SEPARATOR.finditer(rest, window), maxlen=1)
    return (found[0].start() + 1, found[0].end()) if found else (0, 0)


def _head_of(piece: bytes, rows: int) -> bytes:
    """The first rows of a piece, at least one, so that the layout can be told."""
    found = next(islice(_SEPARATOR.finditer(piece), max(0, rows - 1), None), None)
    return piece[: found.start() + 1] if found else piece


def _text(start: int, piece: bytes, first_row: int) -> str:
    check_utf8(piece, start)
    marks = np.flatnonzero(_MARKS[np.frombuffer(piece, dtype=np.uint8)])
    lengths = np.diff(marks, prepend=-1, append=len(piece)) - 1
    if lengths.max() > MAX_FIELD_BYTES:
        field = int(lengths.argmax())
        row = first_row + piece.count(b"]", 0, int(marks[field - 1]) + 1 if field else 0)
        raise InvalidCandles(
            "field_too_long",
            f"Row {row}: a field is longer than {MAX_FIELD_BYTES} bytes.",
            line=row,
        )
    return piece.decode("utf-8")


def _rows(text: str, first_row: int, *, as_written: bool = False) -> list[Any]:
    """The rows of a piece; numbers as Python reads them, or the very texts in the file."""
    number = str if as_written else None
    try:
        return list(
            json.loads(f"[{text}]", parse_float=number, parse_int=number, parse_constant=number)
        )
    except json.JSONDecodeError as error:
        row = first_row + text.count("]", 0, max(0, error.pos - 1))
        raise _damaged(f"Row {row} is not valid: {error.msg}.", row) from error
    except RecursionError as error:
        raise _damaged("Its brackets are nested too deeply.") from error


def _length(row: object, first_row: int) -> int:
    if isinstance(row, list):
        return len(row)
    raise InvalidCandles(
        "columns_not_found",
        f"Row {first_row} is no array. Expected rows such as "
        "[time, open, high, low, close, volume]; write the file in this way.",
        line=first_row,
    )


def _check_shape(rows: Sequence[object], columns: int, first_row: int) -> None:
    for number, row in enumerate(rows, first_row):
        found = _length(row, number)
        if found != columns:
            raise InvalidCandles(
                "field_count",
                f"Row {number} has {found} fields, expected {columns} as in the first row. "
                "Correct the row and send the file again.",
                line=number,
            )


def _batch(rows: list[list[Any]], text: str, gatherer: Gatherer, first_row: int) -> Batch:
    typed = _typed_batch(rows, gatherer, first_row)
    if typed is not None:
        return typed
    written = _rows(text, first_row, as_written=True)[: len(rows)]
    cells = (
        (number, [_written_cell(c) for c in row]) for number, row in enumerate(written, first_row)
    )
    return batch_of_cells(cells, gatherer.layout, gatherer.roles, "Row")


def _typed_batch(rows: list[list[Any]], gatherer: Gatherer, first_row: int) -> Batch | None:
    """The rows where every column is of numbers or of plain texts of numbers, or None."""
    columns = list(zip(*rows, strict=True))
    layout = gatherer.layout
    time = _typed_times(columns[layout.columns["timestamp"]])
    values = {role: _typed_numbers(columns[layout.columns[role]]) for role in gatherer.roles}
    known = {role: column for role, column in values.items() if column is not None}
    if time is None or len(known) < len(values):
        return None
    lines = np.arange(first_row, first_row + len(rows), dtype=np.int64)
    return Batch({layout.columns["timestamp"]: time}, known, (), lines)


def _typed_times(cells: Sequence[Any]) -> TimePiece | None:  # Any: whatever JSON can hold
    types = set(map(type, cells))
    if types == {str}:
        texts = _texts(cells)
        return piece_of_strings(texts) if texts is not None else None
    # Exactly int: a truth value is an int to Python.
    if types != {int} or not 0 <= min(cells) <= max(cells) <= NS_LIMIT:
        return None
    return TimePiece("number", np.array(cells, dtype=np.int64))


def _typed_numbers(cells: Sequence[Any]) -> NDArray[np.float64] | None:  # Any: as above
    types = set(map(type, cells))
    if types == {str}:
        texts = _texts(cells)
        return floats_of_texts(texts) if texts is not None else None
    return np.array(cells, dtype=np.float64) if types <= {int, float} else None


def _texts(cells: Sequence[str]) -> pa.Array | None:
    try:
        return pa.array(cells, pa.string())
    except UnicodeEncodeError:  # JSON can name half of a surrogate pair, which is no character
        return None


def _written_cell(cell: object) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell)


def _damaged(reason: str, row: int | None = None) -> InvalidCandles:
    return InvalidCandles(
        "damaged_file",
        f"The file is not a JSON array of rows, or it is cut off. {reason} Write or send it again.",
        line=row,
    )


def _row_too_long() -> InvalidCandles:
    return InvalidCandles(
        "line_too_long",
        f"A row is longer than {MAX_ROW_BYTES:,} bytes. Check that the file is an array of rows.",
    )
