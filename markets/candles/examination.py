"""What the rules say about rows, gathered for showing instead of ending at the first."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from markets.candles.errors import InvalidCandles
from markets.candles.raw import Notice, RawCandles
from markets.candles.validation import (
    Rows,
    broken_by_rule,
    check_range,
    order_of,
    rows_of,
    timeframe_of,
    violation,
    without_conflicts,
    without_unfinished,
)
from markets.specs import ImportSpec


@dataclass
class Examination:
    """The rows in file order with their base volume; what was found; what would be refused.

    `order` is empty without rows, `timeframe_minutes` None where it cannot be told.
    """

    rows: Rows
    order: str = ""
    timeframe_minutes: int | None = None
    notices: list[Notice] = field(default_factory=list)
    problems: list[InvalidCandles] = field(default_factory=list)


def examine_rows(raw: RawCandles, spec: ImportSpec, now_ns: int) -> Examination:
    """Apply every rule of `validate_candles` to rows and gather what each one says.

    A row is reported under the first rule that it breaks. The policy for such rows is not applied.
    Nothing is raised: without rows the result is empty.
    """
    rows, notices = rows_of(raw)
    found = Examination(rows, notices=[*raw.notices, *notices])
    if not len(rows):
        return found
    found.order = order_of(rows.time)
    ordered = rows.where(np.argsort(rows.time, kind="stable"))
    for check in (
        lambda: check_range(rows, now_ns, raw.place),
        lambda: timeframe_of(ordered.time, spec),
    ):
        try:
            found.timeframe_minutes = check()
        except InvalidCandles as problem:
            found.problems.append(problem)
    if found.timeframe_minutes is None or found.problems:
        return found
    closed, unfinished = without_unfinished(ordered, found.timeframe_minutes, now_ns)
    found.notices += unfinished
    found.problems += _violations(closed, found.timeframe_minutes, raw.place)
    return found


def _violations(rows: Rows, minutes: int, place: str) -> list[InvalidCandles]:
    problems = []
    wrong = np.zeros(len(rows), dtype=np.bool_)
    for code, mask in broken_by_rule(rows, minutes).items():
        lines = np.sort(rows.line[mask & ~wrong])
        if len(lines):
            problems.append(violation(code, lines, place))
        wrong |= mask
    _, conflicts = without_conflicts(rows.where(~wrong))
    if len(conflicts):
        problems.append(violation("conflicting_duplicate", np.sort(conflicts), place))
    return problems
