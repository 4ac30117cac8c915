"""Small candle files that a person can check by hand."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from markets.candles.frame import Candles
from markets.candles.validation import validate_candles
from markets.sources.reading import read_source
from markets.specs import ImportSpec

NOW_NS = 1_767_225_600_000_000_000  # 2026-01-01
FIRST_SECOND = 1_704_067_200  # 2024-01-01
HEADER = "timestamp,open,high,low,close,volume"
ROWS = 200
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain_rows(count: int = 6, *, unit: str = "ms", step_s: int = 300) -> list[str]:
    """Rows of five-minute candles from 2024-01-01 00:00 with prices 100, 101, …"""
    return [
        f"{(FIRST_SECOND + index * step_s) * UNITS[unit]},"
        f"{100 + index}.5,{102 + index},{99 + index},{101 + index},{index}.25"
        for index in range(count)
    ]


def text_of(rows: list[str], header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def written(folder: Path, content: str | bytes, name: str = "candles.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def spec_of(**fields: object) -> ImportSpec:
    return ImportSpec.parse({"symbol": "BTC/USDT", **fields})


def imported(path: Path, **fields: object) -> tuple[Candles, dict]:
    spec = spec_of(**fields)
    return validate_candles(read_source(path, path.name, spec), spec, NOW_NS)


def notice_codes(report: dict) -> set[str]:
    return {notice["code"] for notice in report["notices"]}


def with_cell(column: int, value: str, row: int = 3) -> str:
    """The plain file with one cell changed; row counts from 1, so its line is row + 1."""
    rows = [line.split(",") for line in plain_rows(ROWS)]
    rows[row - 1][column] = value
    return text_of([",".join(cells) for cells in rows])


def shifted(first_second: int, step_s: int = 300) -> str:
    """The plain file with its times, in seconds, moved to another first bar."""
    cells = [row.partition(",")[2] for row in plain_rows()]
    return text_of([f"{first_second + step_s * index},{cell}" for index, cell in enumerate(cells)])


def table(count: int = 6, **columns: object) -> pa.Table:
    """The plain rows as a table; a keyword adds or replaces a column."""
    index = np.arange(count)
    values = {
        "timestamp": (FIRST_SECOND + 300 * index) * 1000,
        "open": 100.5 + index,
        "high": 102.0 + index,
        "low": 99.0 + index,
        "close": 101.0 + index,
        "volume": index + 0.25,
    }
    return pa.table(values | columns)


def packed(write: Callable[[pa.Table, Any], object], content: pa.Table) -> bytes:
    """What a writer of tables makes of one, as bytes."""
    buffer = io.BytesIO()
    write(content, buffer)
    return buffer.getvalue()


def archive(name: str) -> bytes:
    """A zip file that holds good candles under this name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, text_of(plain_rows()))
    return buffer.getvalue()


def gzip_bomb(line: bytes) -> bytes:
    """At most 3 MiB that unpack to 1 GiB of the same line under a header of candles."""
    block = gzip.compress(line * (2**24 // len(line)), 9)
    return gzip.compress(f"{HEADER}\n".encode()) + block * 64
