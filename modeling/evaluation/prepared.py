"""Metrics made ready for many draws of the same rows: all that does not hang on the draw comes first.

Each function takes the rows ([n], free of NaN) and gives a `Metric`: counts [..., n] of how often a
row was drawn (whole numbers as floats) in, values [...] out, NaN where undefined. Nothing is
approximated. Means come from sums of precomputed columns, rank measures from an order that is sorted
once and counts that are summed along it; both equal the textbook formula on the copied-out rows up
to the rounding of sums (about 1e-12), and where counts alone are summed (AUC, variances of ranks)
the sums are exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Metric = Callable[[Floats], Floats]

PROBABILITY_FLOOR = 1e-12
VARIANCE_FLOOR = 1e-12
TOP_SHARE = 0.1
SMALLEST_VARIANCE = 1e-14  # of series with variance 1: what rounding leaves of a constant one


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below; NaN where `below` is not positive."""
    found = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=found, where=np.asarray(below) > 0)
    return found


def mean_of(values: Floats) -> Metric:
    """The mean of `values` [n]; NaN where nothing was drawn."""
    return ratio_of(values, np.ones(len(values)))


def ratio_of(above: Floats | Bools, below: Floats | Bools) -> Metric:
    """Σ above / Σ below."""
    columns = np.column_stack([above, below]).astype(float)

    def metric(counts: Floats) -> Floats:
        sums = counts @ columns
        return ratio(sums[..., 0], sums[..., 1])

    return metric


def pearson_of(x: Floats, y: Floats) -> Metric:
    """Pearson correlation of `x` and `y` [n]; NaN where one of them is constant among the drawn."""
    x, y = _standardised(x), _standardised(y)
    columns = np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])

    def metric(counts: Floats) -> Floats:
        rows, sum_x, sum_y, sum_xx, sum_yy, sum_xy = np.moveaxis(counts @ columns, -1, 0)
        mean_x, mean_y = ratio(sum_x, rows), ratio(sum_y, rows)
        var_x = ratio(sum_xx, rows) - mean_x**2
        var_y = ratio(sum_yy, rows) - mean_y**2
        shared = ratio(sum_xy, rows) - mean_x * mean_y
        varies = (var_x > SMALLEST_VARIANCE) & (var_y > SMALLEST_VARIANCE)
        return ratio(shared, np.where(varies, np.sqrt(np.abs(var_x * var_y)), 0.0))

    return metric


class SortedRows:
    """Rows sorted once by a value, rising, equal values in time order and seen as one group."""

    def __init__(self, values: Floats) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        starts = np.concatenate([np.ones(min(1, len(values)), bool), ordered[1:] != ordered[:-1]])
        self.starts = np.flatnonzero(starts)
        self.has_ties = len(self.starts) < len(values)
        self.sizes = np.diff(np.append(self.starts, len(values)))

    def grouped(self, ordered: Floats) -> Floats:
        """Sums [..., groups] over equal values of numbers that are in the order of the rows."""
        return np.add.reduceat(ordered, self.starts, axis=-1) if self.has_ties else ordered

    def midranks(self, ordered: Floats) -> tuple[Floats, Floats]:
        """Average 1-based rank of the drawn copies of each row, in order; and the groups' copies."""
        copies = self.grouped(ordered)
        middles = np.cumsum(copies, axis=-1)
        middles -= (copies - 1.0) / 2.0
        ranks = np.repeat(middles, self.sizes, axis=-1) if self.has_ties else middles
        return ranks, copies


def auc_of(score: Floats, outcome: Bools) -> Metric:
    """Probability that a positive row scores above a negative one, ties ½ (Mann–Whitney)."""
    rows = SortedRows(score)
    positive = outcome[rows.order].astype(float)

    def metric(counts: Floats) -> Floats:
        ordered = counts[..., rows.order]
        positives = ordered * positive
        negatives = rows.grouped(ordered - positives)
        positives = rows.grouped(positives)
        below = np.cumsum(positives, axis=-1) - positives / 2.0
        pairs = positives.sum(-1) * negatives.sum(-1)
        return 1.0 - ratio(_dot(negatives, below), pairs)

    return metric


