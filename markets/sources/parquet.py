"""Parquet, judged by its footer before anything is read, then read by row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from markets.candles.errors import InvalidCandles, printable
from markets.candles.raw import RawCandles
from markets.sources.columnar import (
    batch_of_table,
    check_cells,
    check_flat,
    check_types,
    needed_names,
)
from markets.sources.layout import layout_of_header
from markets.sources.table import Gatherer
from markets.specs import ImportSpec

DAMAGED = "The Parquet file is damaged or cut off. Write or send it again."


def read_parquet(
    path: Path, sent_name: str, spec: ImportSpec, *, last_row: int | None = None
) -> RawCandles:
    """Rows of a Parquet file, those up to `last_row` where it is given; only the columns that are
    needed are read.

    Raises InvalidCandles `damaged_file`, `too_large` (told from the footer), `unsupported_columns`
    for nested or binary columns, and what the layout and the times raise.
    """
    try:
        with pq.ParquetFile(path) as file:
            check_cells(file.metadata.num_rows, file.metadata.num_columns)
            check_flat(file.schema_arrow)
            layout = layout_of_header(file.schema_arrow.names, spec)
            gatherer = Gatherer(layout, spec, "Row")
            check_types(file.schema_arrow, layout, gatherer.roles)
            for table, lines in _tables(file, needed_names(layout), last_row):
                gatherer.add(batch_of_table(table, layout, gatherer.roles, lines))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidCandles("damaged_file", DAMAGED) from error
    settings: dict[str, str | int] = {
        "file_name": sent_name,
        "file_bytes": path.stat().st_size,
        "format": "parquet",
    }
    return gatherer.finish(settings, ())


def names_of_parquet(path: Path) -> list[str]:
    """The column names, made printable. Raises InvalidCandles `damaged_file`."""
    try:
        return [printable(name) for name in pq.read_schema(path).names]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidCandles("damaged_file", DAMAGED) from error


def _tables(
    file: pq.ParquetFile, names: list[str], last_row: int | None
) -> Iterator[tuple[pa.Table, NDArray[np.int64]]]:
    """One table per row group with the number of each row; the head alone by a small batch."""
    if last_row is not None:
        for batch in file.iter_batches(max(1, last_row), columns=names, use_threads=False):
            head = pa.Table.from_batches([batch]).slice(0, last_row)
            yield head, np.arange(1, head.num_rows + 1, dtype=np.int64)
            return
        return
    first_row = 1
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=names, use_threads=False)
        yield table, np.arange(first_row, first_row + table.num_rows, dtype=np.int64)
        first_row += table.num_rows
