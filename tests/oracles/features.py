"""The features once more, slowly: every window added up afresh, straight from their definitions."""

from __future__ import annotations

import math

import numpy as np

EPS = 1e-6
SAME = 1e-12  # what rounding leaves: the splice multiplies prices, so equal prices may differ by so much
NAN = math.nan
MINUTE = 60 * 10**9
DAY = 1440 * MINUTE


def spliced(time, rows, step):
    """Open, high, low, close with every gap closed and the first close at 100, as lists."""
    factor, out = 100.0 / rows[0][4], []
    for i, row in enumerate(rows):
        if i and time[i] - time[i - 1] != step:
            factor *= rows[i - 1][4] / row[1]
        out.append([factor * price for price in row[1:5]])
    return tuple(list(column) for column in zip(*out, strict=True))


def smooth(values, periods, start, factor):
    """Exponential mean from bar `start`, seeded with the mean of the first `periods` values there."""
    out = [NAN] * len(values)
    first = start + periods - 1
    if first >= len(values):
        return out
    out[first] = math.fsum(values[start : first + 1]) / periods
    for t in range(first + 1, len(values)):
        out[t] = out[t - 1] + factor * (values[t] - out[t - 1])
    return out


def plain_scale(candles, factor):
    """The bars of a timescale as (open time, open, high, low, close, volume) rows, gaps left out."""
    rows = zip(
        candles.time.tolist(),
        *(getattr(candles, c).tolist() for c in ("open", "high", "low", "close", "volume")),
        strict=True,
    )
    bins = {}
    for row in rows:
        bins.setdefault(row[0] // (candles.bar_ns * factor), []).append(row)
    return [
        (
            number * candles.bar_ns * factor,
            bars[0][1],
            max(bar[2] for bar in bars),
            min(bar[3] for bar in bars),
            bars[-1][4],
            math.fsum(bar[5] for bar in bars),
        )
        for number, bars in sorted(bins.items())
        if len(bars) == factor
    ]


def warm_ups(slots):
    """Bars at the beginning that are NaN, by feature, in the order of the registry."""
    core = (200, 600, 250, 250, 250, 19, 19, 13, 15, 19, 300, 200)
    flow = (48, 48, 288, 48, 14, 24, 19, 334, max(7 * slots, 287), 574)
    micro = (288, 48, 48, 574, 48, 0, 0, 11, 11, 59, 95)
    volatility = (12, 48, 288, 11, 48, 47, 48, 288, 200, 49, 59, 48)
    levels = (47, 287, 288, 288, 2 * slots, 288, 288, 287)
    momentum = (48, 48, 48, 48, 288, 400, 48, 49)
    bars = (*core, *flow, *micro, *volatility, *levels, *momentum, 0, 0, 0, 0, 0, 0)
    return dict(zip(NAMES, bars, strict=True))


def over(values, count, function):
    """Apply a function of [windows, count] to the last `count` values at each bar."""
    values = np.asarray(values, dtype=float)
    out = np.full(values.size, NAN)
    for first in range(count - 1, values.size, 4096):
        part = values[first - count + 1 : first + 4096]
        out[first : first + 4096] = function(np.lib.stride_tricks.sliding_window_view(part, count))
    return out


def total(values, count):
    """Sum of each window."""
    return over(values, count, lambda w: w.sum(axis=1))


def mean(values, count):
    """Mean of each window."""
    return over(values, count, lambda w: w.mean(axis=1))


def highest(values, count):
    """Largest of each window."""
    return over(values, count, lambda w: w.max(axis=1))


def lowest(values, count):
    """Smallest of each window."""
    return over(values, count, lambda w: w.min(axis=1))


def deviation(values, count, ddof=0):
    """Standard deviation of each window, by two passes; exactly 0 where all values are equal."""
    plain = over(values, count, lambda w: w.std(axis=1, ddof=ddof))
    return np.where(highest(values, count) == lowest(values, count), 0.0, plain)


def z_score(values, count):
    """How many deviations the last value lies above the mean of its window."""
    return (values - mean(values, count)) / np.maximum(deviation(values, count), 1e-3)


def correlation(first, second, count):
    """Pearson's, with 0 where either hardly varies next to its size."""
    out = np.full(first.size, NAN)
    for t in range(count - 1, first.size):
        x, y = first[t - count + 1 : t + 1], second[t - count + 1 : t + 1]
        flat = [v.var() <= 1e-10 * (v * v).mean() for v in (x, y)]
        dx, dy = x - x.mean(), y - y.mean()
        size = math.sqrt((dx * dx).sum() * (dy * dy).sum())
        out[t] = 0.0 if any(flat) else min(1.0, max(-1.0, (dx * dy).sum() / size))
    return out


def earlier(values, count=1):
    """The value so many bars before."""
    out = np.full(len(values), NAN)
    out[count:] = values[: len(values) - count]
    return out


def over_zero(upper, lower):
    """A quotient that is 0 where its divisor is 0."""
    return np.array([0.0 if b == 0 else a / b for a, b in zip(upper, lower, strict=True)])


def floored(values):
    """Logarithm, at least that of 1e-6."""
    return np.log(np.where(np.isnan(values), NAN, np.maximum(values, EPS)))


def root(values):
    """Square root of what is positive of it."""
    return np.sqrt(np.maximum(values, 0.0))


def plain_features(candles, factor=1):
    """All 67 on one timescale as {name: float64 array}, NaN in the warm-up."""
    minutes = candles.timeframe_minutes * factor
    rows = plain_scale(candles, factor)
    time = [row[0] for row in rows]
    o, h, l, c = (np.array(column) for column in spliced(time, rows, minutes * MINUTE))  # noqa: E741
    v = np.array([row[5] for row in rows])
    atr = np.array(_average_true_range(h.tolist(), l.tolist(), c.tolist()))
    r = np.log(c / earlier(c))
    r = np.where(np.abs(r) <= SAME, 0.0, r)
    s = {n: np.maximum(np.sqrt(mean(r * r, n)), EPS) for n in (12, 48, 288)}
    usual_volume = mean(v, 288)
    with np.errstate(divide="ignore"):
        log_volume = np.where(usual_volume == 0, 0.0, np.log(v + 0.001 * usual_volume))
    out = {
        **_core_technical(o, h, l, c, atr),
        **_order_flow(time, h, l, c, v, r, s, usual_volume, log_volume),
        **_microstructure(o, h, l, c, v, r, s),
        **_volatility(o, h, l, c, r, s, atr),
        **_support_resistance(time, h, l, c, s, atr),
        **_momentum_trend(c, r, s, atr),
        **_clock(time, minutes),
    }
    for name, bars in warm_ups(1440 // minutes).items():
        out[name] = np.array(out[name], dtype=float)
        out[name][:bars] = NAN
    return {name: out[name] for name in NAMES}


NAMES = (
    *("rsi_14", "rsi_42", "macd_line", "macd_signal", "macd_hist", "bb_pctb_20", "bb_width_20"),
    *("stoch_k_14", "stoch_d_14", "cci_20", "adx_14", "di_diff_14"),
    *("vwap_dev_12", "vwap_dev_48", "vwap_dev_288", "vwap_twap_48", "mfi_14", "signed_volume_24"),
    *("cmf_20", "volume_z_48", "volume_tod", "dollar_volume_z_288"),
    *("spread_roll_48", "spread_cs_48", "spread_ar_48", "amihud_48", "kyle_corr_48", "clv", "body"),
    *("wick_asym_12", "spread_pressure_12", "order_imbalance_12", "vpin_48"),
    *("rv_12", "rv_48", "rv_288", "parkinson_12", "parkinson_rel_48", "garman_klass_48"),
    *("rogers_satchell_rel_48", "yang_zhang_288", "natr_14", "jump_share_48", "vol_of_vol_48"),
    "semivar_asym_48",
    *("donch_pos_48", "donch_pos_288", "dist_high_288", "dist_low_288", "pivot_dev", "swing_res"),
    *("swing_sup", "bars_since_high_288"),
    *("ret_1", "ret_3", "ret_12", "ret_48", "ret_288", "ema_slope_48", "efficiency_48"),
    "autocorr1_48",
    *("tod_sin", "tod_cos", "dow_sin", "dow_cos", "funding_clock", "weekend"),
)


def _core_technical(o, h, l, c, atr):  # noqa: E741
    line, signal = (np.array(part) for part in _macd(c.tolist()))
    middle, sigma = mean(c, 20), deviation(c, 20)
    stoch = _place(c, lowest(l, 14), highest(h, 14))
    adx, direction = _directional(h.tolist(), l.tolist(), c.tolist())
    return {
        "rsi_14": _relative_strength(c.tolist(), 14),
        "rsi_42": _relative_strength(c.tolist(), 42),
        "macd_line": line / atr,
        "macd_signal": signal / atr,
        "macd_hist": (line - signal) / atr,
        "bb_pctb_20": (c - middle) / (2 * np.maximum(sigma, EPS * c)),
        "bb_width_20": floored(4 * sigma / middle),
        "stoch_k_14": stoch,
        "stoch_d_14": mean(stoch, 3),
        "cci_20": over((h + l + c) / 3, 20, _commodity_channel),
        "adx_14": adx,
        "di_diff_14": direction,
    }


def _commodity_channel(windows):
    distance = windows[:, -1] - windows.mean(axis=1)
    usual = np.abs(windows - windows.mean(axis=1, keepdims=True)).mean(axis=1)
    still = windows.max(axis=1) - windows.min(axis=1) <= SAME * windows.max(axis=1)
    return np.where(still, 0.0, distance / (0.015 * np.where(still, 1.0, usual)) / 100)


def _place(c, bottom, top):
    still = top - bottom <= SAME * top
    return np.where(still, 0.0, 2 * (c - bottom) / np.where(still, 1.0, top - bottom) - 1)


def _order_flow(time, h, l, c, v, r, s, usual_volume, log_volume):  # noqa: E741
    tp = (h + l + c) / 3
    twap = {n: mean(tp, n) for n in (12, 48, 288)}
    vwap = {
        n: np.where(total(v, n) == 0, twap[n], over_zero(total(tp * v, n), total(v, n)))
        for n in (12, 48, 288)
    }
    step = tp - earlier(tp)
    tie = np.abs(step) <= 1e-12 * tp
    up = total(np.where((step > 0) & ~tie, tp * v, 0.0), 14)
    down = total(np.where((step < 0) & ~tie, tp * v, 0.0), 14)
    location = over_zero(2 * c - h - l, h - l)
    return {
        "vwap_dev_12": np.log(c / vwap[12]) / (s[48] * math.sqrt(12)),
        "vwap_dev_48": np.log(c / vwap[48]) / (s[48] * math.sqrt(48)),
        "vwap_dev_288": np.log(c / vwap[288]) / (s[288] * math.sqrt(288)),
        "vwap_twap_48": np.log(vwap[48] / twap[48]) / (s[48] * math.sqrt(48)),
        "mfi_14": over_zero(up - down, up + down),
        "signed_volume_24": over_zero(total(np.sign(r) * v, 24), total(v, 24)),
        "cmf_20": over_zero(total(location * v, 20), total(v, 20)),
        "volume_z_48": z_score(log_volume, 48),
        "volume_tod": _volume_at_this_time(time, v, usual_volume),
        "dollar_volume_z_288": z_score(np.log(c) + log_volume, 288),
    }


def _volume_at_this_time(time, v, usual_volume):
    volume_at = dict(zip(time, v.tolist(), strict=True))
    out = []
    for t in range(len(time)):
        before = [volume_at.get(time[t] - day * DAY) for day in range(1, 8)]
        before = [volume for volume in before if volume is not None]
        e = 0.001 * usual_volume[t]
        fine = len(before) >= 3 and e > 0
        out.append(math.log((v[t] + e) / (float(np.median(before)) + e)) if fine else 0.0)
    return out


def _microstructure(o, h, l, c, v, r, s):  # noqa: E741
    before = earlier(r)
    covariance = mean(r * before, 48) - mean(r, 48) * mean(before, 48)
    beta = np.log(h / l) ** 2 + np.log(earlier(h) / earlier(l)) ** 2
    gamma = np.log(np.maximum(h, earlier(h)) / np.minimum(l, earlier(l))) ** 2
    q = 3 - 2 * math.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / q - np.sqrt(gamma / q)
    spread = 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))
    m = (np.log(h) + np.log(l)) / 2
    last = np.log(earlier(c))
    usual = mean(c * v, 288)
    with np.errstate(divide="ignore"):
        illiquid = np.log(total(np.abs(r), 48) + 48 * EPS) - np.log(
            total(c * v, 48) + 0.048 * usual
        )
    bulk = [x * math.erf(y / math.sqrt(2)) for x, y in zip(v, r / s[48], strict=True)]
    return {
        "spread_roll_48": 2 * root(-covariance) / s[288],
        "spread_cs_48": mean(np.maximum(spread, 0.0), 48) / s[48],
        "spread_ar_48": root(mean(4 * (last - earlier(m)) * (last - m), 48)) / s[48],
        "amihud_48": z_score(np.where(usual == 0, 0.0, illiquid), 288),
        "kyle_corr_48": correlation(r, np.sign(r) * np.sqrt(c * v), 48),
        "clv": over_zero(2 * c - h - l, h - l),
        "body": over_zero(c - o, h - l),
        "wick_asym_12": over_zero(total(o + c - h - l, 12), total(h - l, 12)),
        "spread_pressure_12": over_zero(total(2 * c - h - l, 12), total(h - l, 12)),
        "order_imbalance_12": over_zero(total(bulk, 12), total(v, 12)),
        "vpin_48": over_zero(total(np.abs(bulk), 48), total(v, 48)),
    }


