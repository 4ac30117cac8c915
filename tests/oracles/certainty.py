"""Confidence cuts and volatility bands in plain Python, one row after the other."""

import math


def cut(confidence, percent):
    """The largest value that at least this share of the rows reaches."""
    needed = percent * len(confidence) / 100
    reached = [c for c in confidence if sum(other >= c for other in confidence) >= needed - 1e-9]
    return max(reached)


def above(confidence, side, gain, cost_bps, least):
    """Rows that reach the cut, their accuracy over bars that moved, their mean net bp."""
    kept = [row for row, value in enumerate(confidence) if value >= least]
    moved = [row for row in kept if gain[row] != 0]
    right = sum(side[row] * gain[row] > 0 for row in moved)
    net = [((side[row] > 0) - (side[row] < 0)) * gain[row] * 10_000 - cost_bps for row in kept]
    return len(kept), right / len(moved), sum(net) / len(net)


def quantile(values, share):
    """Linear interpolation between the sorted values."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def inside(volatility, realised, band):
    """Share of rows with σ̂·e^low ≤ σ ≤ σ̂·e^high."""
    held = [
        s * math.exp(band[0]) <= truth <= s * math.exp(band[1])
        for s, truth in zip(volatility, realised, strict=True)
    ]
    return sum(held) / len(held)
