"""Times in files: epoch numbers of any unit, and text with or without a zone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from markets.candles.errors import InvalidCandles
from markets.candles.frame import NS_PER_MINUTE

Kind = Literal["number", "naive", "aware"]
UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}
# Magnitudes of present-day epochs: seconds in [1e9, 1e10), and a thousand times that per finer unit.
UNIT_FROM = {"s": 10**9, "ms": 10**12, "us": 10**15, "ns": 10**18}
UNIT_WIDTH = 10
NS_LIMIT = 2**63 - 1
EPOCH = datetime(1970, 1, 1)
ZONE_STEP_NS = 15 * NS_PER_MINUTE
SHOWN_CHARACTERS = 40

_WHOLE = re.compile(r"([0-9]{1,19})(?:\.0*)?")
_EXPONENT = re.compile(r"[0-9.]+[eE][+-]?[0-9]+")
_SLASHED = re.compile(r"[0-9]{1,4}[/.][0-9]{1,2}[/.][0-9]{1,4}.*")
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"\s?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_TWELVE_HOURS = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{1,2})-(AM|PM)")


@dataclass(frozen=True)
class TimePiece:
    """Consecutive times of one kind: raw numbers, or ns since 1970 in local (naive) or UTC time.

    `is_typed` is true where the file itself declares the values to be times of a known unit.
    """

    kind: Kind
    values: NDArray[np.int64]
    is_typed: bool = False


@dataclass
class TimeColumn:
    """One time column, gathered piece by piece and turned into ns UTC at the end."""

    name: str
    place: str = "Line"
    _kind: Kind | None = None
    _is_typed: bool = False
    _values: list[NDArray[np.int64]] = field(default_factory=list)
    _lines: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, piece: TimePiece, lines: NDArray[np.int64]) -> None:
        """Append one piece with the line of each value. Raises InvalidCandles `mixed_timezones` or
        `bad_timestamp` when its kind differs from what came before.
        """
        if not len(piece.values):
            return
        if self._kind is None:
            self._kind = piece.kind
        where = f"{self.place} {lines[0]}, column {self.name}"
        check_kind(piece.kind, self._kind, where, int(lines[0]))
        self._is_typed = piece.is_typed
        self._values.append(piece.values)
        self._lines.append(lines)

    def finish(self, unit: str, timezone_name: str) -> tuple[NDArray[np.int64], str]:
        """All times in ns UTC and the unit found. `unit` is a claim of the sender, or auto.

        Raises InvalidCandles `mixed_timestamp_units`, `timestamp_out_of_range`,
        `ambiguous_local_time`, or `bad_timestamp` when the claim contradicts the column.
        """
        if self._kind is None:
            return np.empty(0, dtype=np.int64), unit
        values = np.concatenate(self._values)
        lines = np.concatenate(self._lines)
        is_number = self._kind == "number"
        if not self._is_typed and unit != "auto" and is_number == (unit == "text"):
            raise InvalidCandles(
                "bad_timestamp",
                f"Column {self.name} holds {'numbers' if is_number else 'texts'}, but the timestamp "
                f"unit is given as {unit}. Leave the unit on auto.",
            )
        if is_number:
            return self._from_numbers(values, lines, unit)
        found = "timestamp" if self._is_typed else "text"
        if self._kind == "aware" or timezone_name == "UTC":
            return values, found
        return self._from_local(values, lines, ZoneInfo(timezone_name)), found

    def _from_numbers(
        self, values: NDArray[np.int64], lines: NDArray[np.int64], unit: str
    ) -> tuple[NDArray[np.int64], str]:
        if unit == "auto":
            unit = self._unit_of(values, lines)
        too_big = np.abs(values.astype(np.float64)) * UNIT_NS[unit] >= NS_LIMIT
        if too_big.any():
            self._raise_out_of_range(values, lines, too_big, f"in unit {unit}")
        return values * UNIT_NS[unit], unit

    def _unit_of(self, values: NDArray[np.int64], lines: NDArray[np.int64]) -> str:
        unit_of_row = np.full(len(values), -1)
        for index, start in enumerate(UNIT_FROM.values()):
            stop = min(start * UNIT_WIDTH, NS_LIMIT)
            unit_of_row[(values >= start) & (values < stop)] = index
        unknown = unit_of_row < 0
        if unknown.any():
            self._raise_out_of_range(values, lines, unknown, "as an epoch of any unit")
        units = list(UNIT_FROM)
        differs = np.flatnonzero(unit_of_row != unit_of_row[0])
        if len(differs):
            first = int(differs[0])
            line = int(lines[first])
            raise InvalidCandles(
                "mixed_timestamp_units",
                f"{self.place} {line}, column {self.name}: {values[first]} is in "
                f"{units[int(unit_of_row[first])]}, the rows before in "
                f"{units[int(unit_of_row[0])]}. Import the parts as separate files.",
                line=line,
                count=len(differs),
            )
        return units[int(unit_of_row[0])]

    def _raise_out_of_range(
        self,
        values: NDArray[np.int64],
        lines: NDArray[np.int64],
        wrong: NDArray[np.bool_],
        how: str,
    ) -> None:
        first = int(np.flatnonzero(wrong)[0])
        line = int(lines[first])
        raise InvalidCandles(
            "timestamp_out_of_range",
            f"{self.place} {line}, column {self.name}: {values[first]} {how} is no time between "
            "2009-01-03 and now. Check the column and the timestamp unit.",
            line=line,
            count=int(wrong.sum()),
        )

    def _from_local(
        self, values: NDArray[np.int64], lines: NDArray[np.int64], zone: ZoneInfo
    ) -> NDArray[np.int64]:
        """UTC of local times, one zone look-up per quarter of an hour."""
        blocks, block_of_row = np.unique(values // ZONE_STEP_NS, return_inverse=True)
        offsets = np.empty(len(blocks), dtype=np.int64)
        unclear = np.zeros(len(blocks), dtype=np.bool_)
        for index, block in enumerate(blocks.tolist()):
            local = EPOCH + timedelta(seconds=block * (ZONE_STEP_NS // 1_000_000_000))
            early = zone.utcoffset(local.replace(fold=0))
            late = zone.utcoffset(local.replace(fold=1))
            unclear[index] = early != late
            offsets[index] = int(early.total_seconds()) * 1_000_000_000 if early else 0
        wrong = np.flatnonzero(unclear[block_of_row])
        if len(wrong):
            line = int(lines[wrong[0]])
            raise InvalidCandles(
                "ambiguous_local_time",
                f"{self.place} {line}, column {self.name}: this time is skipped or doubled by a "
                f"clock change in {zone.key}. Export the times in UTC.",
                line=line,
                count=len(wrong),
            )
        return values - offsets[block_of_row]


def check_kind(found: Kind, expected: Kind, where: str, line: int) -> None:
    """Raises InvalidCandles when a time is of another kind than those before it: `mixed_timezones`
    for times with and without a zone, `bad_timestamp` for numbers among texts.
    """
    if found == expected:
        return
    if "number" in (found, expected):
        text = f"{where}: numbers and texts in one time column. Write all times in one way."
        raise InvalidCandles("bad_timestamp", text, line=line)
    text = f"{where}: times with and without a zone in one column. Write all in one way."
    raise InvalidCandles("mixed_timezones", text, line=line)


def piece_of_strings(strings: pa.Array) -> TimePiece | None:
    """The times of a whole array at once, or None where one by one is needed to tell or to fail."""
    # The cast alone would also take 0x18CC251F400 and negative numbers.
    if pc.all(pc.ascii_is_decimal(strings)).as_py():
        try:
            return TimePiece("number", pc.cast(strings, pa.int64()).to_numpy())
        except pa.ArrowInvalid:
            return None
    if pc.any(pc.less_equal(pc.binary_length(strings), 13)).as_py() and not _all_dates(strings):
        return None
    for kind, zone in (("naive", None), ("aware", "UTC")):
        try:
            times = pc.cast(strings, pa.timestamp("us", tz=zone)).cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            continue
        if len(times) and np.abs(times).max() > NS_LIMIT // 1000:
            return None
        return TimePiece("naive" if kind == "naive" else "aware", times * 1000)
    return None


def parse_time(text: str, where: str, line: int) -> tuple[Kind, int]:
    """One time as raw number or ns since 1970. `where` begins the message, as in "Line 3, column t".

    Raises InvalidCandles: `bad_number` for a number that has lost digits, `ambiguous_date` for
    01/02/2024 and its like, `timestamp_out_of_range` for a year that no candle has,
    `bad_timestamp` for anything else that is no time.
    """
    text = text.strip(" \t")
    whole = _WHOLE.fullmatch(text)
    if whole and int(whole[1]) <= NS_LIMIT:
        return "number", int(whole[1])
    shown = text[:SHOWN_CHARACTERS]
    if _EXPONENT.fullmatch(text) or re.fullmatch(r"[0-9]+\.[0-9]+", text):
        raise InvalidCandles(
            "bad_number",
            f"{where}: found `{shown}`, expected a whole number. Its digits are lost or a fraction "
            "of the unit; export the times in full.",
            line=line,
        )
    if _SLASHED.fullmatch(text):
        raise InvalidCandles(
            "ambiguous_date",
            f"{where}: found `{shown}`, where day and month cannot be told apart. "
            "Write times as 2024-01-31 00:00:00.",
            line=line,
        )
    try:
        found = _iso_time(text) or _twelve_hour_time(text)
    except ValueError:
        found = None
    if found is not None and abs(found[1]) > NS_LIMIT:
        raise InvalidCandles(
            "timestamp_out_of_range",
            f"{where}: `{shown}` is no time between 2009-01-03 and now. Check the time column.",
            line=line,
        )
    if found is None:
        raise InvalidCandles(
            "bad_timestamp",
            f"{where}: found `{shown}`, expected an epoch number or a time such as "
            "2024-01-31 00:00:00. Correct the row, or map another column.",
            line=line,
        )
    return found


def _all_dates(strings: pa.Array) -> bool:
    return bool(pc.all(pc.equal(pc.binary_length(strings), 10)).as_py())


def _iso_time(text: str) -> tuple[Kind, int] | None:
    found = _ISO.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    fraction_ns = int((found[7] or "0").ljust(9, "0"))
    moment = datetime(year, month, day, hour, minute, second)
    zone = _zone(found[8])
    if zone is None:
        return "naive", _ns(moment.replace(tzinfo=UTC)) + fraction_ns
    return "aware", _ns(moment.replace(tzinfo=zone)) + fraction_ns


def _twelve_hour_time(text: str) -> tuple[Kind, int] | None:
    found = _TWELVE_HOURS.fullmatch(text)
    if not found or not 1 <= int(found[4]) <= 12:
        return None
    hour = int(found[4]) % 12 + (12 if found[5] == "PM" else 0)
    moment = datetime(int(found[1]), int(found[2]), int(found[3]), hour, tzinfo=UTC)
    return "naive", _ns(moment)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _ns(moment: datetime) -> int:
    # Whole seconds only: a float of today's epoch in ns would lose digits.
    return int((moment - EPOCH.replace(tzinfo=UTC)).total_seconds()) * 1_000_000_000
