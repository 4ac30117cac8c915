"""The probability of backtest overfitting, half by half, as the paper tells it."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np


def plain_overfitting(returns, blocks: int) -> float:
    """Share of λ ≤ 0 over all halves; one Python loop for each."""
    returns = np.asarray(returns, dtype=float)
    length = len(returns) // blocks
    parts = [returns[i * length : (i + 1) * length] for i in range(blocks)]
    logits = []
    for half in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in half])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in half])
        seen = [plain_sharpe(column) for column in inside.T]
        unseen = [plain_sharpe(column) for column in outside.T]
        best = seen.index(max(seen))
        rank = 1 + sum(value < unseen[best] for value in unseen)
        share = rank / (len(unseen) + 1)
        logits.append(math.log(share / (1 - share)))
    return sum(value <= 0 for value in logits) / len(logits)


def plain_sharpe(column) -> float:
    return 0.0 if min(column) == max(column) else float(np.mean(column) / np.std(column, ddof=1))
