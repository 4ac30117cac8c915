"""Delimited text, read strictly: every field counted, every number in plain notation.

Each chunk of lines goes through a typed columnar parser if nothing about it is unusual. If anything
is (a quote, a blank line, a field too many, a word where a number belongs), the same lines go
through the plain parser, which either reads them or names the line, the column and the reason.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from markets.candles.errors import InvalidCandles
from markets.candles.raw import Notice, RawCandles
from markets.sources.cells import (
    MAX_FIELD_BYTES,
    batch_of_cells,
    check_field_lengths,
    is_number,
)
from markets.sources.layout import (
    Layout,
    known_names,
    layout_of_header,
    layout_without_header,
)
from markets.sources.table import Batch, Gatherer, check_rows, unique_texts
from markets.sources.times import piece_of_strings
from markets.specs import REQUIRED_COLUMNS, ImportSpec

MAX_UNPACKED_BYTES = 2 * 1024**3
MAX_COLUMNS = 64
MAX_LINE_BYTES = 16 * 1024
CHUNK_BYTES = 4 * 1024**2
HEAD_LINES = 21
MIN_COLUMNS = 6
DELIMITERS = (";", "\t", "|", ",")
DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
LINE_FEED, RETURN, QUOTE, POINT = b"\n"[0], b"\r"[0], b'"'[0], b"."[0]

_EPOCH = re.compile(r"[0-9]{9,19}")


@dataclass(frozen=True)
class _Head:
    """What the first lines say: where the rows begin and how to take them apart."""

    delimiter: str
    layout: Layout
    columns: int
    header_lines: int
    notices: tuple[Notice, ...]


def read_text(
    path: Path, sent_name: str, spec: ImportSpec, *, packed: bool, last_line: int | None = None
) -> RawCandles:
    """Rows of a CSV or TSV file, gzip-packed or plain; those up to `last_line` where it is given.

    Raises InvalidCandles for any structure error, with the line where there is one.
    """
    chunks = _chunks(path, packed=packed)
    first = next(chunks, b"")
    encoding = "utf-8-sig" if first.startswith(codecs.BOM_UTF8) else "utf-8"
    skipped = len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0
    first = first[skipped:]
    check_utf8(first, skipped)
    head = _read_head(first, spec)
    gatherer = Gatherer(head.layout, spec, "Line")
    lines_before, bytes_before, returns = 0, skipped, 0
    for chunk in _until_line(_with_first(first, chunks), last_line):
        check_utf8(chunk, bytes_before)
        rows, line = chunk, lines_before + 1
        if lines_before == 0:
            rows, line = _without_lines(chunk, head.header_lines), head.header_lines + 1
        if rows:
            gatherer.add(_read_rows(rows, line, head, gatherer.roles))
        lines_before += chunk.count(b"\n")
        # Blank lines are no rows, but two gigabytes of them would keep a worker busy for minutes.
        check_rows(lines_before // 2)
        bytes_before += len(chunk)
        returns += chunk.count(b"\r\n")
    settings: dict[str, str | int] = {
        "file_name": sent_name,
        "file_bytes": path.stat().st_size,
        "format": "csv.gz" if packed else "csv",
        "delimiter": head.delimiter,
        "encoding": encoding,
    }
    notices = _notices_of_form(encoding, head.delimiter, returns)
    return gatherer.finish(settings, (*notices, *head.notices))


def _chunks(path: Path, *, packed: bool) -> Iterator[bytes]:
    """Whole lines, a few megabytes at a time, each ending in a line feed."""
    try:
        with path.open("rb") as stream:
            yield from _lines_of(gzip.GzipFile(fileobj=stream) if packed else stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidCandles(
            "damaged_file", "The packed file is damaged or cut off. Pack or send it again."
        ) from error


def _lines_of(stream: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    rest, total = b"", 0
    while block := stream.read(CHUNK_BYTES):
        total += len(block)
        if total > MAX_UNPACKED_BYTES:
            raise InvalidCandles(
                "too_large",
                f"Unpacked, the file has more than {MAX_UNPACKED_BYTES:,} bytes. Split it by time.",
            )
        whole, feed, tail = block.rpartition(b"\n")
        if feed:
            yield rest + whole + feed
            rest = tail
            continue
        rest += tail
        if len(rest) > MAX_LINE_BYTES:
            raise _endless_line(is_packed=isinstance(stream, gzip.GzipFile))
    if rest.strip(b"\r\n"):
        yield rest + b"\n"


def _endless_line(*, is_packed: bool) -> InvalidCandles:
    # What unpacks to one line without an end is made to fill a disk, not to hold candles.
    if not is_packed:
        return _line_too_long(None)
    return InvalidCandles(
        "too_large",
        f"Unpacked, a line has more than {MAX_LINE_BYTES:,} bytes and does not end. "
        "Pack a file of candles.",
    )


def _with_first(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from others


def _until_line(chunks: Iterator[bytes], last_line: int | None) -> Iterator[bytes]:
    if last_line is None:
        yield from chunks
        return
    left = last_line
    for chunk in chunks:
        lines = chunk.split(b"\n", left)
        if len(lines) > left:
            yield b"".join(line + b"\n" for line in lines[:left])
            return
        left -= len(lines) - 1
        yield chunk


def sample_of_text(path: Path, *, packed: bool, rows: int) -> tuple[list[str], list[list[str]]]:
    """Header (empty where there is none) and first rows of a text, as cells, whatever is wrong.

    Bytes that are no UTF-8 are shown as the replacement character. Raises InvalidCandles only for a
    packed file that cannot be unpacked or a first line without an end.
    """
    head = next(_chunks(path, packed=packed), b"").removeprefix(codecs.BOM_UTF8)
    lines = head[: HEAD_LINES * MAX_LINE_BYTES].decode("utf-8", "replace").splitlines()
    shown = [line for line in lines if line.strip()][:HEAD_LINES]
    if not shown:
        return [], []
    delimiter = _delimiter(shown)
    cells = [[cell.strip(' "') for cell in line.split(delimiter)] for line in shown]
    if len(cells) > 1 and _is_banner(cells[0], cells[1]):
        cells = cells[1:]
    if _EPOCH.fullmatch(cells[0][0]):
        return [], cells[:rows]
    return cells[0], cells[1 : rows + 1]


def check_utf8(chunk: bytes, bytes_before: int) -> None:
    """Raises InvalidCandles `not_utf8` naming the first byte that is NUL or no UTF-8."""
    position = chunk.find(b"\0")
    if not chunk.isascii():
        try:
            chunk.decode("utf-8")
        except UnicodeDecodeError as error:
            position = error.start if position < 0 else min(position, error.start)
    if position >= 0:
        raise InvalidCandles(
            "not_utf8",
            f"The text is not UTF-8 at byte {bytes_before + position}. Save the file as UTF-8.",
        )


def _read_head(first: bytes, spec: ImportSpec) -> _Head:
    lines = first.split(b"\n", HEAD_LINES * 2)[: HEAD_LINES * 2]
    texts = [line.removesuffix(b"\r") for line in lines]
    filled = [(number, text) for number, text in enumerate(texts, 1) if text.strip()][:HEAD_LINES]
    for number, text in filled:
        if len(text) > MAX_LINE_BYTES:
            raise _line_too_long(number)
    if not filled:
        raise InvalidCandles("no_rows", "The file has no rows. Choose a file with candles.")
    shown = [text.decode("utf-8") for _, text in filled]
    if len(shown) == 1 and "\r" in shown[0].strip():
        raise InvalidCandles(
            "line_ends",
            "Lines end in CR alone, expected LF or CRLF. Save the file with one of them.",
        )
    delimiter = _delimiter(shown)
    number, header = filled[0][0], _fields(shown[0], delimiter, filled[0][0])
    notices: tuple[Notice, ...] = ()
    if len(shown) > 1:
        second = _fields(shown[1], delimiter, filled[1][0])
        if _is_banner(header, second):
            number, header = filled[1][0], second
            notices = (Notice("banner_skipped", f"The first line was skipped: {shown[0][:80]}"),)
    _check_header(header, number)
    if _has_no_header(header, spec):
        layout = layout_without_header(len(header), spec)
        return _Head(delimiter, layout, len(header), number - 1, notices)
    return _Head(delimiter, layout_of_header(header, spec), len(header), number, notices)


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter that gives the same count of six or more on all lines after a banner.

    Where no delimiter does, the one that most often gives six or more: the row that breaks the
    count is then named by the parser. A comma comes last because it may be a decimal comma.
    """
    best, most = ",", 0
    for delimiter in DELIMITERS:
        counts = [line.count(delimiter) + 1 for line in lines]
        if len(counts) > 1 and counts[0] < counts[1]:
            counts = counts[1:]
        usual, often = Counter(counts).most_common(1)[0]
        if usual < MIN_COLUMNS:
            continue
        if often == len(counts):
            return delimiter
        if often > most:
            best, most = delimiter, often
    return best


