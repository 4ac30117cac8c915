"""Which features a fold uses: informative about the targets, unlike those already chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from modeling.windows.errors import NotEnoughHistory

if TYPE_CHECKING:  # pages read what was chosen, and must not load numba
    from modeling.windows.targets import Labels

MOST_ROWS = 20_000
FEATURE_BINS = 16
TARGET_BINS = 8
LEAST_REDUNDANCY = 0.10
DIGITS = 12
"""Decimals that are compared: what lies behind them may differ between machines."""


@dataclass(frozen=True)
class FitRows:
    """Eligible fit samples of one dataset in order of time.

    `values` [rows, F] are the scaled features of the base scale; `action` and `log_volatility` are
    numbers, `regime` is a class, each [rows].
    """

    values: NDArray[np.float32]
    action: NDArray[np.float32]
    log_volatility: NDArray[np.float64]
    regime: NDArray[np.int8]


@dataclass(frozen=True)
class Selection:
    """The features one fold uses, in registry order.

    `relevance` of every candidate is between 0 and 1; `redundancy` of every chosen feature is its
    mean absolute rank correlation with those chosen before it. Both are empty when all were kept.
    """

    names: tuple[str, ...]
    relevance: dict[str, float]
    redundancy: dict[str, float]

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data; `from_json` gives an equal selection."""
        return {
            "names": list(self.names),
            "relevance": self.relevance,
            "redundancy": self.redundancy,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """The selection that `to_json` wrote."""
        return cls(tuple(data["names"]), dict(data["relevance"]), dict(data["redundancy"]))


def fit_rows(scaled: NDArray[np.float32], labels: Labels, fit_bars: NDArray[np.int64]) -> FitRows:
    """The rows of one dataset whose fit samples have labels.

    `scaled` [n, F] stands at the n `fit_bars`; labels are by base bar.
    """
    is_labelled = labels.valid[fit_bars]
    bars = fit_bars[is_labelled]
    return FitRows(
        scaled[is_labelled], labels.action[bars], labels.log_volatility[bars], labels.regime[bars]
    )


def select_features(
    datasets: Sequence[FitRows],
    names: tuple[str, ...],
    *,
    select_top: int | None,
    horizon_bars: int,
) -> Selection:
    """The `select_top` features that tell most about action, volatility and regime, one by one.

    Reads rows of the fit slice only: of all datasets in their order every q-th row from the first,
    q = max(horizon, ⌈rows/20000⌉). First the most relevant, then always the largest relevance over
    max(0.10, mean |Spearman| with the chosen); ties go to the earlier name. All are kept without
    `select_top` or when there are no more features than that. No randomness; ranks are added up as
    whole numbers, so the same rows give the same answer everywhere. Raises NotEnoughHistory
    without a row. After Ding and Peng (2005), "Minimum redundancy feature selection".
    """
    if select_top is None or select_top >= len(names):
        return Selection(names, {}, {})
    rows = _every_qth(datasets, horizon_bars)
    if not rows.action.size:
        raise NotEnoughHistory("The fit slice has no labelled sample.", found=0, needed=1)
    ranks = np.column_stack([_doubled_ranks(column) for column in rows.values.T])
    relevance = _relevance(ranks, rows)
    likeness = np.abs(_spearman(ranks))
    chosen, redundancy = _choose(relevance, likeness, select_top)
    return Selection(
        names=tuple(name for i, name in enumerate(names) if i in chosen),
        relevance=dict(zip(names, relevance.tolist(), strict=True)),
        redundancy={names[i]: value for i, value in zip(chosen, redundancy, strict=True)},
    )


def mutual_information(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Nats that two columns of small whole numbers share, at least 0.

    From the joint counts, minus what chance gives: (X − 1)(Y − 1)/(2n) for X and Y values that
    occur. Miller (1955).
    """
    width = int(second.max()) + 1
    joint = np.bincount(first * width + second)
    n, rows, columns = first.size, np.bincount(first), np.bincount(second)
    information = math.log(n) + (_entropy(joint) - _entropy(rows) - _entropy(columns)) / n
    chance = (np.count_nonzero(rows) - 1) * (np.count_nonzero(columns) - 1) / (2 * n)
    return max(0.0, information - chance)


def selection_shares(selections: Sequence[Selection], names: tuple[str, ...]) -> dict[str, float]:
    """Share of folds that chose each feature. Raises ValueError without a fold."""
    if not selections:
        raise ValueError("expected at least one selection")
    return {
        name: sum(name in selection.names for selection in selections) / len(selections)
        for name in names
    }


def kuncheva_index(selections: Sequence[Selection], features: int) -> float | None:
    """How alike the choices of the folds are beyond chance: 1 for equal ones, about 0 for chance.

    Mean of (overlap·n − k²)/(k·(n − k)) over pairs of folds that chose k of n `features`. None for
    fewer than two folds, or when all or none were chosen: then there is nothing to compare.
    Kuncheva (2007), "A stability index for feature selection".
    """
    k = len(selections[0].names) if selections else 0
    if len(selections) < 2 or k in (0, features):
        return None
    pairs = [
        (len(set(a.names) & set(b.names)) * features - k * k) / (k * (features - k))
        for a, b in combinations(selections, 2)
    ]
    return math.fsum(pairs) / len(pairs)


def _every_qth(datasets: Sequence[FitRows], horizon_bars: int) -> FitRows:
    count = sum(rows.action.size for rows in datasets)
    step = max(horizon_bars, math.ceil(count / MOST_ROWS))
    return FitRows(
        np.concatenate([rows.values for rows in datasets])[::step],
        np.concatenate([rows.action for rows in datasets])[::step],
        np.concatenate([rows.log_volatility for rows in datasets])[::step],
        np.concatenate([rows.regime for rows in datasets])[::step],
    )


def _doubled_ranks(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Twice the rank of each value, from 2 to 2n; equal values share the average of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (2 * ends - counts + 1)[place]


def _bins(doubled_ranks: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """min(bins − 1, ⌊bins·(rank − ½)/n⌋), in whole numbers."""
    return np.minimum(bins - 1, bins * (doubled_ranks - 1) // (2 * doubled_ranks.shape[0]))


def _relevance(ranks: NDArray[np.int64], rows: FitRows) -> NDArray[np.float64]:
    """Mean over the targets of the information of each feature in that of the best one."""
    targets = (
        _bins(_doubled_ranks(rows.action), TARGET_BINS),
        _bins(_doubled_ranks(rows.log_volatility), TARGET_BINS),
        rows.regime.astype(np.int64),
    )
    features = _bins(ranks, FEATURE_BINS).T
    shares = []
    for target in targets:
        information = np.array([mutual_information(feature, target) for feature in features])
        best = information.max()
        shares.append(information / best if best > 0 else information)
    return np.round(sum(shares) / len(targets), DIGITS)


def _entropy(counts: NDArray[np.int64]) -> float:
    """Σ c·ln c, added up exactly."""
    return math.fsum(c * math.log(c) for c in counts.tolist() if c)


def _spearman(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank correlation of each pair of columns; 0 with a constant column."""
    # Centred doubled ranks are whole numbers of at most n, so below 2^53 every sum is exact.
    centred = (ranks - (ranks.shape[0] + 1)).astype(np.float64)
    products = centred.T @ centred
    size = np.sqrt(np.diag(products))
    both = np.outer(size, size)
    return np.divide(products, both, out=np.zeros_like(products), where=both > 0)


def _choose(
    relevance: NDArray[np.float64], likeness: NDArray[np.float64], count: int
) -> tuple[list[int], list[float]]:
    chosen = [int(np.argmax(relevance))]
    redundancy = [0.0]
    while len(chosen) < count:
        mean = np.round(likeness[:, chosen].mean(axis=1), DIGITS)
        score = np.round(relevance / np.maximum(LEAST_REDUNDANCY, mean), DIGITS)
        score[chosen] = -1.0
        best = int(np.argmax(score))
        redundancy.append(float(mean[best]))
        chosen.append(best)
    return chosen, redundancy
