"""What candles let guess of spreads, liquidity and who pressed. Proxies: there is no order book."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from markets.features.bars import Bars
from markets.features.rolling import (
    SCALE_FLOOR,
    Series,
    lagged,
    ratio,
    rolling_covariance,
    rolling_sum,
    rolling_z_score,
)


def spread_roll_48(bars: Bars) -> Series:
    """Roll's effective spread from the bounce of 48 returns, over s_288; 0 where they trend.

    2·√max(0, −cov(r, r₋₁)). Roll (1984).
    """
    covariance, _ = bars.neighbour_returns
    return 2 * np.sqrt(np.maximum(-covariance, 0.0)) / bars.scale(288)


def spread_cs_48(bars: Bars) -> Series:
    """Spread from the highs and lows of neighbouring bars, mean of 48 with negatives as 0, over s_48.

    Corwin and Schultz (2012), with their 2(e^α − 1)/(1 + e^α) written as 2·tanh(α/2).
    """
    shift = 3 - 2 * np.sqrt(2)
    beta = bars.square_log_range + lagged(bars.square_log_range)
    highest = np.maximum(bars.high, lagged(bars.high))
    lowest = np.minimum(bars.low, lagged(bars.low))
    alpha = (np.sqrt(2) - 1) / shift * np.sqrt(beta) - np.log(highest / lowest) / np.sqrt(shift)
    spread = 2 * np.tanh(np.maximum(alpha, 0.0) / 2)
    return rolling_sum(spread, 48) / 48 / bars.scale(48)


def spread_ar_48(bars: Bars) -> Series:
    """Spread from how far closes lie from the middle of the bars before and after, over s_48.

    √max(0, mean of 48 4(ln C₋₁ − m₋₁)(ln C₋₁ − m)), m the mean of ln H and ln L. Abdi and
    Ranaldo (2017).
    """
    middle = 0.5 * np.log(bars.high * bars.low)
    before = lagged(bars.log_close - middle)
    product = 4 * before * (lagged(bars.log_close) - middle)
    return np.sqrt(np.maximum(rolling_sum(product, 48) / 48, 0.0)) / bars.scale(48)


def amihud_48(bars: Bars) -> Series:
    """Illiquidity of 48 bars: log of moves over money traded, as a z-score over 288 bars.

    A ratio of sums, so bars without volume do no harm. After Amihud (2002).
    """
    usual = rolling_sum(bars.money, 288) / 288
    dead = usual == 0
    moves = np.log(bars.total("absolute_return", 48) + 48 * SCALE_FLOOR)
    money = np.log(np.where(dead, 1.0, rolling_sum(bars.money, 48) + 0.048 * usual))
    return rolling_z_score(np.where(dead, 0.0, moves - money), 288)


def kyle_corr_48(bars: Bars) -> Series:
    """Correlation of 48 returns with the root of the money traded, signed like the return.

    After Kyle (1985): how steadily volume moves the price.
    """
    _, correlation = rolling_covariance(bars.returns, bars.direction * np.sqrt(bars.money), 48)
    return correlation


def clv(bars: Bars) -> Series:
    """Place of the close in the range of its bar, −1 to 1; 0 without a range."""
    return bars.close_location


def body(bars: Bars) -> Series:
    """Body over range of the bar, −1 to 1; 0 without a range."""
    return ratio(bars.close - bars.open, bars.range)


def wick_asym_12(bars: Bars) -> Series:
    """Lower minus upper wicks of 12 bars over their ranges; 0 without a range."""
    wicks = bars.open + bars.close - bars.high - bars.low
    return ratio(rolling_sum(wicks, 12), bars.total("range", 12))


def spread_pressure_12(bars: Bars) -> Series:
    """Place of the close in its bar, weighted with the ranges of 12 bars; 0 without a range."""
    return ratio(rolling_sum(bars.pressure, 12), bars.total("range", 12))


def order_imbalance_12(bars: Bars) -> Series:
    """Bought minus sold share of the volume of 12 bars, classified in bulk; 0 without volume."""
    return ratio(rolling_sum(bars.bulk_imbalance, 12), bars.total("volume", 12))


def vpin_48(bars: Bars) -> Series:
    """Share of one-sided volume in 48 bars of equal time, classified in bulk; 0 without volume.

    After Easley, López de Prado and O'Hara (2012), who use bars of equal volume.
    """
    return ratio(rolling_sum(np.abs(bars.bulk_imbalance), 48), bars.total("volume", 48))


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "spread_roll_48": spread_roll_48,
    "spread_cs_48": spread_cs_48,
    "spread_ar_48": spread_ar_48,
    "amihud_48": amihud_48,
    "kyle_corr_48": kyle_corr_48,
    "clv": clv,
    "body": body,
    "wick_asym_12": wick_asym_12,
    "spread_pressure_12": spread_pressure_12,
    "order_imbalance_12": order_imbalance_12,
    "vpin_48": vpin_48,
}
