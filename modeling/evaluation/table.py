"""The prediction table: one row per bar with a complete window in a test block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Column = NDArray[np.generic]
Table = dict[str, Column]

TIMES = ("open_at", "known_at")
WHOLE = ("fold", "seed", "realised_regime", "realised_risk")
PREDICTED = (
    "action",
    *(f"regime_{k}" for k in range(4)),
    "confidence",
    "confidence_raw",
    "volatility",
    *(f"risk_{k}" for k in range(3)),
)
REALISED = ("realised_return", "realised_regime", "realised_volatility", "realised_risk")
COLUMNS = (*TIMES, "fold", "seed", *PREDICTED, *REALISED)
NO_CLASS = -1
INSTRUMENT = "instrument"
"""The column [n] of names in a table of several instruments; that of one instrument has none."""
_POOLED = b"outsample.pooled"


def write_predictions(path: Path, table: Mapping[str, Column], instrument: str) -> None:
    """Write a table (times int64 ns UTC, NaN or −1 where unknown) as zstd Parquet.

    In the file times are timestamp[us, UTC], and what is not known is null. `instrument` is the name
    for a table that does not hold any. The file remembers whether the table is one of several
    instruments, since rows of all but one may be missing.
    """
    names = table.get(INSTRUMENT, np.full(len(table["open_at"]), instrument, dtype=object))
    arrays: dict[str, pa.Array] = {INSTRUMENT: pa.array(names, pa.string()).dictionary_encode()}
    for name in COLUMNS:
        values = table[name]
        if name in TIMES:
            arrays[name] = pa.array(values.astype(np.int64) // 1000).cast(
                pa.timestamp("us", tz="UTC")
            )
        elif name in WHOLE:
            whole = values.astype(np.int32)
            arrays[name] = pa.array(whole, mask=whole == NO_CLASS)
        else:
            number = values.astype(np.float64)
            arrays[name] = pa.array(number, mask=np.isnan(number))
    metadata = {_POOLED: b"1"} if INSTRUMENT in table else None
    pq.write_table(pa.table(arrays, metadata=metadata), path, compression="zstd")


def read_predictions(path: Path) -> Table:
    """Read what `write_predictions` wrote: times in ns, NaN or −1 where unknown."""
    stored = pq.read_table(path)
    table: Table = {}
    names = stored[INSTRUMENT].combine_chunks()
    if _POOLED in (stored.schema.metadata or {}) or len(names.dictionary) > 1:
        table[INSTRUMENT] = names.cast(pa.string()).to_numpy(zero_copy_only=False)
    for name in COLUMNS:
        column = stored[name].combine_chunks()
        if name in TIMES:
            table[name] = column.cast(pa.int64()).to_numpy() * 1000
        elif name in WHOLE:
            table[name] = column.fill_null(NO_CLASS).to_numpy().astype(np.int64)
        else:
            table[name] = column.fill_null(float("nan")).to_numpy()
    return table


def predictions_sha256(table: Mapping[str, Column]) -> str:
    """SHA-256 of the predictions themselves, not of a file.

    Hashed are the bytes `outsample-predictions-1` and a newline, then column after column in the
    order of COLUMNS: times as little-endian int64 µs, all others as little-endian float64 with −0.0
    as 0.0. Of several instruments `outsample-predictions-2` and a newline are hashed, then for each
    of them in the order of rows its name, a newline and that digest in hex with another newline.
    """
    if INSTRUMENT in table:
        pooled = hashlib.sha256(b"outsample-predictions-2\n")
        for name in instruments_in(table):
            own = predictions_sha256(of_instrument(table, name))
            pooled.update(f"{name}\n{own}\n".encode())
        return pooled.hexdigest()
    digest = hashlib.sha256(b"outsample-predictions-1\n")
    for name in COLUMNS:
        if name in TIMES:
            digest.update((table[name].astype(np.int64) // 1000).astype("<i8").tobytes())
        else:
            digest.update((table[name].astype(np.float64) + 0.0).astype("<f8").tobytes())
    return digest.hexdigest()


def joined(tables: Sequence[Table]) -> Table:
    """Tables of test blocks in time order, one after the other; of several instruments, all rows of one
    after those of the other.
    """
    table = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    if INSTRUMENT not in table:
        return table
    order = np.argsort(table[INSTRUMENT].astype(str), kind="stable")
    return {name: values[order] for name, values in table.items()}


def write_fold(path: Path, tables: dict[str, Table]) -> None:
    """All tables of a fold in one Parquet file, columns named `rung.column`."""
    arrays: dict[str, Column] = {
        f"{rung}.{name}": values for rung, table in tables.items() for name, values in table.items()
    }
    pq.write_table(pa.table(arrays), path, compression="zstd")


def read_fold(path: Path) -> dict[str, Table]:
    """Read what `write_fold` wrote: tables by rung."""
    stored = pq.read_table(path)
    tables: dict[str, Table] = {}
    for column in stored.column_names:
        rung, name = column.split(".", 1)
        tables.setdefault(rung, {})[name] = stored[column].to_numpy()
    return tables


def instruments_in(table: Mapping[str, Column]) -> tuple[str, ...]:
    """Names of the instruments in the order of their rows; none in a table of one."""
    return tuple(dict.fromkeys(table[INSTRUMENT].tolist())) if INSTRUMENT in table else ()


def of_instrument(table: Mapping[str, Column], name: str) -> Table:
    """The rows of one instrument, without its name; a table of one instrument is taken as it is."""
    if INSTRUMENT not in table:
        return dict(table)
    own = table[INSTRUMENT] == name
    return {column: values[own] for column, values in table.items() if column != INSTRUMENT}
