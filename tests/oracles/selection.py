"""Feature selection once more, with dictionaries and loops, straight from its description."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter

import numpy as np


def average_ranks(values):
    """Rank of each value from 1 on; equal values share the average of theirs."""
    ordered = sorted(values)
    return [(bisect_left(ordered, x) + 1 + bisect_right(ordered, x)) / 2 for x in values]


def binned(ranks, bins):
    """Equal shares of the ranks."""
    return [min(bins - 1, math.floor(bins * (rank - 0.5) / len(ranks))) for rank in ranks]


def information(first, second):
    """Mutual information in nats less its expectation by chance."""
    n, xs, ys = len(first), Counter(first), Counter(second)
    joint = Counter(zip(first, second, strict=True))
    plain = sum(c / n * math.log(c * n / (xs[x] * ys[y])) for (x, y), c in joint.items())
    return max(0.0, plain - (len(xs) - 1) * (len(ys) - 1) / (2 * n))


def plain_selection(rows, names, select_top, horizon_bars):
    """Chosen names in the order of choice and the relevance of all; rows are (values, a, v, r)."""
    step = max(horizon_bars, math.ceil(len(rows) / 20_000))
    rows = rows[::step]
    ranks = {n: average_ranks([row[0][i] for row in rows]) for i, n in enumerate(names)}
    targets = [
        binned(average_ranks([row[1] for row in rows]), 8),
        binned(average_ranks([row[2] for row in rows]), 8),
        [row[3] for row in rows],
    ]
    relevance = dict.fromkeys(names, 0.0)
    for target in targets:
        found = {name: information(binned(ranks[name], 16), target) for name in names}
        best = max(found.values())
        for name in names:
            relevance[name] += found[name] / best / 3 if best else 0.0
    chosen = []
    while len(chosen) < select_top:
        left = [name for name in names if name not in chosen]
        score = {n: relevance[n] / max(0.1, _mean_likeness(ranks, n, chosen)) for n in left}
        chosen.append(max(left, key=lambda n: round(score[n], 9)))
    return chosen, relevance


def _mean_likeness(ranks, name, chosen):
    if not chosen:
        return 0.0
    return sum(_likeness(ranks[name], ranks[other]) for other in chosen) / len(chosen)


def _likeness(first, second):
    if len(set(first)) == 1 or len(set(second)) == 1:
        return 0.0
    return abs(float(np.corrcoef(first, second)[0, 1]))
