"""How much prices move. Logs of returns, so free of the price level but not of the timeframe."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from markets.features.bars import Bars
from markets.features.rolling import (
    SCALE_FLOOR,
    Series,
    lagged,
    log_root_at_least_floor,
    ratio,
    rolling_mean_deviation,
    rolling_sum,
)


def rv_12(bars: Bars) -> Series:
    """ln s_12: log of the root mean square of the last 12 returns, at least ln 1e-6."""
    return np.log(bars.scale(12))


def rv_48(bars: Bars) -> Series:
    """ln s_48: log of the root mean square of the last 48 returns, at least ln 1e-6."""
    return np.log(bars.scale(48))


def rv_288(bars: Bars) -> Series:
    """ln s_288: log of the root mean square of the last 288 returns, at least ln 1e-6."""
    return np.log(bars.scale(288))


def parkinson_12(bars: Bars) -> Series:
    """Log volatility from the ranges of 12 bars, at least ln 1e-6. Parkinson (1980)."""
    return _parkinson(bars, 12)


def parkinson_rel_48(bars: Bars) -> Series:
    """Log volatility from the ranges of 48 bars relative to that from their returns."""
    return _parkinson(bars, 48) - rv_48(bars)


def garman_klass_48(bars: Bars) -> Series:
    """Log volatility from ranges and bodies of 48 bars, at least ln 1e-6. Garman and Klass (1980)."""
    square = 0.5 * bars.square_log_range - (2 * np.log(2) - 1) * bars.log_body * bars.log_body
    return log_root_at_least_floor(rolling_sum(square, 48) / 48)


def rogers_satchell_rel_48(bars: Bars) -> Series:
    """Log volatility of 48 bars that a trend leaves alone, relative to that from their returns.

    Rogers and Satchell (1991).
    """
    return log_root_at_least_floor(rolling_sum(bars.trendless_square, 48) / 48) - rv_48(bars)


def yang_zhang_288(bars: Bars) -> Series:
    """Log volatility of 288 bars from opening moves, bodies and trendless ranges, at least ln 1e-6.

    The two variances have ddof 1. Yang and Zhang (2000).
    """
    to_sample = 288 / 287
    share = 0.34 / (1.34 + 289 / 287)
    _, opening = rolling_mean_deviation(np.log(bars.open / lagged(bars.close)), 288)
    _, bodies = rolling_mean_deviation(bars.log_body, 288)
    square = to_sample * (opening * opening + share * bodies * bodies)
    return log_root_at_least_floor(
        square + (1 - share) * rolling_sum(bars.trendless_square, 288) / 288
    )


def natr_14(bars: Bars) -> Series:
    """Log of the average true range over 14 bars relative to the close, at least ln 1e-6."""
    return np.log(bars.average_true_range / bars.close)


def jump_share_48(bars: Bars) -> Series:
    """Share of the variance of 48 bars that came in single jumps, 0 to 1; 0 in a still market.

    1 − bipower over realised variation. Barndorff-Nielsen and Shephard (2004).
    """
    square = bars.total("square_return", 48) / 48
    still = square <= SCALE_FLOOR * SCALE_FLOOR
    bipower = rolling_sum(bars.absolute_return * lagged(bars.absolute_return), 48) / 48
    share = 1 - 0.5 * np.pi * bipower / np.where(still, 1.0, square)
    return np.where(still, 0.0, np.clip(share, 0.0, 1.0))


def vol_of_vol_48(bars: Bars) -> Series:
    """Standard deviation of the last 48 ln s_12."""
    _, deviation = rolling_mean_deviation(rv_12(bars), 48)
    return deviation


def semivar_asym_48(bars: Bars) -> Series:
    """Upward minus downward share of the squared returns of 48 bars; 0 in a still market."""
    signed = rolling_sum(bars.direction * bars.square_return, 48)
    return ratio(signed, bars.total("square_return", 48))


def _parkinson(bars: Bars, count: int) -> Series:
    return log_root_at_least_floor(
        rolling_sum(bars.square_log_range, count) / (4 * np.log(2) * count)
    )


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "rv_12": rv_12,
    "rv_48": rv_48,
    "rv_288": rv_288,
    "parkinson_12": parkinson_12,
    "parkinson_rel_48": parkinson_rel_48,
    "garman_klass_48": garman_klass_48,
    "rogers_satchell_rel_48": rogers_satchell_rel_48,
    "yang_zhang_288": yang_zhang_288,
    "natr_14": natr_14,
    "jump_share_48": jump_share_48,
    "vol_of_vol_48": vol_of_vol_48,
    "semivar_asym_48": semivar_asym_48,
}
