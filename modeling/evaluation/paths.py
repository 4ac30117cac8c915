"""Paths: predictions that cover the tested time once, joined from the splits that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeling.evaluation.effective import effective_samples
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
    independent observations the labelled bars are worth.
    """

    number: int
    tables: dict[str, Table]
    splits: tuple[int, ...]
    effective: float

    @property
    def title(self) -> str:
        """How the alarm names it."""
        return f"path {self.number}" if self.number else "all folds"


def join_paths(
    parts: Sequence[Mapping[str, Table]], folds: Sequence[Fold], samples: Samples
) -> list[Path]:
    """The paths that finished folds make. `parts` are the tables of each fold by rung, with a row for
    each of its predicted samples in their order.
    """
    if folds[0].blocks:
        return [_combinatorial(number, parts, folds, samples) for number in range(1, PATHS + 1)]
    effective = sum(fold.effective["test"] for fold in folds)
    numbers = tuple(fold.number for fold in folds)
    tables = {rung: joined([part[rung] for part in parts]) for rung in parts[0]}
    return [Path(0, tables, numbers, effective)]


def _combinatorial(
    number: int, parts: Sequence[Mapping[str, Table]], folds: Sequence[Fold], samples: Samples
) -> Path:
    pieces: dict[str, list[Table]] = {rung: [] for rung in parts[0]}
    tested = []
    splits = path_splits(number)
    for group, split in enumerate(splits, start=1):
        fold, part = folds[split - 1], parts[split - 1]
        block = fold.blocks[group]
        rows = np.searchsorted(fold.predicted, block)
        for rung, table in part.items():
            pieces[rung].append({name: values[rows] for name, values in table.items()})
        tested.append(np.intersect1d(fold.test, block))
    bars = samples.bar[np.concatenate(tested)]
    effective = effective_samples(bars + 1, bars + samples.horizon_bars)
    tables = {rung: joined(found) for rung, found in pieces.items()}
    return Path(number, tables, tuple(sorted(set(splits))), effective)


def spread_of(values: Sequence[float | None]) -> dict[str, Any]:  # Any: JSON of a spread
    """{"min", "median", "max", "values"} of one figure over paths; None where no path has it."""
    known = [value for value in values if value is not None]
    ends = (min(known), float(np.median(known)), max(known)) if known else (None, None, None)
    return dict(zip(("min", "median", "max"), ends, strict=True)) | {"values": list(values)}


def value_of(scores: Scores, head: str, metric: str) -> float | None:
    """The value of one score; None where it is undefined or the head was not scored."""
    value = scores.get(head, {}).get(metric, {}).get("value")
    return None if value is None else float(value)
