"""Gathers what every reader finds, batch by batch, into one RawCandles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from markets.candles.errors import InvalidCandles, printable
from markets.candles.frame import VALUE_COLUMNS
from markets.candles.raw import Notice, RawCandles, SourceSettings
from markets.sources.layout import Layout
from markets.sources.times import TimeColumn, TimePiece
from markets.specs import ImportSpec

MAX_ROWS = 5_000_000


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a file: `times` by column position, `values` by role, and the place of each row."""

    times: dict[int, TimePiece]
    values: dict[str, NDArray[np.float64]]
    symbols: tuple[str, ...]
    lines: NDArray[np.int64]


class Gatherer:
    """Collects batches in file order, then joins them."""

    def __init__(self, layout: Layout, spec: ImportSpec, place: str) -> None:
        self.layout = layout
        self._spec = spec
        self._place = place
        chosen = (layout.columns["timestamp"], *layout.other_times)
        self._times = {index: TimeColumn(layout.names[index], place) for index in chosen}
        self._batches: list[Batch] = []
        self._symbols: set[str] = set()
        self._rows = 0

    @property
    def roles(self) -> tuple[str, ...]:
        """The numeric roles that this file has."""
        has_quote = "quote_volume" in self.layout.columns
        return (*VALUE_COLUMNS, "quote_volume") if has_quote else VALUE_COLUMNS

    def add(self, batch: Batch) -> None:
        """Append one batch. Raises InvalidCandles `too_large` above 5 million rows and
        `several_symbols` when a second symbol appears.
        """
        self._rows += len(batch.lines)
        check_rows(self._rows)
        self._symbols.update(symbol.strip() for symbol in batch.symbols)
        if len(self._symbols) > 1:
            pair = " and ".join(sorted(self._symbols)[:2])
            raise InvalidCandles(
                "several_symbols",
                f"The symbol column holds several symbols, among them {pair}. "
                "Import one file per symbol.",
            )
        for index, column in self._times.items():
            column.add(batch.times[index], batch.lines)
        self._batches.append(batch)

    def finish(self, settings: Mapping[str, str | int], notices: tuple[Notice, ...]) -> RawCandles:
        """All rows in file order. Raises InvalidCandles for what only the whole file shows."""
        lines = np.concatenate([np.empty(0, np.int64), *(batch.lines for batch in self._batches)])
        time, unit = self._time(lines)
        columns = {
            role: np.concatenate([np.empty(0), *(batch.values[role] for batch in self._batches)])
            for role in self.roles
        }
        source = SourceSettings(
            file_name=str(settings["file_name"]),
            file_bytes=int(settings["file_bytes"]),
            format=str(settings["format"]),
            layout=self.layout.name,
            delimiter=str(settings.get("delimiter", "")),
            encoding=str(settings.get("encoding", "")),
            used=self.layout.used,
            ignored=self.layout.ignored,
            timestamp_unit=unit,
            timezone=self._spec.timezone,
        )
        return RawCandles(
            time=time,
            open=columns["open"],
            high=columns["high"],
            low=columns["low"],
            close=columns["close"],
            volume=columns["volume"],
            quote_volume=columns.get("quote_volume"),
            line=lines,
            settings=source,
            notices=(*notices, *self.layout.notices, *self._symbol_notice()),
            place=self._place,
        )

    def _time(self, lines: NDArray[np.int64]) -> tuple[NDArray[np.int64], str]:
        chosen = self.layout.columns["timestamp"]
        time, unit = self._times[chosen].finish(self._spec.timestamp_unit, self._spec.timezone)
        for index in self.layout.other_times:
            other, _ = self._times[index].finish("auto", self._spec.timezone)
            differs = np.flatnonzero(time != other)
            if len(differs):
                line = int(lines[differs[0]])
                names = self.layout.names
                raise InvalidCandles(
                    "time_columns_disagree",
                    f"{self._place} {line}: columns {names[chosen]} and {names[index]} give "
                    "different times. Remove one of them, or name the right one in the column map.",
                    line=line,
                    count=len(differs),
                )
        return time, unit

    def _symbol_notice(self) -> tuple[Notice, ...]:
        for symbol in self._symbols:
            if _plain_symbol(symbol) != _plain_symbol(self._spec.symbol):
                text = f"The file says {printable(symbol[:40])}, the form says {self._spec.symbol}."
                return (Notice("symbol_differs", text),)
        return ()


def check_rows(rows: int) -> None:
    """Raises InvalidCandles `too_large` when a file has more rows than can be imported."""
    if rows > MAX_ROWS:
        raise InvalidCandles(
            "too_large", f"The file has more than {MAX_ROWS:,} rows. Split it by time."
        )


def unique_texts(column: pa.Array) -> tuple[str, ...]:
    """The different non-empty texts of a column, at most three."""
    found = [value for value in pc.unique(column).to_pylist() if value]
    return tuple(str(value) for value in found[:3])


def _plain_symbol(symbol: str) -> str:
    return "".join(c for c in symbol.upper() if c not in "/_-:")
