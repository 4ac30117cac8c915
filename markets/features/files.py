"""Computed features as a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from markets.features.table import ScaleFeatures

ROWS_AT_ONCE = 100_000


def write_features(
    target: Path | IO[bytes], names: Sequence[str], scale: ScaleFeatures, places: Sequence[int] = ()
) -> None:
    """One row for each bar: `timestamp` (its open, UTC) and a float32 column for each name.

    `places` are the rows of `scale.values` to write, all in their order by default; NaN in the
    warm-up stays NaN. Raises OSError when the target cannot be written.
    """
    places = places or range(len(names))
    schema = pa.schema(
        [("timestamp", pa.timestamp("ns", tz="UTC")), *((name, pa.float32()) for name in names)]
    )
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for start in range(0, len(scale.open_time), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            columns = [
                pa.array(np.asarray(scale.open_time[part]), pa.timestamp("ns", tz="UTC")),
                *(pa.array(np.asarray(scale.values[place, part])) for place in places),
            ]
            writer.write_table(pa.table(columns, schema=schema))
