"""Combinatorial purged cross-validation: which groups each split tests, and which splits make a path.

The usable span is cut into eight groups; each of the 28 splits tests two of them and is trained on the
other six. Every group is tested seven times, so the splits join into seven paths that each predict
every bar once. Source: López de Prado, Advances in Financial Machine Learning, chapter 12.
"""

from __future__ import annotations

from itertools import combinations

GROUPS = 8
TESTED = 2
SPLITS = tuple(combinations(range(1, GROUPS + 1), TESTED))
"""The groups that each split tests; splits, groups and paths count from 1."""
PATHS = len(SPLITS) * TESTED // GROUPS
NEWEST_SPLIT = SPLITS.index((1, GROUPS)) + 1
"""Tests the first and the last group: no split that ends an embargo before the last group learned later."""


def path_splits(path: int) -> tuple[int, ...]:
    """The split that predicts each group, groups in order: the `path`-th of those that test it.

    Raises IndexError for a path beyond the last.
    """
    tested = [
        [number for number, pair in enumerate(SPLITS, start=1) if group in pair]
        for group in range(1, GROUPS + 1)
    ]
    return tuple(numbers[path - 1] for numbers in tested)
