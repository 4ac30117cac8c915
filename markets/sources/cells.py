"""Cells one by one: each number and time in plain notation, or named with its place.

The careful half of every reader of text. It is slow, so it runs only where the typed columnar half
met something unusual.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from markets.candles.errors import InvalidCandles
from markets.sources.layout import Layout
from markets.sources.table import Batch
from markets.sources.times import Kind, TimePiece, check_kind, parse_time

MAX_FIELD_BYTES = 256
SHOWN_CHARACTERS = 40
SHOWN_SYMBOLS = 3

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+(?:\.[0-9]{3})*,[0-9]+")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:[,_ '][0-9]{3})+(?:\.[0-9]+)?")
_SUFFIXED = re.compile(r"[^0-9+.-][+-]?[0-9.]+\s?[^0-9.]{0,3}|[+-]?[0-9.]+\s?[^0-9.]{1,3}")


def is_number(text: str) -> bool:
    """Whether a text is a number in ASCII plain notation."""
    return bool(_NUMBER.fullmatch(text))


def parse_number(text: str, where: str, line: int) -> float:
    """One number, correctly rounded; NaN for an empty cell and for the word NaN, or an infinity.

    Raises InvalidCandles `bad_number` for everything else that is not ASCII plain notation.
    """
    text = text.strip(" \t")
    if _NUMBER.fullmatch(text):
        return float(text)
    if not text or _NOT_FINITE.fullmatch(text):
        return float(text or "nan")
    raise InvalidCandles(
        "bad_number",
        f"{where}: found `{text[:SHOWN_CHARACTERS]}`, expected a number. {_hint(text)}",
        line=line,
    )


def floats_of_texts(texts: pa.Array) -> NDArray[np.float64] | None:
    """All numbers at once, correctly rounded; None unless every text is in plain notation."""
    if not pc.all(pc.match_substring_regex(texts, f"^(?:{_NUMBER.pattern})$")).as_py():
        return None
    try:
        return np.asarray(pc.cast(texts, pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid:
        return None


def check_field_lengths(fields: Sequence[str], place: str, line: int) -> None:
    """Raises InvalidCandles `field_too_long` for a field of more than 256 bytes."""
    for index, text in enumerate(fields, 1):
        if len(text) > MAX_FIELD_BYTES or len(text.encode()) > MAX_FIELD_BYTES:
            raise InvalidCandles(
                "field_too_long",
                f"{place} {line}, field {index}: the field is longer than {MAX_FIELD_BYTES} bytes.",
                line=line,
            )


def batch_of_cells(
    rows: Iterable[tuple[int, Sequence[str]]], layout: Layout, roles: tuple[str, ...], place: str
) -> Batch:
    """Rows given as (line, cells). Raises InvalidCandles at the first cell that is wrong."""
    time_columns = (layout.columns["timestamp"], *layout.other_times)
    times: dict[int, list[int]] = {index: [] for index in time_columns}
    kinds: dict[int, Kind] = dict.fromkeys(time_columns, "number")
    values: dict[str, list[float]] = {role: [] for role in roles}
    symbols: dict[str, None] = {}
    lines: list[int] = []
    for line, cells in rows:
        for index in time_columns:
            where = f"{place} {line}, column {layout.names[index].strip()}"
            kind, time = parse_time(cells[index], where, line)
            check_kind(kind, kinds[index] if lines else kind, where, line)
            kinds[index] = kind
            times[index].append(time)
        for role in roles:
            where = f"{place} {line}, column {layout.names[layout.columns[role]].strip()}"
            values[role].append(parse_number(cells[layout.columns[role]], where, line))
        if "symbol" in layout.columns and cells[layout.columns["symbol"]].strip():
            symbols[cells[layout.columns["symbol"]]] = None
        lines.append(line)
    return Batch(
        {
            index: TimePiece(kinds[index], np.array(found, dtype=np.int64))
            for index, found in times.items()
        },
        {role: np.array(found, dtype=np.float64) for role, found in values.items()},
        tuple(symbols)[:SHOWN_SYMBOLS],
        np.array(lines, dtype=np.int64),
    )


def _hint(text: str) -> str:
    if _DECIMAL_COMMA.fullmatch(text):
        return "This looks like a decimal comma; write a decimal point."
    if _GROUPED.fullmatch(text):
        return "Remove the signs between thousands."
    if text.isascii() and _SUFFIXED.fullmatch(text):
        part = "suffix" if text[0] in "+-.0123456789" else "sign"
        return f"Remove the {part}, or map another column."
    return "Correct the cell, or map another column."