def _is_banner(first: Sequence[str], second: Sequence[str]) -> bool:
    shorter = len(first) < len(second) and len(second) >= MIN_COLUMNS
    return shorter and not known_names(first) and bool(known_names(second))


def _has_no_header(first: Sequence[str], spec: ImportSpec) -> bool:
    if _EPOCH.fullmatch(first[0].strip()):
        return True
    mapped = spec.column_map or {}
    if set(mapped) != set(REQUIRED_COLUMNS) or not all(t.startswith("#") for t in mapped.values()):
        return False
    position = mapped["open"][1:]
    inside = position.isdigit() and 1 <= int(position) <= len(first)
    return inside and is_number(first[int(position) - 1].strip())


def _check_header(header: Sequence[str], line: int) -> None:
    if len(header) > MAX_COLUMNS:
        raise InvalidCandles(
            "too_many_columns",
            f"The file has {len(header)} columns, at most {MAX_COLUMNS} are read. "
            "Keep the time, open, high, low, close and volume.",
        )
    check_field_lengths(header, "Line", line)


def _fields(line: str, delimiter: str, number: int) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InvalidCandles(
            "unclosed_quote",
            f"Line {number}: a quotation mark is not closed on its line. Correct the line.",
            line=number,
        ) from error


def _line_too_long(line: int | None) -> InvalidCandles:
    where = f"Line {line}" if line else "A line"
    return InvalidCandles(
        "line_too_long",
        f"{where} is longer than {MAX_LINE_BYTES:,} bytes. Check that lines end in LF or CRLF.",
        line=line,
    )