def _volatility(o, h, l, c, r, s, atr):  # noqa: E741
    square_range, square_body = np.log(h / l) ** 2, np.log(c / o) ** 2
    pk = {n: np.sqrt(mean(square_range, n) / (4 * math.log(2))) for n in (12, 48)}
    u = np.log(h / c) * np.log(h / o) + np.log(l / c) * np.log(l / o)
    opening = deviation(np.log(o / earlier(c)), 288, ddof=1) ** 2
    bodies = deviation(np.log(c / o), 288, ddof=1) ** 2
    k = 0.34 / (1.34 + 289 / 287)
    klass = mean(square_range / 2 - (2 * math.log(2) - 1) * square_body, 48)
    variance, bipower = mean(r * r, 48), mean(np.abs(r) * np.abs(earlier(r)), 48)
    still = variance <= EPS * EPS
    share = 1 - math.pi / 2 * bipower / np.where(still, 1.0, variance)
    up, down = total(np.where(r > 0, r * r, 0.0), 48), total(np.where(r < 0, r * r, 0.0), 48)
    return {
        **{f"rv_{n}": np.log(s[n]) for n in (12, 48, 288)},
        "parkinson_12": floored(pk[12]),
        "parkinson_rel_48": floored(pk[48]) - np.log(s[48]),
        "garman_klass_48": floored(root(klass)),
        "rogers_satchell_rel_48": floored(root(mean(u, 48))) - np.log(s[48]),
        "yang_zhang_288": floored(root(opening + k * bodies + (1 - k) * mean(u, 288))),
        "natr_14": np.log(atr / c),
        "jump_share_48": np.where(still, 0.0, np.clip(share, 0, 1)),
        "vol_of_vol_48": deviation(np.log(s[12]), 48),
        "semivar_asym_48": over_zero(up - down, up + down),
    }


