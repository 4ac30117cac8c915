"""Head metrics in plain Python, one row after the other: the judge of modeling/evaluation."""

import math


def auc(score, outcome):
    """Share of (positive, negative) pairs in the right order, ties ½."""
    pairs = [
        1.0 if p > q else 0.5 if p == q else 0.0
        for p, is_positive in zip(score, outcome, strict=True)
        if is_positive
        for q, other in zip(score, outcome, strict=True)
        if not other
    ]
    return sum(pairs) / len(pairs)


def rank_ic(x, y):
    """Spearman by the definition: Pearson of average ranks."""
    return pearson(_ranks(x), _ranks(y))


def pearson(x, y):
    """Correlation by the definition."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    pairs = list(zip(x, y, strict=True))
    above = sum((a - mean_x) * (b - mean_y) for a, b in pairs)
    spread_x = sum((a - mean_x) ** 2 for a in x)
    spread_y = sum((b - mean_y) ** 2 for b in y)
    return above / math.sqrt(spread_x * spread_y)


def top_net_bps(score, gain, cost_bps):
    """Mean gain in bps after costs of the tenth with the largest |a|."""
    rows = sorted(range(len(score)), key=lambda i: -abs(score[i]))
    rows = rows[: math.ceil(len(score) / 10)]
    return sum(math.copysign(1, score[i]) * gain[i] * 1e4 for i in rows) / len(rows) - cost_bps


def calibration_error(chance, outcome, bins):
    """Mean distance of confidence and outcome over bins of equal mass."""
    rows = sorted(range(len(chance)), key=lambda i: chance[i])
    total = 0.0
    for b in range(bins):
        part = rows[b * len(rows) // bins : (b + 1) * len(rows) // bins]
        if part:
            gap = sum(chance[i] for i in part) / len(part) - sum(outcome[i] for i in part) / len(
                part
            )
            total += len(part) / len(rows) * abs(gap)
    return total


def ordinal_brier(chances, actual):
    """Squared error of P(class > k) over the cuts."""
    total = 0.0
    for row, truth in zip(chances, actual, strict=True):
        cuts = len(row) - 1
        total += (
            sum((sum(row[k + 1 :]) - (1.0 if truth > k else 0.0)) ** 2 for k in range(cuts)) / cuts
        )
    return total / len(actual)


def qlike(volatility, realised):
    """Patton's QLIKE on variances."""
    ratios = [(r * r) / (v * v) for v, r in zip(volatility, realised, strict=True)]
    return sum(x - math.log(x) - 1 for x in ratios) / len(ratios)


def label_uniqueness(first, last):
    """Uniqueness of each label by counting bar by bar."""
    spans = list(zip(first, last, strict=True))
    unique = []
    for start, end in spans:
        shares = [
            1.0 / sum(a <= bar <= b for a, b in spans) for bar in range(int(start), int(end) + 1)
        ]
        unique.append(sum(shares) / len(shares))
    return unique


def _ranks(values):
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]
