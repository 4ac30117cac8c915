"""Candles as six arrays, their checksum, and their sealed Parquet form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

NS_PER_MINUTE = 60_000_000_000
VALUE_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, eq=False)
class Candles:
    """N candles of one timeframe: `time` is the open in ns since 1970 UTC, rising strictly.

    Prices are in quote units, volume in base units. Missing bars are simply absent.
    """

    timeframe_minutes: int
    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time)

    @property
    def bar_ns(self) -> int:
        """Length of one bar in nanoseconds."""
        return self.timeframe_minutes * NS_PER_MINUTE

    @property
    def close_time(self) -> NDArray[np.int64]:
        """Instant in ns at which each bar is closed and may be known, [N]."""
        return self.time + self.bar_ns

    @property
    def gap_before(self) -> NDArray[np.bool_]:
        """True at a bar that does not follow its predecessor by exactly one bar; False at bar 0."""
        gap = np.zeros(len(self), dtype=np.bool_)
        gap[1:] = np.diff(self.time) != self.bar_ns
        return gap

    def slice(self, start: int, stop: int) -> Candles:
        """The candles of bar indices start to stop − 1, as views."""
        return Candles(
            self.timeframe_minutes,
            self.time[start:stop],
            *(getattr(self, name)[start:stop] for name in VALUE_COLUMNS),
        )


def candles_sha256(candles: Candles) -> str:
    """SHA-256 of the candles themselves, equal whatever file they came from.

    Hashed are the bytes `outsample-candles-1` and a newline, the open times in little-endian int64
    microseconds, then the five columns in little-endian float64 with −0.0 as 0.0.
    """
    digest = hashlib.sha256(b"outsample-candles-1\n")
    digest.update((candles.time // 1000).astype("<i8").data)
    for name in VALUE_COLUMNS:
        # Adding zero turns −0.0 into 0.0 and leaves every other value alone.
        digest.update((getattr(candles, name) + 0.0).astype("<f8").data)
    return digest.hexdigest()


def write_candles(path: Path, candles: Candles) -> None:
    """Write the sealed form: `timestamp[us, UTC]`, five float64 columns, zstd."""
    times = pa.array(candles.time // 1000).cast(pa.timestamp("us", tz="UTC"))
    table = pa.table(
        {"timestamp": times, **{name: getattr(candles, name) + 0.0 for name in VALUE_COLUMNS}}
    )
    pq.write_table(table, path, compression="zstd")


def read_candles(path: Path, timeframe_minutes: int) -> Candles:
    """Read what `write_candles` wrote. Checks neither the checksum nor the candles."""
    table = pq.read_table(path, columns=["timestamp", *VALUE_COLUMNS])
    times = table["timestamp"].cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy()
    return Candles(timeframe_minutes, times, *(table[name].to_numpy() for name in VALUE_COLUMNS))
