"""Head metrics. Each works on many resamples at once: `weights` counts how often a row was drawn.

Common to all: row arrays have shape [n] (probabilities [n, classes]); `weights` has shape [..., n]
and holds whole numbers; the result has shape [...]. Without weights every row counts once and the
result is a 0-d array. Rows must be free of NaN: what is unknown is left out by the caller. An
undefined value (no rows, one class only) is NaN. So a bootstrap draw and the point estimate go
through the same formula.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PROBABILITY_FLOOR = 1e-12
VARIANCE_FLOOR = 1e-12
ECE_BINS = 15
TOP_SHARE = 0.1


def weighted_mean(values: Floats, weights: Floats | None = None) -> Floats:
    """Mean of `values` [n] (or [..., n]) under `weights` [..., n]; NaN where nothing was drawn."""
    counts = _counts(values.shape[-1], weights)
    if values.ndim == 1:
        return _ratio(counts @ values, counts.sum(-1))
    return _ratio((counts * values).sum(-1), counts.sum(-1))


def midranks(values: Floats, weights: Floats | None = None) -> Floats:
    """Average 1-based rank [..., n] of each row of `values` [n] among all drawn copies.

    Equal values share the mean of the ranks they take up, as scipy.stats.rankdata("average").
    A row that was not drawn gets a rank too; its weight of zero keeps it out of every sum.
    """
    counts = _counts(len(values), weights)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    totals = np.add.reduceat(counts[..., order], starts, axis=-1)
    middles = np.cumsum(totals, axis=-1) - (totals - 1.0) / 2.0
    sizes = np.diff(np.append(starts, len(values)))
    ranks = np.empty(counts.shape)
    ranks[..., order] = np.repeat(middles, sizes, axis=-1)
    return ranks


def correlation(x: Floats, y: Floats, weights: Floats | None = None) -> Floats:
    """Pearson correlation of `x` and `y` ([n] or [..., n]); NaN where one of them is constant."""
    counts = _counts(x.shape[-1], weights)
    x = x - weighted_mean(x, counts)[..., None]
    y = y - weighted_mean(y, counts)[..., None]
    spread = (counts * x * x).sum(-1) * (counts * y * y).sum(-1)
    return _ratio((counts * x * y).sum(-1), np.sqrt(spread))


def accuracy(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Share of rows whose score has the sign of the return; a score of 0 is wrong.

    Rows with a return of exactly 0 are left out.
    """
    counts = _counts(len(score), weights)
    moved = realised_return != 0
    hit = moved & (np.sign(score) == np.sign(realised_return))
    return _ratio(counts @ hit.astype(float), counts @ moved.astype(float))


