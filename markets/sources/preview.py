"""The head of a file as it would be understood, before anything is imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from markets.candles.errors import InvalidCandles, printable
from markets.candles.examination import Examination, examine_rows
from markets.candles.raw import Notice, RawCandles, SourceSettings
from markets.candles.report import utc_text
from markets.candles.validation import RULES
from markets.sources.feather import names_of_feather
from markets.sources.formats import SourceFormat, display_name
from markets.sources.json_arrays import sample_of_json
from markets.sources.layout import guessed_columns
from markets.sources.parquet import names_of_parquet
from markets.sources.reading import read_source, sniff_file
from markets.sources.text import sample_of_text
from markets.specs import ImportSpec, timeframe_name

HEAD_LINES = 1000
SAMPLE_ROWS = 5
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class PreviewRow:
    """One row as understood: `time` in UTC as ISO 8601; None for a value that is no number."""

    line: int
    time: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None


@dataclass(frozen=True)
class Problem:
    """Something in the head that the import will refuse, or drop where the policy says so."""

    code: str
    message: str
    line: int | None
    count: int | None
    is_refusal: bool


@dataclass(frozen=True)
class Preview:
    """What the first lines of a file say. Empty texts stand for what could not be told.

    `settings` is None where no row could be read; `sample` holds up to five raw rows of text or
    JSON, `guess` a column map to start from. `is_whole` says that the head was the whole file.
    """

    file_name: str
    file_bytes: int
    format: str
    settings: SourceSettings | None
    place: str
    order: str
    timeframe: str
    is_whole: bool
    rows_read: int
    rows: tuple[PreviewRow, ...]
    notices: tuple[Notice, ...]
    problems: tuple[Problem, ...]
    header: tuple[str, ...]
    sample: tuple[tuple[str, ...], ...]
    guess: dict[str, str]

    @property
    def is_refused(self) -> bool:
        """Whether the head alone is reason enough to refuse the file."""
        return any(problem.is_refusal for problem in self.problems)

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data, with `is_refused`."""
        return {**asdict(self), "is_refused": self.is_refused}


def preview_source(
    path: Path, sent_name: str, spec: ImportSpec, *, now_ns: int, rows: int = 20
) -> Preview:
    """Read at most 1000 lines and tell what was detected, the first rows, and what is wrong there.

    Where a line cannot be read, the rows before it are shown. Later lines may still be refused by
    the import. Raises nothing for a bad file: every reason is among the problems.
    """
    try:
        found = sniff_file(path, sent_name)
    except InvalidCandles as problem:
        return _preview(path, sent_name, spec, "", None, [problem], rows=rows, now_ns=now_ns)
    raw, problems = _read_head(path, sent_name, spec)
    return _preview(path, sent_name, spec, found, raw, problems, rows=rows, now_ns=now_ns)


def _read_head(
    path: Path, sent_name: str, spec: ImportSpec
) -> tuple[RawCandles | None, list[InvalidCandles]]:
    try:
        return read_source(path, sent_name, spec, last_line=HEAD_LINES), []
    except InvalidCandles as problem:
        if problem.line is None:
            return None, [problem]
        try:
            raw = read_source(path, sent_name, spec, last_line=problem.line - 1)
        except InvalidCandles:
            return None, [problem]
        return raw, [problem]


def _preview(
    path: Path,
    sent_name: str,
    spec: ImportSpec,
    found: SourceFormat | str,
    raw: RawCandles | None,
    problems: Sequence[InvalidCandles],
    *,
    rows: int,
    now_ns: int,
) -> Preview:
    header, sample = _sample(path, found)
    examined = examine_rows(raw, spec, now_ns) if raw is not None else None
    minutes = examined.timeframe_minutes if examined else None
    return Preview(
        file_name=display_name(sent_name),
        file_bytes=path.stat().st_size,
        format=str(found),
        settings=raw.settings if raw is not None else None,
        place=raw.place if raw is not None else "",
        order=examined.order if examined else "",
        timeframe=timeframe_name(minutes) if minutes else "",
        is_whole=raw is not None and not problems and not len(raw.line[raw.line >= HEAD_LINES]),
        rows_read=len(raw) if raw is not None else 0,
        rows=_rows(examined, rows),
        notices=tuple(examined.notices) if examined else (),
        problems=tuple(
            _problem(item, spec) for item in [*problems, *_found(examined, bool(problems))]
        ),
        header=header,
        sample=sample,
        guess=guessed_columns(header, max(map(len, sample), default=0), spec.symbol),
    )


def _found(examined: Examination | None, was_cut: bool) -> list[InvalidCandles]:
    if examined is None:
        return []
    if not len(examined.rows) and not was_cut:
        return [InvalidCandles("no_rows", "The file has no rows of candles. Choose another file.")]
    # A head that ends at a bad line is too short for the reason that is already named.
    return [item for item in examined.problems if not (was_cut and item.code == "too_few_rows")]


def _problem(problem: InvalidCandles, spec: ImportSpec) -> Problem:
    will_drop = problem.code in RULES and spec.on_violation == "drop"
    return Problem(problem.code, problem.message, problem.line, problem.count, not will_drop)


def _rows(examined: Examination | None, count: int) -> tuple[PreviewRow, ...]:
    if examined is None:
        return ()
    shown = examined.rows.where(np.arange(min(count, len(examined.rows))))
    return tuple(
        PreviewRow(
            line,
            utc_text(time),
            *(value if math.isfinite(value) else None for value in values),
        )
        for line, time, values in zip(
            shown.line.tolist(), shown.time.tolist(), shown.values.T.tolist(), strict=True
        )
    )


def _sample(
    path: Path, found: SourceFormat | str
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    header: list[str] = []
    cells: list[list[str]] = []
    try:
        if found is SourceFormat.PARQUET:
            header = names_of_parquet(path)
        elif found is SourceFormat.FEATHER:
            header = names_of_feather(path)
        elif found is SourceFormat.JSON:
            cells = sample_of_json(path, rows=SAMPLE_ROWS)
        elif found:
            packed = found is SourceFormat.GZIP_TEXT
            header, cells = sample_of_text(path, packed=packed, rows=SAMPLE_ROWS)
    except InvalidCandles:
        return (), ()
    # What is stored is printable: a database takes neither NUL nor half of a surrogate pair.
    shown = ([printable(cell[:SHOWN_CHARACTERS]) for cell in row] for row in cells)
    return tuple(map(printable, header)), tuple(map(tuple, shown))