def _without_lines(chunk: bytes, count: int) -> bytes:
    for _ in range(count):
        chunk = chunk.partition(b"\n")[2]
    return chunk


def _read_rows(chunk: bytes, line: int, head: _Head, roles: tuple[str, ...]) -> Batch:
    return _read_fast(chunk, line, head, roles) or _read_plain(chunk, line, head, roles)


def _read_fast(chunk: bytes, line: int, head: _Head, roles: tuple[str, ...]) -> Batch | None:
    """The rows of a chunk with nothing unusual in it, or None."""
    chunk = _without_quotes(chunk, head.delimiter)
    count = _count_of_plain_rows(chunk, head)
    if not count:
        return None
    layout = head.layout
    times = (layout.columns["timestamp"], *layout.other_times)
    texts = [*times] + ([layout.columns["symbol"]] if "symbol" in layout.columns else [])
    types = {f"f{index}": pa.string() for index in texts}
    numbers = {role: f"f{layout.columns[role]}" for role in roles}
    if types.keys() & set(numbers.values()):
        return None
    types.update(dict.fromkeys(numbers.values(), pa.float64()))
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(chunk),
            pa_csv.ReadOptions(
                column_names=[f"f{index}" for index in range(head.columns)],
                use_threads=False,
                block_size=len(chunk) + 1,
            ),
            pa_csv.ParseOptions(delimiter=head.delimiter, quote_char=False),
            pa_csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[""]
            ),
        )
    except pa.ArrowInvalid:
        return None
    pieces = {index: piece_of_strings(_array(table, f"f{index}")) for index in times}
    found = {index: piece for index, piece in pieces.items() if piece is not None}
    if len(found) < len(pieces) or table.num_rows != count:
        return None
    symbols = _array(table, f"f{texts[-1]}") if "symbol" in layout.columns else pa.array([])
    values = {
        role: _array(table, name).to_numpy(zero_copy_only=False) for role, name in numbers.items()
    }
    return Batch(found, values, unique_texts(symbols), np.arange(line, line + count))


