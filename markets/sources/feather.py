"""Feather v2 (the Arrow file format), weighed block by block before anything is unpacked."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa

from markets.candles.errors import InvalidCandles, printable
from markets.candles.raw import RawCandles
from markets.sources.arrow_blocks import BrokenFile, weigh_blocks
from markets.sources.columnar import (
    MAX_CELLS_BYTES,
    batch_of_table,
    check_cells,
    check_flat,
    check_types,
    needed_names,
)
from markets.sources.layout import Layout, layout_of_header
from markets.sources.table import Gatherer
from markets.specs import ImportSpec

DAMAGED = "The Feather file is damaged or cut off. Write or send it again."


def read_feather(
    path: Path, sent_name: str, spec: ImportSpec, *, last_row: int | None = None
) -> RawCandles:
    """Rows of a Feather file, those up to `last_row` where it is given; only the columns that are
    needed are read, one record batch at a time.

    Raises InvalidCandles `damaged_file`, `too_large` (told from the blocks), `unsupported_columns`
    for nested or binary columns, and what the layout and the times raise.
    """
    settings: dict[str, str | int] = {
        "file_name": sent_name,
        "file_bytes": path.stat().st_size,
        "format": "feather",
    }
    try:
        with pa.memory_map(str(path)) as source:
            _check_weight(source.read_buffer(source.size()))
            with pa.ipc.open_file(source) as file:
                schema = file.schema
            check_flat(schema)
            layout = layout_of_header(schema.names, spec)
            gatherer = Gatherer(layout, spec, "Row")
            check_types(schema, layout, gatherer.roles)
            _gather(source, layout, gatherer, last_row)
            # Joined while the map is open: the columns may be views of it.
            return gatherer.finish(settings, ())
    except (pa.ArrowException, BrokenFile, struct.error, OSError, UnicodeDecodeError) as error:
        raise InvalidCandles("damaged_file", DAMAGED) from error


def names_of_feather(path: Path) -> list[str]:
    """The column names, made printable. Raises InvalidCandles `damaged_file`."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            return [printable(name) for name in file.schema.names]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidCandles("damaged_file", DAMAGED) from error


def _check_weight(content: pa.Buffer) -> None:
    weight = weigh_blocks(memoryview(content))
    check_cells(weight.rows, weight.columns)
    if weight.unpacked_bytes > MAX_CELLS_BYTES:
        raise InvalidCandles(
            "too_large",
            f"Unpacked, the file has more than {MAX_CELLS_BYTES:,} bytes. Split it by time.",
        )


def _gather(
    source: pa.MemoryMappedFile, layout: Layout, gatherer: Gatherer, last_row: int | None
) -> None:
    wanted = sorted({*layout.columns.values(), *layout.other_times})
    options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
    names = needed_names(layout)
    first_row = 1
    with pa.ipc.open_file(source, options=options) as file:
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            # Offsets inside a sent file are not to be trusted.
            batch.validate(full=True)
            table = pa.Table.from_batches([batch]).select(names)
            if last_row is not None:
                table = table.slice(0, max(0, last_row + 1 - first_row))
            lines = np.arange(first_row, first_row + table.num_rows, dtype=np.int64)
            gatherer.add(batch_of_table(table, layout, gatherer.roles, lines))
            first_row += table.num_rows
            if last_row is not None and first_row > last_row:
                return
