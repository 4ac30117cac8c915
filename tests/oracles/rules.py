"""Rules on plain lists of closes, one bar after the other; what is not known yet is None."""

import itertools


def mean_of_last(values, bar, count):
    return sum(values[bar - count + 1 : bar + 1]) / count if bar >= count - 1 else None


def ma_cross(closes, fast=20, slow=100, short=False):
    targets = []
    for bar in range(len(closes)):
        slower = mean_of_last(closes, bar, slow)
        if slower is None:
            targets.append(0)
        elif mean_of_last(closes, bar, fast) > slower:
            targets.append(1)
        else:
            targets.append(-1 if short else 0)
    return targets


def exponential_mean(values, count):
    """Begins as the mean of the first `count` values."""
    found = [None] * (count - 1)
    for bar in range(count - 1, len(values)):
        if bar == count - 1:
            found.append(sum(values[:count]) / count)
        else:
            found.append(found[-1] + 2 / (count + 1) * (values[bar] - found[-1]))
    return found


def macd(closes, fast=12, slow=26, signal=9, short=False):
    # The library starts the fast mean where the slow one starts.
    late = slow - fast
    quick = [None] * late + exponential_mean(closes[late:], fast)
    slower = exponential_mean(closes, slow)
    line = [a - b for a, b in zip(quick, slower, strict=True) if a is not None and b is not None]
    average = exponential_mean(line, signal)
    targets = [0] * (slow - 1)
    for value, mean in zip(line, average, strict=True):
        if mean is None:
            targets.append(0)
        elif value > mean:
            targets.append(1)
        else:
            targets.append(-1 if short else 0)
    return targets


def strengths(closes, window=14):
    """Wilder's RSI."""
    steps = [b - a for a, b in itertools.pairwise(closes)]
    found = [None] * window
    rise = sum(max(step, 0) for step in steps[:window]) / window
    fall = sum(max(-step, 0) for step in steps[:window]) / window
    for step in [None, *steps[window:]]:
        if step is not None:
            rise = (rise * (window - 1) + max(step, 0)) / window
            fall = (fall * (window - 1) + max(-step, 0)) / window
        found.append(100 * rise / (rise + fall) if rise + fall else 0.0)
    return found


def rsi(closes, window=14, enter=70, leave=30, short=False):
    targets, held = [], 0
    for strength in strengths(closes, window):
        if strength is not None:
            if (held == 1 and strength < leave) or (held == -1 and strength > 100 - leave):
                held = 0
            if strength > enter:
                held = 1
            elif short and strength < 100 - enter:
                held = -1
        targets.append(held)
    return targets
