"""How many independent observations overlapping labels are worth, and the no-skill band of that."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def label_uniqueness(
    first_label_bar: NDArray[np.int64], last_label_bar: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Uniqueness [n] of labels that span bars first..last (both included, indices of base bars).

    Mean over the label's bars of 1 / (number of labels covering the bar), in (0, 1]. A label that
    overlaps none has 1. Raises ValueError when a label ends before it begins. Source: López de
    Prado, Advances in Financial Machine Learning, chapter 4.
    """
    if len(first_label_bar) == 0:
        return np.zeros(0)
    if np.any(last_label_bar < first_label_bar):
        raise ValueError("a label ends before it begins")
    base = int(first_label_bar.min())
    first, after = first_label_bar - base, last_label_bar - base + 1
    steps = np.zeros(int(after.max()) + 1)
    np.add.at(steps, first, 1.0)
    np.add.at(steps, after, -1.0)
    covering = np.cumsum(steps)[:-1]
    share = np.divide(1.0, covering, out=np.zeros_like(covering), where=covering > 0)
    total = np.concatenate([[0.0], np.cumsum(share)])
    uniqueness: NDArray[np.float64] = (total[after] - total[first]) / (after - first)
    return uniqueness


def effective_samples(
    first_label_bar: NDArray[np.int64], last_label_bar: NDArray[np.int64]
) -> float:
    """Sum of the labels' uniqueness: about n/H for n overlapping labels of H bars; 0 for none."""
    return float(label_uniqueness(first_label_bar, last_label_bar).sum())


def no_skill_band(effective: float) -> tuple[float, float] | None:
    """0.5 ± 3·√(0.25/n_eff): where accuracy or AUC of pure noise lies; None without samples."""
    if effective <= 0:
        return None
    half = 3.0 * math.sqrt(0.25 / effective)
    return (0.5 - half, 0.5 + half)
