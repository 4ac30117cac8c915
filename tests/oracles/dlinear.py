"""DLinear of one window, bar by bar and feature by feature."""

import math

AROUND = 12


def trend_of(values):
    """Mean of the 25 values around each, the ends repeated."""
    last = len(values) - 1
    return [
        sum(values[min(max(bar + step, 0), last)] for step in range(-AROUND, AROUND + 1))
        / (2 * AROUND + 1)
        for bar in range(len(values))
    ]


def logits(window, trend_weights, remainder_weights, bias):
    """Outputs of a window [T][F]; weights are [outputs][T·F], all features of a bar together."""
    bars, features = len(window), len(window[0])
    found = list(bias)
    for feature in range(features):
        values = [row[feature] for row in window]
        for bar, trend in enumerate(trend_of(values)):
            place = bar * features + feature
            for output in range(len(found)):
                found[output] += (
                    trend_weights[output][place] * trend
                    + remainder_weights[output][place] * (values[bar] - trend)
                ) / math.sqrt(bars * features)
    return found