def majority_accuracy(realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Accuracy of always naming the more frequent direction of the same rows (returns of 0 left out)."""
    counts = _counts(len(realised_return), weights)
    up = counts @ (realised_return > 0).astype(float)
    share = _ratio(up, counts @ (realised_return != 0).astype(float))
    return np.maximum(share, 1.0 - share)


def auc(score: Floats, outcome: Bools, weights: Floats | None = None) -> Floats:
    """Probability that a positive row scores above a negative one, ties ½ (Mann–Whitney).

    Agrees with sklearn.metrics.roc_auc_score; NaN when only one class was drawn.
    """
    counts = _counts(len(score), weights)
    positive = outcome.astype(float)
    positives = counts @ positive
    negatives = counts.sum(-1) - positives
    rank_sum = (counts * midranks(score, counts)) @ positive
    return _ratio(rank_sum - positives * (positives + 1) / 2, positives * negatives)


def direction_auc(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """AUC of the score for an upward move; rows with a return of exactly 0 are left out."""
    moved = realised_return != 0
    counts = _counts(len(score), weights)[..., moved]
    return auc(score[moved], realised_return[moved] > 0, counts)


def rank_ic(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Spearman correlation of score and return over all rows, average ranks (scipy.stats.spearmanr)."""
    counts = _counts(len(score), weights)
    return correlation(midranks(score, counts), midranks(realised_return, counts), counts)


def pearson_ic(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Pearson correlation of score and return over all rows (scipy.stats.pearsonr)."""
    return correlation(score, realised_return, weights)


def top_hit_rate(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Share of rows with sign(a)·r > 0 among the tenth with the largest |a| (ties in time order)."""
    order, counts = _strongest(score, weights)
    gained = np.sign(score) * realised_return > 0
    return weighted_mean(gained[order].astype(float), counts)


def top_net_bps(
    score: Floats, realised_return: Floats, cost_bps: float, weights: Floats | None = None
) -> Floats:
    """Mean sign(a)·r in basis points less `cost_bps`, over the tenth with the largest |a|."""
    order, counts = _strongest(score, weights)
    gain_bps = np.sign(score) * realised_return * 1e4
    return weighted_mean(gain_bps[order], counts) - cost_bps


def confusion_matrix(
    actual: Ints, predicted: Ints, classes: int, weights: Floats | None = None
) -> Floats:
    """Counts [..., classes, classes]; row = actual class, column = predicted class."""
    counts = _counts(len(actual), weights)
    cells = np.zeros((len(actual), classes * classes))
    cells[np.arange(len(actual)), actual * classes + predicted] = 1.0
    return (counts @ cells).reshape(*counts.shape[:-1], classes, classes)


def macro_f1(actual: Ints, predicted: Ints, classes: int, weights: Floats | None = None) -> Floats:
    """Unweighted mean of the classes' F1.

    A class with rows or predictions but no hit counts 0; a class with neither is left out.
    """
    matrix = confusion_matrix(actual, predicted, classes, weights)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    either = matrix.sum(-1) + matrix.sum(-2)
    present = either > 0
    scores = np.divide(2 * hits, either, out=np.zeros_like(hits), where=present)
    return _ratio(scores.sum(-1), present.sum(-1).astype(float))


def log_loss(probability: Floats, actual: Ints, weights: Floats | None = None) -> Floats:
    """Mean −ln p of the actual class (natural logarithm, p not below 1e-12); p is [n, classes]."""
    chosen = probability[np.arange(len(actual)), actual]
    return weighted_mean(-np.log(np.maximum(chosen, PROBABILITY_FLOOR)), weights)


def recall(actual: Ints, predicted: Ints, of_class: int, weights: Floats | None = None) -> Floats:
    """Share of the rows of `of_class` that were predicted so; NaN when there is none."""
    counts = _counts(len(actual), weights)
    support = actual == of_class
    hit = support & (predicted == of_class)
    return _ratio(counts @ hit.astype(float), counts @ support.astype(float))


def brier(probability: Floats, outcome: Bools, weights: Floats | None = None) -> Floats:
    """Mean squared distance of a probability [n] from its 0/1 outcome (sklearn brier_score_loss)."""
    return weighted_mean((probability - outcome) ** 2, weights)


def brier_skill(
    probability: Floats, outcome: Bools, base_rate: Floats, weights: Floats | None = None
) -> Floats:
    """1 − Brier / Brier of the training base rate (`base_rate` [n]: each row's own fold)."""
    return 1.0 - _ratio(brier(probability, outcome, weights), brier(base_rate, outcome, weights))


def ordinal_brier(probability: Floats, actual: Ints, weights: Floats | None = None) -> Floats:
    """Mean over the cuts k of (P(class > k) − 1[class > k])²; probability is [n, classes], ordered."""
    above = 1.0 - np.cumsum(probability, axis=1)[:, :-1]
    truth = actual[:, None] > np.arange(above.shape[1])
    return weighted_mean(((above - truth) ** 2).mean(axis=1), weights)


def calibration_error(
    probability: Floats, outcome: Bools, weights: Floats | None = None, bins: int = ECE_BINS
) -> Floats:
    """Expected calibration error over `bins` bins of equal mass by rank (ties in time order).

    Σ n_b/n · |mean p − mean y|, which is Σ |Σ_b p − Σ_b y| / n. NaN when nothing was drawn.
    """
    counts = _counts(len(probability), weights)
    _, sums_p, sums_y = _bin_sums(probability, outcome, counts.reshape(-1, len(probability)), bins)
    error = np.abs(sums_p - sums_y).sum(-1).reshape(counts.shape[:-1])
    return _ratio(error, counts.sum(-1))


def reliability(
    probability: Floats, outcome: Bools, bins: int = ECE_BINS
) -> list[tuple[float, float, int]]:
    """(mean probability, share that came true, rows) of each bin of `calibration_error`."""
    sizes, sums_p, sums_y = _bin_sums(probability, outcome, np.ones((1, len(probability))), bins)
    return [
        (float(p / size), float(y / size), round(float(size)))
        for size, p, y in zip(sizes[0], sums_p[0], sums_y[0], strict=True)
        if size > 0
    ]


def log_r2(volatility: Floats, realised: Floats, weights: Floats | None = None) -> Floats:
    """R² on ln σ against the mean of the scored rows: 1 − Σ(y − ŷ)²/Σ(y − ȳ)² (sklearn r2_score)."""
    truth, guess = _log_volatility(realised), _log_volatility(volatility)
    mean = weighted_mean(truth, weights)
    centred = weighted_mean((truth - truth.mean()) ** 2, weights) - (mean - truth.mean()) ** 2
    return 1.0 - _ratio(weighted_mean((truth - guess) ** 2, weights), centred)


def qlike(volatility: Floats, realised: Floats, weights: Floats | None = None) -> Floats:
    """Mean v/v̂ − ln(v/v̂) − 1 with v = σ², both not below 1e-12; 0 is perfect (Patton 2011)."""
    ratio = np.exp(2.0 * (_log_volatility(realised) - _log_volatility(volatility)))
    return weighted_mean(ratio - np.log(ratio) - 1.0, weights)


def _counts(rows: int, weights: Floats | None) -> Floats:
    return np.ones(rows) if weights is None else weights


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=ratio, where=np.asarray(below) > 0)
    return ratio


def _strongest(score: Floats, weights: Floats | None) -> tuple[Ints, Floats]:
    """Rows by falling |score|, and how many copies of each belong to the top tenth."""
    order = np.argsort(-np.abs(score), kind="stable")
    counts = _counts(len(score), weights)[..., order]
    reached = np.cumsum(counts, axis=-1)
    quota = np.ceil(TOP_SHARE * counts.sum(-1, keepdims=True) - 1e-9)
    return order, np.clip(quota - (reached - counts), 0.0, counts)


def _bin_sums(
    probability: Floats, outcome: Bools, counts: Floats, bins: int
) -> tuple[Floats, Floats, Floats]:
    """Rows, Σp and Σy of each bin [draws, bins]; copies of one row may fall into two bins."""
    order = np.argsort(probability, kind="stable")
    ordered = counts[:, order]
    mass = _from_zero(ordered)
    sum_p = _from_zero(ordered * probability[order])
    sum_y = _from_zero(ordered * outcome[order])
    edges = np.floor(mass[:, -1:] * np.arange(bins + 1) / bins)
    at_p = np.array([np.interp(e, m, s) for e, m, s in zip(edges, mass, sum_p, strict=True)])
    at_y = np.array([np.interp(e, m, s) for e, m, s in zip(edges, mass, sum_y, strict=True)])
    return np.diff(edges), np.diff(at_p), np.diff(at_y)


def _from_zero(ordered: Floats) -> Floats:
    return np.concatenate([np.zeros((len(ordered), 1)), np.cumsum(ordered, axis=1)], axis=1)


def _log_volatility(volatility: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(volatility, VARIANCE_FLOOR**0.5)))
