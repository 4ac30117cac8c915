"""Paths: predictions that cover the tested time once, joined from the splits that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.table import Table, joined
from modeling.windows.cpcv import PATHS, path_splits
from modeling.windows.samples import Samples
from modeling.windows.splits import Fold

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]  # Any: JSON of scores, by head and metric


@dataclass(frozen=True)
class Path:
    """Predictions of every tested bar, once, in order of time.

    `number` counts from 1 under combinatorial cross-validation, and is 0 for the only path of any
    other scheme. `tables` are by rung, `splits` the folds that made them; `effective` is how many
    independent observations the labelled bars are worth, and of several instruments `effective_of`
    those of each.
    """

    number: int
    tables: dict[str, Table]
    splits: tuple[int, ...]
    effective: float
    effective_of: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How the alarm names it."""
        return f"path {self.number}" if self.number else "all folds"


def join_paths(
    parts: Sequence[Mapping[str, Table]],
    folds: Sequence[Fold],
    samples: Samples,
    instruments: Sequence[str] = (),
) -> list[Path]:
    """The paths that finished folds make. `parts` are the tables of each fold by rung, with a row for
    each of its predicted samples in order of their bars; `instruments` are the names of several.
    """
    if folds[0].blocks:
        return [
            _combinatorial(number, parts, folds, samples, instruments)
            for number in range(1, PATHS + 1)
        ]
    effective = sum(fold.effective["test"] for fold in folds)
    numbers = tuple(fold.number for fold in folds)
    tables = {rung: joined([part[rung] for part in parts]) for rung in parts[0]}
    tested = [fold.test for fold in folds]
    return [Path(0, tables, numbers, effective, _of_each(samples, tested, instruments))]


def _of_each(
    samples: Samples, tested: Sequence[NDArray[np.int64]], instruments: Sequence[str]
) -> dict[str, float]:
    """Effective samples of each of several instruments, added up over blocks."""
    return {
        name: sum(samples.effective(samples.by_instrument(block)[place]) for block in tested)
        for place, name in enumerate(instruments)
    }


def _combinatorial(
    number: int,
    parts: Sequence[Mapping[str, Table]],
    folds: Sequence[Fold],
    samples: Samples,
    instruments: Sequence[str],
) -> Path:
    pieces: dict[str, list[Table]] = {rung: [] for rung in parts[0]}
    tested = []
    splits = path_splits(number)
    for group, split in enumerate(splits, start=1):
        fold, part = folds[split - 1], parts[split - 1]
        block = fold.blocks[group]
        rows = np.searchsorted(np.sort(samples.bar[fold.predicted]), np.sort(samples.bar[block]))
        for rung, table in part.items():
            pieces[rung].append({name: values[rows] for name, values in table.items()})
        tested.append(np.intersect1d(fold.test, block))
    whole = np.concatenate(tested)
    tables = {rung: joined(found) for rung, found in pieces.items()}
    return Path(
        number,
        tables,
        tuple(sorted(set(splits))),
        samples.effective(whole),
        _of_each(samples, [whole], instruments),
    )


def spread_of(values: Sequence[float | None]) -> dict[str, Any]:  # Any: JSON of a spread
    """{"min", "median", "max", "values"} of one figure over paths; None where no path has it."""
    known = [value for value in values if value is not None]
    ends = (min(known), float(np.median(known)), max(known)) if known else (None, None, None)
    return dict(zip(("min", "median", "max"), ends, strict=True)) | {"values": list(values)}


def value_of(scores: Scores, head: str, metric: str) -> float | None:
    """The value of one score; None where it is undefined or the head was not scored."""
    value = scores.get(head, {}).get(metric, {}).get("value")
    return None if value is None else float(value)
