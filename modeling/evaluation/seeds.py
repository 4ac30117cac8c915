"""Paths of a mean prediction over seeds: from the splits of all seeds, at the bars of a run's own paths."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.effective import effective_samples
from modeling.evaluation.paths import Path
from modeling.evaluation.table import (
    INSTRUMENT,
    NO_CLASS,
    REALISED,
    WHOLE,
    Column,
    Table,
    instruments_in,
    joined,
    of_instrument,
)

Ints = NDArray[np.int64]


def piece_of_path(
    part: Mapping[str, Table], bars: Mapping[str, Column], *, fold: int
) -> dict[str, Table]:
    """The rows that a path takes from the tables of a fold, which are by rung and equal in their bars.

    `bars` are a path's own columns `open_at` (ns UTC), `fold` and, of several instruments,
    `instrument`. Raises ValueError where the fold lacks one of its bars.
    """
    rows = _rows_at(next(iter(part.values())), bars, fold)
    return {
        rung: {name: values[rows] for name, values in table.items()} for rung, table in part.items()
    }


def path_of_pieces(
    number: int,
    pieces: Mapping[int, Mapping[str, Table]],
    *,
    horizon_bars: int,
    bar_ns: int,
) -> Path:
    """The path that the pieces by fold make, in order of time; as `join_paths` joins those of one run.

    Blocks of walk-forward folds are worth what each is worth by itself; a path of combinatorial
    cross-validation, whose blocks adjoin, what all its labelled bars are.
    """
    tables = {
        rung: _in_order(joined([piece[rung] for piece in pieces.values()]))
        for rung in next(iter(pieces.values()))
    }
    whole = next(iter(tables.values()))
    blocks = [whole] if number else [next(iter(piece.values())) for piece in pieces.values()]
    worth = [_worth(block, horizon_bars, bar_ns) for block in blocks]
    names = instruments_in(whole)
    return Path(
        number=number,
        tables=tables,
        splits=tuple(sorted(pieces)),
        effective=sum(max(each.values()) for each in worth),
        effective_of={name: sum(each.get(name, 0.0) for each in worth) for name in names},
    )


def _rows_at(table: Table, bars: Mapping[str, Column], fold: int) -> Ints:
    found = []
    for name in instruments_in(bars) or ("",):
        wanted = of_instrument(bars, name)
        opens = wanted["open_at"][wanted["fold"] == fold]
        own = (
            np.flatnonzero(table[INSTRUMENT] == name) if name else np.arange(len(table["open_at"]))
        )
        there = table["open_at"][own]
        place = np.searchsorted(there, opens)
        if place.size and (place[-1] >= len(there) or not np.array_equal(there[place], opens)):
            raise ValueError(
                f"fold {fold} does not predict every bar that its path takes from it; "
                "expected seeds of one spec on the same candles"
            )
        found.append(own[place])
    return np.concatenate(found)


def _in_order(table: Table) -> Table:
    """Rows by instrument and then by time, whatever the order of the pieces was."""
    keys: tuple[Column, ...] = (table["open_at"],)
    if INSTRUMENT in table:
        keys = (*keys, np.unique(table[INSTRUMENT].astype(str), return_inverse=True)[1])
    order = np.lexsort(keys)
    return {name: values[order] for name, values in table.items()}


def _worth(table: Table, horizon_bars: int, bar_ns: int) -> dict[str, float]:
    """Effective samples by instrument among the rows of which everything has come true."""
    worth = {}
    for name in instruments_in(table) or ("",):
        own = of_instrument(table, name)
        bars = np.sort(own["open_at"][_has_come_true(own)]).astype(np.int64) // bar_ns
        worth[name] = effective_samples(bars + 1, bars + horizon_bars)
    return worth


def _has_come_true(table: Table) -> NDArray[np.bool_]:
    known = np.ones(len(table["open_at"]), dtype=np.bool_)
    for name in REALISED:
        values = np.asarray(table[name], dtype=np.float64)
        known &= values != NO_CLASS if name in WHOLE else np.isfinite(values)
    return known