def _without_quotes(chunk: bytes, delimiter: str) -> bytes:
    """The chunk without quotation marks where they only enclose whole fields without delimiters;
    else the chunk as it is.
    """
    if b'"' not in chunk:
        return chunk
    data = np.frombuffer(chunk, dtype=np.uint8)
    is_edge = np.zeros(256, dtype=np.bool_)
    is_edge[[LINE_FEED, RETURN, delimiter.encode()[0]]] = True
    quotes = np.flatnonzero(data == QUOTE)
    if len(quotes) % 2:
        return chunk
    opened, closed = quotes[::2], quotes[1::2]
    edges = np.flatnonzero(is_edge[data])
    encloses = (np.searchsorted(edges, opened) == np.searchsorted(edges, closed)).all()
    begins = is_edge[data[opened - 1]] | (opened == 0)
    if not (encloses and begins.all() and is_edge[data[closed + 1]].all()):
        return chunk
    return chunk.replace(b'"', b"")


def _array(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _count_of_plain_rows(chunk: bytes, head: _Head) -> int:
    """Number of rows if all have the right count of fields, none too long, and nothing that the
    columnar parser would take more leniently than we do; else 0.
    """
    data = np.frombuffer(chunk, dtype=np.uint8)
    # The columnar parser takes nan(1) for a number.
    if b'"' in chunk or b"(" in chunk:
        return 0
    if b"\r" in chunk:
        returns = np.flatnonzero(data == RETURN)
        if (data[returns + 1] != LINE_FEED).any():
            return 0
    points = np.flatnonzero(data == POINT)
    # 5. is no number here; numpy wraps bytes below the digit zero around to large values.
    if ((data[points + 1] - b"0"[0]) > 9).any():
        return 0
    ends = np.flatnonzero((data == LINE_FEED) | (data == head.delimiter.encode()[0]))
    rows, left = divmod(len(ends), head.columns)
    if left or int(np.diff(ends, prepend=-1).max()) - 1 > MAX_FIELD_BYTES:
        return 0
    is_feed = data[ends].reshape(rows, head.columns) == LINE_FEED
    if not is_feed[:, -1].all() or is_feed[:, :-1].any():
        return 0
    starts = np.concatenate(([-1], ends[head.columns - 1 :: head.columns]))
    return rows if int(np.diff(starts).max()) <= MAX_LINE_BYTES else 0


def _read_plain(chunk: bytes, line: int, head: _Head, roles: tuple[str, ...]) -> Batch:
    """The rows of a chunk one by one. Raises InvalidCandles at the first line that is wrong."""
    return batch_of_cells(_plain_rows(chunk, line, head), head.layout, roles, "Line")


def _plain_rows(chunk: bytes, line: int, head: _Head) -> Iterator[tuple[int, list[str]]]:
    for number, raw in enumerate(chunk.split(b"\n")[:-1], line):
        text = raw.removesuffix(b"\r")
        if not text:
            continue
        if len(text) > MAX_LINE_BYTES:
            raise _line_too_long(number)
        fields = _fields(text.decode("utf-8"), head.delimiter, number)
        _check_count(fields, head, number)
        check_field_lengths(fields, "Line", number)
        yield number, fields


def _check_count(fields: Sequence[str], head: _Head, line: int) -> None:
    if len(fields) == head.columns:
        return
    hint = " A comma inside a number must be removed." if head.delimiter == "," else ""
    raise InvalidCandles(
        "field_count",
        f"Line {line} has {len(fields)} fields, expected {head.columns} as in the first row. "
        f"Correct the line and send the file again.{hint}",
        line=line,
    )


def notices_of_encoding(encoding: str) -> tuple[Notice, ...]:
    """A notice where the text began with a byte order mark."""
    if encoding != "utf-8-sig":
        return ()
    return (Notice("bom_removed", "A byte order mark at the beginning was removed."),)


def _notices_of_form(encoding: str, delimiter: str, returns: int) -> tuple[Notice, ...]:
    notices = [*notices_of_encoding(encoding)]
    if returns:
        notices.append(Notice("crlf_line_ends", "Lines end in CR LF.", returns))
    if delimiter != ",":
        text = f"Fields are separated by {DELIMITER_NAMES[delimiter]}."
        notices.append(Notice("delimiter", text))
    return tuple(notices)