def _support_resistance(time, h, l, c, s, atr):  # noqa: E741
    return {
        "donch_pos_48": _place(c, lowest(l, 48), highest(h, 48)),
        "donch_pos_288": _place(c, lowest(l, 288), highest(h, 288)),
        "dist_high_288": np.log(c / highest(h, 288)) / (s[288] * math.sqrt(288)),
        "dist_low_288": np.log(c / lowest(l, 288)) / (s[288] * math.sqrt(288)),
        "pivot_dev": _pivot(time, h, l, c),
        "swing_res": _swing((-h).tolist(), (-c).tolist(), atr),
        "swing_sup": _swing(l.tolist(), c.tolist(), atr),
        "bars_since_high_288": over(h, 288, _since_highest) / 287,
    }


def _pivot(time, h, l, c):  # noqa: E741
    days, out = {}, []
    for t in range(len(time)):
        day = time[t] // DAY
        days.setdefault(day, []).append(t)
        before = [d for d in list(days)[-2:] if d < day]
        if not before:
            out.append(NAN)
            continue
        bars = days[before[-1]]
        top, bottom = max(h[i] for i in bars), min(l[i] for i in bars)
        pivot = (top + bottom + c[bars[-1]]) / 3
        out.append((c[t] - pivot) / max(top - bottom, EPS * c[t]))
    return out


