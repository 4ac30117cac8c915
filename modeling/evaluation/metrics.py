"""Head metrics of one table of predictions; `prepared` holds the same ones ready for many draws.

Common to all: row arrays have shape [n] (probabilities [n, classes]); `weights` [..., n] counts how
often a row was drawn (whole numbers); the result has shape [...]. Without weights every row counts
once and the result is a 0-d array. Rows must be free of NaN: what is unknown is left out by the
caller. An undefined value (no rows, one class only) is NaN. A bootstrap draw and the point estimate
go through the same formula.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from modeling.evaluation import prepared
from modeling.evaluation.prepared import Bools, Floats, Ints

ECE_BINS = 15


def weighted_mean(values: Floats, weights: Floats | None = None) -> Floats:
    """Mean of `values` [n] under `weights` [..., n]; NaN where nothing was drawn."""
    return prepared.mean_of(values)(_counts(len(values), weights))


def accuracy(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Share of rows whose score has the sign of the return; a score of 0 is wrong.

    Rows with a return of exactly 0 are left out.
    """
    return prepared.accuracy_of(score, realised_return)(_counts(len(score), weights))


def majority_accuracy(realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Accuracy of always naming the more frequent direction of the same rows (returns of 0 left out)."""
    return prepared.majority_accuracy_of(realised_return)(_counts(len(realised_return), weights))


def auc(score: Floats, outcome: Bools, weights: Floats | None = None) -> Floats:
    """Probability that a positive row scores above a negative one, ties ½ (Mann–Whitney).

    Agrees with sklearn.metrics.roc_auc_score; NaN when only one class was drawn.
    """
    return prepared.auc_of(score, outcome)(_counts(len(score), weights))


def direction_auc(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """AUC of the score for an upward move; rows with a return of exactly 0 are left out."""
    return prepared.direction_auc_of(score, realised_return)(_counts(len(score), weights))


def rank_ic(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Spearman correlation of score and return over all rows, average ranks (scipy.stats.spearmanr)."""
    return prepared.rank_correlation_of(score, realised_return)(_counts(len(score), weights))


def pearson_ic(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Pearson correlation of score and return over all rows (scipy.stats.pearsonr)."""
    return prepared.pearson_of(score, realised_return)(_counts(len(score), weights))


def top_hit_rate(score: Floats, realised_return: Floats, weights: Floats | None = None) -> Floats:
    """Share of rows with sign(a)·r > 0 among the tenth with the largest |a| (ties in time order)."""
    return prepared.top_hit_rate_of(score, realised_return)(_counts(len(score), weights))


def top_net_bps(
    score: Floats, realised_return: Floats, cost_bps: float, weights: Floats | None = None
) -> Floats:
    """Mean sign(a)·r in basis points less `cost_bps`, over the tenth with the largest |a|."""
    return prepared.top_net_bps_of(score, realised_return, cost_bps)(_counts(len(score), weights))


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
    return prepared.macro_f1_of(actual, predicted, classes)(_counts(len(actual), weights))


def log_loss(probability: Floats, actual: Ints, weights: Floats | None = None) -> Floats:
    """Mean −ln p of the actual class (natural logarithm, p not below 1e-12); p is [n, classes]."""
    return prepared.log_loss_of(probability, actual)(_counts(len(actual), weights))


def recall(actual: Ints, predicted: Ints, of_class: int, weights: Floats | None = None) -> Floats:
    """Share of the rows of `of_class` that were predicted so; NaN when there is none."""
    return prepared.recall_of(actual, predicted, of_class)(_counts(len(actual), weights))


def brier(probability: Floats, outcome: Bools, weights: Floats | None = None) -> Floats:
    """Mean squared distance of a probability [n] from its 0/1 outcome (sklearn brier_score_loss)."""
    return prepared.brier_of(probability, outcome)(_counts(len(outcome), weights))


def brier_skill(
    probability: Floats, outcome: Bools, base_rate: Floats, weights: Floats | None = None
) -> Floats:
    """1 − Brier / Brier of the training base rate (`base_rate` [n]: each row's own fold)."""
    return prepared.brier_skill_of(probability, outcome, base_rate)(_counts(len(outcome), weights))


def ordinal_brier(probability: Floats, actual: Ints, weights: Floats | None = None) -> Floats:
    """Mean over the cuts k of (P(class > k) − 1[class > k])²; probability is [n, classes], ordered."""
    return prepared.ordinal_brier_of(probability, actual)(_counts(len(actual), weights))


def calibration_error(
    probability: Floats, outcome: Bools, weights: Floats | None = None, bins: int = ECE_BINS
) -> Floats:
    """Expected calibration error over `bins` bins of equal mass by rank (ties in time order).

    Σ n_b/n · |mean p − mean y|, which is Σ |Σ_b p − Σ_b y| / n. NaN when nothing was drawn.
    """
    return prepared.calibration_error_of(probability, outcome, bins)(_counts(len(outcome), weights))


def reliability(
    probability: Floats, outcome: Bools | Floats, bins: int = ECE_BINS
) -> list[tuple[float, float, int]]:
    """(mean probability, share that came true, rows) of each bin of `calibration_error`.

    With numbers for both it is their means in bins of equal mass by rank of the first.
    """
    order = np.argsort(probability, kind="stable")
    edges = np.floor(len(order) * np.arange(bins + 1) / bins).astype(np.int64)
    pieces = [order[start:stop] for start, stop in pairwise(edges)]
    return [
        (float(probability[piece].mean()), float(outcome[piece].mean()), len(piece))
        for piece in pieces
        if len(piece)
    ]


def log_r2(volatility: Floats, realised: Floats, weights: Floats | None = None) -> Floats:
    """R² on ln σ against the mean of the scored rows: 1 − Σ(y − ŷ)²/Σ(y − ȳ)² (sklearn r2_score)."""
    return prepared.log_r2_of(volatility, realised)(_counts(len(volatility), weights))


def qlike(volatility: Floats, realised: Floats, weights: Floats | None = None) -> Floats:
    """Mean v/v̂ − ln(v/v̂) − 1 with v = σ², both not below 1e-12; 0 is perfect (Patton 2011)."""
    return prepared.qlike_of(volatility, realised)(_counts(len(volatility), weights))


def _counts(rows: int, weights: Floats | None) -> Floats:
    return np.ones(rows) if weights is None else weights