def rank_correlation_of(x: Floats, y: Floats) -> Metric:
    """Spearman correlation, average ranks; NaN where one of them is constant among the drawn.

    The variance of ranks is that of 1..N less Σ(s³ − s)/12 over the groups of s equal copies.
    """
    by_x, by_y = SortedRows(x), SortedRows(y)
    place_in_y = np.empty(len(y), dtype=np.int64)
    place_in_y[by_y.order] = np.arange(len(y))
    to_x = place_in_y[by_x.order]

    def metric(counts: Floats) -> Floats:
        drawn = counts.sum(-1)
        ordered = counts[..., by_x.order]
        ranks_x, copies_x = by_x.midranks(ordered)
        ranks_y, copies_y = by_y.midranks(counts[..., by_y.order])
        ranks_x -= (drawn[..., None] + 1.0) / 2.0
        ranks_x *= ordered
        shared = _dot(ranks_x, ranks_y[..., to_x])
        spread_x, spread_y = (_rank_spread(drawn, copies) for copies in (copies_x, copies_y))
        return ratio(shared, np.sqrt(spread_x * spread_y))

    return metric


def top_mean_of(strength: Floats, values: Floats | Bools) -> Metric:
    """Mean of `values` over the drawn tenth with the largest `strength` (ties in time order)."""
    order = np.argsort(-strength, kind="stable")
    ordered_values = values[order].astype(float)

    def metric(counts: Floats) -> Floats:
        quota = np.ceil(TOP_SHARE * counts.sum(-1, keepdims=True) - 1e-9)
        looked_at = max(1, len(order) // 5)
        while True:  # only as far down the order as the tenth reaches in every draw
            ordered = counts[..., order[:looked_at]]
            reached = np.cumsum(ordered, axis=-1)
            if looked_at >= len(order) or np.all(reached[..., -1:] >= quota):
                break
            looked_at = min(len(order), 2 * looked_at)
        taken = np.clip(quota - (reached - ordered), 0.0, ordered)
        return ratio(taken @ ordered_values[: taken.shape[-1]], taken.sum(-1))

    return metric


def calibration_error_of(probability: Floats, outcome: Bools, bins: int) -> Metric:
    """Σ |Σ_b p − Σ_b y| / n over `bins` bins of equal mass by rank (ties in time order).

    Copies of one row may fall into two bins, so a bin is cut inside a row where it must be.
    """
    order = np.argsort(probability, kind="stable")
    excess = probability[order] - outcome[order]
    shares = np.arange(bins + 1) / bins

    def of_one(ordered: Floats) -> float:
        mass = np.cumsum(ordered)
        if not len(mass) or mass[-1] <= 0:
            return float("nan")
        edges = np.floor(mass[-1] * shares)
        row = np.searchsorted(mass, edges)
        before = np.cumsum(ordered * excess) - ordered * excess
        at_edges = before[row] + (edges - (mass[row] - ordered[row])) * excess[row]
        return float(np.abs(np.diff(at_edges)).sum() / mass[-1])

    def metric(counts: Floats) -> Floats:
        ordered = counts[..., order].reshape(-1, len(order))
        return np.array([of_one(row) for row in ordered]).reshape(counts.shape[:-1])

    return metric


def macro_f1_of(actual: Ints, predicted: Ints, classes: int) -> Metric:
    """Unweighted mean of the classes' F1 2·hits/(support + predicted), classes with neither left out."""
    every = np.arange(classes)
    is_actual, is_predicted = actual[:, None] == every, predicted[:, None] == every
    columns = np.column_stack([is_actual & is_predicted, is_actual, is_predicted]).astype(float)

    def metric(counts: Floats) -> Floats:
        sums = counts @ columns
        hits = sums[..., :classes]
        either = sums[..., classes : 2 * classes] + sums[..., 2 * classes :]
        present = either > 0
        scores = np.divide(2 * hits, either, out=np.zeros_like(hits), where=present)
        return ratio(scores.sum(-1), present.sum(-1).astype(float))

    return metric


def r2_of(truth: Floats, guess: Floats) -> Metric:
    """1 − Σ(y − ŷ)²/Σ(y − ȳ)², ȳ the mean of the drawn rows."""
    centred = truth - (truth.mean() if len(truth) else 0.0)
    columns = np.column_stack([np.ones(len(truth)), (truth - guess) ** 2, centred, centred**2])

    def metric(counts: Floats) -> Floats:
        rows, errors, sums, squares = np.moveaxis(counts @ columns, -1, 0)
        return 1.0 - ratio(ratio(errors, rows), ratio(squares, rows) - ratio(sums, rows) ** 2)

    return metric


def accuracy_of(score: Floats, realised_return: Floats) -> Metric:
    """Share of the moved rows whose score has the sign of the return; a score of 0 is wrong."""
    moved = realised_return != 0
    return ratio_of(moved & (np.sign(score) == np.sign(realised_return)), moved)


def majority_accuracy_of(realised_return: Floats) -> Metric:
    """Accuracy of always naming the more frequent direction of the drawn rows that moved."""
    share_up = ratio_of(realised_return > 0, realised_return != 0)

    def metric(counts: Floats) -> Floats:
        up = share_up(counts)
        return np.maximum(up, 1.0 - up)

    return metric


def direction_auc_of(score: Floats, realised_return: Floats) -> Metric:
    """AUC of the score for an upward move; rows with a return of exactly 0 are left out."""
    moved = np.flatnonzero(realised_return != 0)
    metric = auc_of(score[moved], realised_return[moved] > 0)
    if len(moved) == len(score):
        return metric
    return lambda counts: metric(counts[..., moved])


def top_hit_rate_of(score: Floats, realised_return: Floats) -> Metric:
    """Share of rows with sign(a)·r > 0 among the tenth with the largest |a|."""
    return top_mean_of(np.abs(score), np.sign(score) * realised_return > 0)


def top_net_bps_of(score: Floats, realised_return: Floats, cost_bps: float) -> Metric:
    """Mean sign(a)·r in basis points less `cost_bps` over the tenth with the largest |a|."""
    gross = top_mean_of(np.abs(score), np.sign(score) * realised_return * 1e4)
    return lambda counts: gross(counts) - cost_bps


def log_loss_of(probability: Floats, actual: Ints) -> Metric:
    """Mean −ln p of the actual class."""
    return mean_of(row_log_loss(probability, actual))


def row_log_loss(probability: Floats, actual: Ints) -> Floats:
    """−ln p of the actual class of each row [n], p not below 1e-12; `probability` is [n, classes]."""
    chosen = probability[np.arange(len(actual)), actual]
    return np.asarray(-np.log(np.maximum(chosen, PROBABILITY_FLOOR)))


def recall_of(actual: Ints, predicted: Ints, of_class: int) -> Metric:
    """Share of the rows of `of_class` that were predicted so; NaN when there is none."""
    support = actual == of_class
    return ratio_of(support & (predicted == of_class), support)


def brier_of(probability: Floats, outcome: Bools) -> Metric:
    """Mean squared distance of a probability from its 0/1 outcome."""
    return mean_of((probability - outcome) ** 2)


def brier_skill_of(probability: Floats, outcome: Bools, base_rate: Floats) -> Metric:
    """1 − Brier / Brier of the base rate of each row."""
    share = ratio_of((probability - outcome) ** 2, (base_rate - outcome) ** 2)
    return lambda counts: 1.0 - share(counts)


def ordinal_brier_of(probability: Floats, actual: Ints) -> Metric:
    """Mean over the cuts k of (P(class > k) − 1[class > k])²."""
    above = 1.0 - np.cumsum(probability, axis=1)[:, :-1]
    truth = actual[:, None] > np.arange(above.shape[1])
    return mean_of(((above - truth) ** 2).mean(axis=1))


def log_r2_of(volatility: Floats, realised: Floats) -> Metric:
    """R² on ln σ against the mean of the drawn rows."""
    return r2_of(_log_volatility(realised), _log_volatility(volatility))


def qlike_of(volatility: Floats, realised: Floats) -> Metric:
    """Mean v/v̂ − ln(v/v̂) − 1 with v = σ², both not below 1e-12."""
    quotient = np.exp(2.0 * (_log_volatility(realised) - _log_volatility(volatility)))
    return mean_of(quotient - np.log(quotient) - 1.0)


def _standardised(values: Floats) -> Floats:
    """Mean 0 and variance 1, so that sums of squares lose no digits; a constant becomes zeros."""
    if not len(values) or np.ptp(values) == 0:
        return np.zeros(len(values))
    return np.asarray((values - values.mean()) / values.std())


def _rank_spread(drawn: Floats, copies: Floats) -> Floats:
    """Σ (rank − mean rank)² over N drawn copies in groups of equal ones."""
    tied = _dot(copies * copies, copies) - copies.sum(-1)
    return np.maximum(drawn**3 - drawn - tied, 0.0) / 12.0


def _dot(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.einsum("...i,...i->...", first, second))


def _log_volatility(volatility: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(volatility, VARIANCE_FLOOR**0.5)))
