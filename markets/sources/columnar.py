"""Typed columns, as Parquet and Feather hold them, to batches of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from markets.candles.errors import InvalidCandles, printable
from markets.sources.layout import Layout
from markets.sources.table import Batch, check_rows, unique_texts
from markets.sources.times import Kind, TimePiece, check_kind, parse_time, piece_of_strings

MAX_CELLS_BYTES = 2 * 1024**3
CELL_BYTES = 8


def check_cells(rows: int, columns: int) -> None:
    """Raises InvalidCandles `too_large` above 5 million rows or 2 GiB of eight-byte cells."""
    check_rows(rows)
    if rows * columns * CELL_BYTES > MAX_CELLS_BYTES:
        raise InvalidCandles(
            "too_large",
            f"{rows:,} rows of {columns} columns are too many. Keep only the columns of the candles.",
        )


def check_flat(schema: pa.Schema) -> None:
    """Raises InvalidCandles `unsupported_columns` for nested or binary columns, used or not, and
    for names that cannot be shown.
    """
    odd = [index for index, name in enumerate(schema.names, 1) if printable(name) != name]
    if odd:
        raise InvalidCandles(
            "unsupported_columns",
            f"The name of column {odd[0]} has control characters. Rename or remove that column.",
        )
    wrong = [item.name for item in schema if _is_nested_or_binary(item.type)]
    if wrong:
        raise InvalidCandles(
            "unsupported_columns",
            f"Columns {', '.join(wrong[:5])} are nested or binary; only flat columns are read. "
            "Remove them and send the file again.",
        )


def _is_nested_or_binary(kind: pa.DataType) -> bool:
    kind = _plain(kind)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    odd = pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind)
    return bool(pa.types.is_nested(kind) or binary or odd)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, where a column holds numbers of a dictionary of values."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def check_types(schema: pa.Schema, layout: Layout, roles: tuple[str, ...]) -> None:
    """Raises InvalidCandles `unsupported_columns` where a price or volume is no number."""
    for role in roles:
        index = layout.columns[role]
        kind = _plain(schema.types[index])
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (is_number or pa.types.is_decimal(kind)):
            raise InvalidCandles(
                "unsupported_columns",
                f"Column {layout.names[index]} is of type {kind}, expected numbers. "
                "Write it as float64, or map another column.",
            )


def needed_names(layout: Layout) -> list[str]:
    """Names of the columns that have a role, in file order."""
    wanted = {*layout.columns.values(), *layout.other_times}
    return [layout.names[index] for index in sorted(wanted)]


def batch_of_table(
    table: pa.Table, layout: Layout, roles: tuple[str, ...], lines: NDArray[np.int64]
) -> Batch:
    """The rows of a table with the needed columns; `lines` are their row numbers from 1.

    A null price is NaN. Raises InvalidCandles for a null time and for what is no time.
    """
    time_columns = (layout.columns["timestamp"], *layout.other_times)
    return Batch(
        {
            index: _times(_array(table, layout.names[index]), layout.names[index], lines)
            for index in time_columns
        },
        {role: _floats(_array(table, layout.names[layout.columns[role]])) for role in roles},
        _symbols(table, layout),
        lines,
    )


def _array(table: pa.Table, name: str) -> pa.Array:
    array = table[name].combine_chunks()
    if pa.types.is_dictionary(array.type):
        return array.cast(array.type.value_type)
    return array


def _floats(array: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_decimal(array.type):
        # By way of text: scaling by a power of ten gives another last bit than the CSV would.
        array = pc.cast(array, pa.string())
    numbers = pc.cast(array, pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def _symbols(table: pa.Table, layout: Layout) -> tuple[str, ...]:
    if "symbol" not in layout.columns:
        return ()
    return unique_texts(_array(table, layout.names[layout.columns["symbol"]]))


def _times(array: pa.Array, name: str, lines: NDArray[np.int64]) -> TimePiece:
    if array.null_count:
        line = int(lines[array.is_null().to_numpy(zero_copy_only=False).argmax()])
        text = f"Row {line}, column {name}: the time is empty. Remove or correct the row."
        raise InvalidCandles("bad_timestamp", text, line=line)
    kind = array.type
    if pa.types.is_timestamp(kind):
        return _timestamps(array, name, "aware" if kind.tz else "naive")
    if pa.types.is_date(kind):
        return _timestamps(array.cast(pa.timestamp("ms")), name, "naive")
    if pa.types.is_integer(kind):
        return TimePiece("number", array.cast(pa.int64()).to_numpy())
    if pa.types.is_floating(kind):
        return _whole_numbers(array.cast(pa.float64()).to_numpy(), name, lines)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = array.cast(pa.string())
        return piece_of_strings(texts) or _one_by_one(texts, name, lines)
    raise InvalidCandles(
        "unsupported_columns",
        f"Column {name} is of type {kind}, expected times. Map another column.",
    )


def _timestamps(array: pa.Array, name: str, kind: Kind) -> TimePiece:
    zone = array.type.tz
    try:
        times = array.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InvalidCandles(
            "timestamp_out_of_range",
            f"Column {name} holds times outside 1678 to 2262. Check how they were written.",
        ) from error
    return TimePiece(kind, times.to_numpy(), is_typed=True)


def _whole_numbers(values: NDArray[np.float64], name: str, lines: NDArray[np.int64]) -> TimePiece:
    wrong = ~(np.isfinite(values) & (np.abs(values) < 2.0**63) & (values == np.floor(values)))
    if wrong.any():
        first = int(wrong.argmax())
        line = int(lines[first])
        raise InvalidCandles(
            "bad_number",
            f"Row {line}, column {name}: found `{values[first]}`, expected a whole number.",
            line=line,
        )
    return TimePiece("number", values.astype(np.int64))


def _one_by_one(texts: pa.Array, name: str, lines: NDArray[np.int64]) -> TimePiece:
    expected: Kind | None = None
    values = []
    for text, line in zip(texts.to_pylist(), lines.tolist(), strict=True):
        where = f"Row {line}, column {name}"
        kind, value = parse_time(text, where, line)
        check_kind(kind, expected or kind, where, line)
        expected = kind
        values.append(value)
    return TimePiece(expected or "number", np.array(values, dtype=np.int64))
