"""The features once more, slowly: every window added up by hand, straight from their definitions."""

from __future__ import annotations

import math

import numpy as np

EPS = 1e-6
NAN = math.nan


def spliced(candles):
    """Open, high, low, close with every gap closed and the first close at 100, as lists."""
    step = candles.timeframe_minutes * 60 * 10**9
    factor, rows = 100.0 / candles.close[0], []
    for i in range(len(candles)):
        if i and candles.time[i] - candles.time[i - 1] != step:
            factor *= candles.close[i - 1] / candles.open[i]
        rows.append(
            [
                factor * float(column[i])
                for column in (candles.open, candles.high, candles.low, candles.close)
            ]
        )
    return tuple(list(column) for column in zip(*rows, strict=True))


def mean(values):
    return math.fsum(values) / len(values)


def deviation(values):
    centre = mean(values)
    return math.sqrt(math.fsum((x - centre) ** 2 for x in values) / len(values))


def smooth(values, periods, start, factor):
    """Exponential mean from bar `start`, seeded with the mean of the first `periods` values there."""
    out = [NAN] * len(values)
    first = start + periods - 1
    if first >= len(values):
        return out
    out[first] = mean(values[start : first + 1])
    for t in range(first + 1, len(values)):
        out[t] = out[t - 1] + factor * (values[t] - out[t - 1])
    return out


def plain_features(candles):
    """All of basic-15 as {name: float64 array}, NaN before the warm-up."""
    _, high, low, close = spliced(candles)
    volume = [float(v) for v in candles.volume]
    count = len(close)
    r = [NAN] + [math.log(close[t] / close[t - 1]) for t in range(1, count)]
    out = {name: [NAN] * count for name in NAMES}
    atr = _average_true_range(high, low, close)
    rsi = _relative_strength(close)
    line, histogram = _macd(close)
    adx = _directional(high, low, close)
    minutes = candles.timeframe_minutes
    v = [NAN] * count
    for t in range(287, count):
        level = mean(volume[t - 287 : t + 1])
        v[t] = math.log(volume[t] + 0.001 * level) if level > 0 else 0.0
    for t in range(count):
        close_minute = (int(candles.time[t]) // (60 * 10**9) + minutes) % 1440
        out["tod_sin"][t] = math.sin(2 * math.pi * close_minute / 1440)
        out["tod_cos"][t] = math.cos(2 * math.pi * close_minute / 1440)
        if t >= 13:
            top, bottom = max(high[t - 13 : t + 1]), min(low[t - 13 : t + 1])
            out["stoch_k_14"][t] = (
                2 * (close[t] - bottom) / (top - bottom) - 1 if top > bottom else 0.0
            )
        if t >= 19:
            window = close[t - 19 : t + 1]
            middle, sigma = mean(window), deviation(window)
            out["bb_pctb_20"][t] = (close[t] - middle) / (2 * max(sigma, EPS * close[t]))
            out["bb_width_20"][t] = math.log(max(4 * sigma / middle, EPS))
        if t >= 48:
            s = max(math.sqrt(mean([x * x for x in r[t - 47 : t + 1]])), EPS)
            out["rv_48"][t] = math.log(s)
            for n in (1, 12, 48):
                out[f"ret_{n}"][t] = math.log(close[t] / close[t - n]) / (s * math.sqrt(n))
        if t >= 200:
            out["natr_14"][t] = math.log(atr[t] / close[t])
            out["rsi_14"][t] = rsi[t]
        if t >= 250:
            out["macd_line"][t] = line[t] / atr[t]
            out["macd_hist"][t] = histogram[t] / atr[t]
        if t >= 300:
            out["adx_14"][t] = adx[t]
        if t >= 334:
            window = v[t - 47 : t + 1]
            out["volume_z_48"][t] = (v[t] - mean(window)) / max(deviation(window), 1e-3)
    return {name: np.array(values) for name, values in out.items()}


NAMES = (
    "rsi_14",
    "macd_line",
    "macd_hist",
    "bb_pctb_20",
    "bb_width_20",
    "stoch_k_14",
    "adx_14",
    "natr_14",
    "rv_48",
    "volume_z_48",
    "ret_1",
    "ret_12",
    "ret_48",
    "tod_sin",
    "tod_cos",
)


def _relative_strength(close):
    gains = [0.0] + [max(close[t] - close[t - 1], 0.0) for t in range(1, len(close))]
    losses = [0.0] + [max(close[t - 1] - close[t], 0.0) for t in range(1, len(close))]
    up, down = smooth(gains, 14, 1, 1 / 14), smooth(losses, 14, 1, 1 / 14)
    out, moved = [], False
    for t in range(len(close)):
        moved = moved or close[t] != close[0]
        both = up[t] + down[t]
        share = up[t] / both if both and not math.isnan(both) else 0.0
        out.append(2 * share - 1 if moved else 0.0)
    return out


def _average_true_range(high, low, close):
    ranges = [NAN] + [
        max(high[t] - low[t], abs(high[t] - close[t - 1]), abs(low[t] - close[t - 1]))
        for t in range(1, len(close))
    ]
    means = smooth(ranges, 14, 1, 1 / 14)
    return [
        max(a, EPS * c) if not math.isnan(a) else NAN for a, c in zip(means, close, strict=True)
    ]


def _macd(close):
    # Both means begin at bar 25, the fast one seeded with the twelve bars that end there.
    fast, slow = smooth(close, 12, 14, 2 / 13), smooth(close, 26, 0, 2 / 27)
    line = [a - b for a, b in zip(fast, slow, strict=True)]
    signal = smooth(line, 9, 25, 2 / 10)
    return line, [a - b for a, b in zip(line, signal, strict=True)]


def _directional(high, low, close):
    plus, minus = [0.0], [0.0]
    for t in range(1, len(close)):
        up, down = high[t] - high[t - 1], low[t - 1] - low[t]
        tie = abs(up - down) <= 1e-9 * close[t]
        plus.append(up if up > 0 and up > down and not tie else 0.0)
        minus.append(down if down > 0 and down > up and not tie else 0.0)
    directions = []
    sum_plus, sum_minus = math.fsum(plus[:14]), math.fsum(minus[:14])
    for t in range(14, len(close)):
        sum_plus = sum_plus * 13 / 14 + plus[t]
        sum_minus = sum_minus * 13 / 14 + minus[t]
        both = sum_plus + sum_minus
        directions.append(abs(sum_plus - sum_minus) / both if both else NAN)
    first = [0.0 if math.isnan(x) else x for x in directions[:14]]
    out = [NAN] * 27 + [mean(first)]
    for value in directions[14:]:
        out.append(out[-1] if math.isnan(value) else (13 * out[-1] + value) / 14)
    return out
