"""Rows as a reader found them: not yet checked, not yet sorted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Notice:
    """Something the sender should know that is no reason to refuse; `count` is how often."""

    code: str
    message: str
    count: int = 1

    def to_json(self) -> dict[str, str | int]:
        """Plain JSON data for the quality report."""
        return {"code": self.code, "message": self.message, "count": self.count}


@dataclass(frozen=True)
class SourceSettings:
    """How a file was read. `used` maps each role (timestamp, open, …) to the column's own name."""

    file_name: str
    file_bytes: int
    format: str
    layout: str
    delimiter: str
    encoding: str
    used: dict[str, str]
    ignored: tuple[str, ...]
    timestamp_unit: str
    timezone: str


@dataclass(frozen=True, eq=False)
class RawCandles:
    """N rows in file order. `time` is the open in ns since 1970 UTC; `line` the place of each row.

    Empty and non-finite cells are NaN or infinite. `place` is the word for `line` in messages:
    Line for text, Row (from 1) for tables. `quote_volume` is None where the file has none.
    """

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    quote_volume: NDArray[np.float64] | None
    line: NDArray[np.int64]
    settings: SourceSettings
    notices: tuple[Notice, ...] = ()
    place: str = "Line"

    def __len__(self) -> int:
        return len(self.time)
