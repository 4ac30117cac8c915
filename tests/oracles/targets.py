"""The labels once more, one bar at a time, straight from their definitions."""

from __future__ import annotations

import math

HISTORY = 288


def plain_targets(candles, prices, horizon, regime, cost_bps, barrier):
    """One dict per bar with a label; `prices` are spliced, `candles` tell where the gaps are."""
    step = candles.timeframe_minutes * 60 * 10**9
    rows = {}
    for t in range(HISTORY, len(candles)):
        ahead = max(horizon, regime)
        if t + ahead >= len(candles) or candles.time[t + ahead] - candles.time[t] != ahead * step:
            continue
        rows[t] = _one(prices, t, horizon, regime, cost_bps, barrier)
    return rows


def _one(prices, t, horizon, regime, cost_bps, barrier):
    def r(i):
        return math.log(prices.close[i] / prices.close[i - 1])

    def root_mean_square(first, last):
        return math.sqrt(math.fsum(r(i) ** 2 for i in range(first, last + 1)) / (last - first + 1))

    s = max(root_mean_square(t - HISTORY + 1, t), 1e-6)
    entry = prices.open[t + 1]
    realised = math.log(prices.close[t + horizon] / entry)
    action = min(max(realised / (s * math.sqrt(horizon)), -3.0), 3.0)
    if barrier:
        width = max(1.5 * cost_bps / 10_000, s * math.sqrt(horizon))
        action = _barrier(prices, t, horizon, entry * math.exp(width), entry * math.exp(-width))
    spread = s * math.sqrt(regime)
    lowest = min(prices.low[t + 1 : t + regime + 1])
    highest = max(prices.high[t + 1 : t + regime + 1])
    return {
        "action": action,
        "realised_return": realised,
        "log_volatility": math.log(max(root_mean_square(t + 1, t + horizon), 1e-5)),
        "regime_volatility": root_mean_square(t + 1, t + regime) / s,
        "regime_return": math.log(prices.close[t + regime] / entry) / spread,
        "risk_range": max(math.log(entry / lowest), math.log(highest / entry)) / spread,
    }


def _barrier(prices, t, horizon, upper, lower):
    for i in range(t + 1, t + horizon + 1):
        up, down = prices.high[i] >= upper, prices.low[i] <= lower
        if up and down:
            return 0.0
        if up:
            return 1.0
        if down:
            return -1.0
    return 0.0