def _swing(low, close, atr):
    level, out = None, []
    for t in range(len(low)):
        j = t - 5
        if j >= 5:
            floor = min(low[j - 5 : j + 6])
            if low[j] <= floor + SAME * abs(floor):
                level = low[j]
        # A still market has a range of its own floor, so nothing is divided by zero.
        distance = 0.0 if level is None else (close[t] - level) / atr[t]
        out.append(min(10.0, max(-10.0, distance)))
    return out


def _since_highest(windows):
    at_top = windows >= (1 - SAME) * windows.max(axis=1, keepdims=True)
    return np.argmax(at_top[:, ::-1], axis=1)


def _momentum_trend(c, r, s, atr):
    mean_48 = np.array(smooth(c.tolist(), 48, 0, 2 / 49))
    returns = {
        f"ret_{n}": np.log(c / earlier(c, n)) / (s[288 if n == 288 else 48] * math.sqrt(n))
        for n in (1, 3, 12, 48, 288)
    }
    return {
        **returns,
        "ema_slope_48": (mean_48 - earlier(mean_48, 12)) / atr,
        "efficiency_48": over_zero(np.abs(total(r, 48)), total(np.abs(r), 48)),
        "autocorr1_48": correlation(r, earlier(r), 48),
    }


def _clock(time, minutes):
    closes = [opened // MINUTE + minutes for opened in time]
    # 1970-01-05 was a Monday.
    week = [(minute - 4 * 1440) % 10080 / 1440 for minute in closes]
    return {
        "tod_sin": [math.sin(2 * math.pi * (m % 1440) / 1440) for m in closes],
        "tod_cos": [math.cos(2 * math.pi * (m % 1440) / 1440) for m in closes],
        "dow_sin": [math.sin(2 * math.pi * d / 7) for d in week],
        "dow_cos": [math.cos(2 * math.pi * d / 7) for d in week],
        "funding_clock": [1 - m % 480 / 480 for m in closes],
        "weekend": [1.0 if d >= 5 else 0.0 for d in week],
    }


def _relative_strength(close, periods):
    gains = [0.0] + [max(close[t] - close[t - 1], 0.0) for t in range(1, len(close))]
    losses = [0.0] + [max(close[t - 1] - close[t], 0.0) for t in range(1, len(close))]
    up, down = (smooth(x, periods, 1, 1 / periods) for x in (gains, losses))
    out, moved = [], False
    for t in range(len(close)):
        moved = moved or abs(close[t] - close[0]) > SAME * close[0]
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
    return line, signal


def _directional(high, low, close):
    plus, minus, ranges = [0.0], [0.0], [0.0]
    for t in range(1, len(close)):
        up, down = high[t] - high[t - 1], low[t - 1] - low[t]
        tie = abs(up - down) <= 1e-9 * close[t]
        plus.append(up if up > 0 and up > down and not tie else 0.0)
        minus.append(down if down > 0 and down > up and not tie else 0.0)
        ranges.append(
            max(high[t] - low[t], abs(high[t] - close[t - 1]), abs(low[t] - close[t - 1]))
        )
    sums = [math.fsum(x[:14]) for x in (plus, minus, ranges)]
    strength, difference = [], [NAN] * min(14, len(close))
    for t in range(14, len(close)):
        sums = [x * 13 / 14 + new[t] for x, new in zip(sums, (plus, minus, ranges), strict=True)]
        both = sums[0] + sums[1]
        strength.append(abs(sums[0] - sums[1]) / both if both else NAN)
        difference.append((sums[0] - sums[1]) / sums[2] if sums[2] else 0.0)
    first = [0.0 if math.isnan(x) else x for x in strength[:14]]
    out = [NAN] * 27 + [math.fsum(first) / 14]
    for value in strength[14:]:
        out.append(out[-1] if math.isnan(value) else (13 * out[-1] + value) / 14)
    return out[: len(close)], difference
