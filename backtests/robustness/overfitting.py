"""How often the best of several trials is only the luckiest: the probability of backtest overfitting.

Combinatorially symmetric cross-validation of Bailey, Borwein, López de Prado and Zhu, The Probability
of Backtest Overfitting (2015): choose by one half of the days, look at the other half, for all halves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_DAYS = 80
DAYS_FOR_MORE_BLOCKS = 160
FEW_BLOCKS, MORE_BLOCKS = 8, 16
FEWEST_COLUMNS = 2
AT_ONCE = 1024

Array = NDArray[np.float64]
Halves = NDArray[np.int64]


@dataclass(frozen=True)
class Overfitting:
    """The probability, or None with its reason; with the columns, days and blocks it stands on."""

    value: float | None
    columns: int
    days: int
    blocks: int
    reason: str = ""


def overfitting_probability(daily_returns: ArrayLike, blocks: int | None = None) -> Overfitting:
    """Share of halves whose best column is not above the middle in the other half.

    `daily_returns` [days, columns] holds net returns of the same UTC days, one column a trial. The days
    are cut into `blocks` equal parts in time (16; 8 below 160 days), leftover days at the end dropped.
    For each choice of half of the blocks: the column with the highest Sharpe ratio (ddof 1, the first on
    ties; 0 where the column does not vary) and its rank in the other half (1 + columns strictly worse);
    ω = rank / (columns + 1), λ = ln(ω / (1 − ω)), and the share of λ ≤ 0 is the probability.

    None below 2 columns (`too_few_trials`) and below 80 days (`too_few_days`). Raises ValueError for
    a table that is not two-dimensional or not finite, and for an odd number of blocks.
    """
    returns = np.asarray(daily_returns, dtype=np.float64)
    if returns.ndim != 2 or not np.isfinite(returns).all():
        raise ValueError(f"found an array {returns.shape}; expected finite returns [days, columns]")
    days, columns = returns.shape
    if columns < FEWEST_COLUMNS:
        return Overfitting(None, columns, days, 0, "too_few_trials")
    if days < FEWEST_DAYS:
        return Overfitting(None, columns, days, 0, "too_few_days")
    count = blocks or (MORE_BLOCKS if days >= DAYS_FOR_MORE_BLOCKS else FEW_BLOCKS)
    if count % 2 or count > days:
        raise ValueError(f"found {count} blocks; expected an even number of at most {days}")
    return Overfitting(_share_below_middle(_Blocks.of(returns, count)), columns, days, count)


@dataclass(frozen=True)
class _Blocks:
    """Per block and column [blocks, columns]: sum, sum of squares, least and greatest return."""

    length: int
    total: Array
    squares: Array
    least: Array
    greatest: Array

    @classmethod
    def of(cls, returns: Array, count: int) -> _Blocks:
        length = len(returns) // count
        cut = returns[: length * count].reshape(count, length, -1)
        # About the mean the two sums do not cancel: half a digit is lost instead of many.
        centred = cut - cut.mean(axis=(0, 1))
        return cls(
            length=length,
            total=cut.sum(axis=1),
            squares=(centred**2).sum(axis=1),
            least=cut.min(axis=1),
            greatest=cut.max(axis=1),
        )

    def sharpes(self, halves: Halves) -> Array:
        """Sharpe ratio of each column over each choice of blocks, [choices, columns]."""
        days = halves.shape[1] * self.length
        middle = self.total.sum(axis=0) / (len(self.total) * self.length)
        mean = _summed(self.total, halves) / days
        squares = _summed(self.squares, halves) - days * (mean - middle) ** 2
        varies = self._varies(halves)
        deviation = np.sqrt(np.where(varies, np.maximum(squares, np.finfo(float).tiny), 1.0))
        return np.where(varies, mean / deviation * math.sqrt(days - 1), 0.0)

    def _varies(self, halves: Halves) -> NDArray[np.bool_]:
        """Exact, by the extremes: rounding leaves a constant column a tiny variance."""
        varies = np.ones((len(halves), self.total.shape[1]), dtype=np.bool_)
        still = np.flatnonzero((self.least == self.greatest).any(axis=0))
        if still.size:
            least = self.least[:, still][halves].min(axis=1)
            varies[:, still] = least < self.greatest[:, still][halves].max(axis=1)
        return varies


def _summed(values: Array, halves: Halves) -> Array:
    """Sums of the chosen blocks, added in one order for all columns: equal columns stay equal."""
    total = values[halves[:, 0]]
    for place in range(1, halves.shape[1]):
        total = total + values[halves[:, place]]
    return total


def _share_below_middle(blocks: _Blocks) -> float:
    count = len(blocks.total)
    halves = np.array(list(combinations(range(count), count // 2)), dtype=np.int64)
    # In this order the other half of the first choice is the last choice, and so on.
    others = halves[::-1]
    below = 0
    for start in range(0, len(halves), AT_ONCE):
        chosen = np.argmax(blocks.sharpes(halves[start : start + AT_ONCE]), axis=1)
        ahead = blocks.sharpes(others[start : start + AT_ONCE])
        own = ahead[np.arange(len(ahead)), chosen]
        rank = 1 + (ahead < own[:, None]).sum(axis=1)
        # λ ≤ 0 where ω ≤ ½, without the logarithm.
        below += int((2 * rank <= ahead.shape[1] + 1).sum())
    return below / len(halves)
