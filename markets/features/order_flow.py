"""What candles say about traded volume. Proxies: candles do not tell who bought."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray

from markets.features.bars import DAY_NS, Bars
from markets.features.rolling import (
    Series,
    ratio,
    rolling_sum,
    rolling_z_score,
)

DAYS_BEFORE = 7
LEAST_DAYS = 3


def vwap_dev_12(bars: Bars) -> Series:
    """Log distance of the close from the volume-weighted price of 12 bars, over s_48·√12."""
    return _distance_from_vwap(bars, 12, 48)


def vwap_dev_48(bars: Bars) -> Series:
    """Log distance of the close from the volume-weighted price of 48 bars, over s_48·√48."""
    return _distance_from_vwap(bars, 48, 48)


def vwap_dev_288(bars: Bars) -> Series:
    """Log distance of the close from the volume-weighted price of 288 bars, over s_288·√288."""
    return _distance_from_vwap(bars, 288, 288)


def vwap_twap_48(bars: Bars) -> Series:
    """Log distance of the volume-weighted from the time-weighted price of 48 bars, over s_48·√48.

    Above 0 where volume traded at the higher prices; 0 without volume.
    """
    time_weighted = bars.total("typical", 48) / 48
    return np.log(_vwap(bars, 48) / time_weighted) / (bars.scale(48) * np.sqrt(48))


def mfi_14(bars: Bars) -> Series:
    """Money flow of 14 bars from −1 (all falling) to 1; 0 where none flowed.

    TA-Lib's MFI/50 − 1, but a typical price that moves by at most 1e-12 does not flow either way,
    and a flow below 1 counts.
    """
    flow = bars.typical_direction * bars.typical_money
    net = rolling_sum(flow, 14)
    return ratio(net, rolling_sum(np.abs(flow, out=flow), 14))


def signed_volume_24(bars: Bars) -> Series:
    """Volume of rising minus volume of falling closes, as a share of the volume of 24 bars."""
    return ratio(rolling_sum(bars.direction * bars.volume, 24), bars.total("volume", 24))


def cmf_20(bars: Bars) -> Series:
    """Chaikin's money flow: mean place of the close in its bar, weighted with volume; 20 bars."""
    return ratio(rolling_sum(bars.close_location * bars.volume, 20), bars.total("volume", 20))


def volume_z_48(bars: Bars) -> Series:
    """Log volume as a z-score over its last 48 bars; 0 in a market without volume."""
    return rolling_z_score(bars.log_volume, 48)


def volume_tod(bars: Bars) -> Series:
    """Log of the volume over the median volume at the same time of the seven days before.

    Only bars that exist count; 0 where fewer than three do or 288 bars had no volume.
    """
    usual, known = _median_of_days_before(bars.candles.time, bars.volume)
    least = 0.001 * bars.mean_volume
    silent = (known < LEAST_DAYS) | (least == 0)
    return np.log(np.where(silent, 1.0, (bars.volume + least) / np.where(silent, 1, usual + least)))


def dollar_volume_z_288(bars: Bars) -> Series:
    """Log of the money traded as a z-score over its last 288 bars."""
    return rolling_z_score(bars.log_close + bars.log_volume, 288)


def _vwap(bars: Bars, count: int) -> Series:
    """Volume-weighted typical price; the plain mean where there is no volume."""
    volume = bars.total("volume", count)
    weighted = rolling_sum(bars.typical_money, count) / np.where(volume == 0, 1.0, volume)
    if not np.any(volume == 0):
        return weighted
    return np.where(volume == 0, bars.total("typical", count) / count, weighted)


def _distance_from_vwap(bars: Bars, count: int, scale_bars: int) -> Series:
    distance = np.log(bars.close / _vwap(bars, count))
    return np.divide(distance, bars.scale(scale_bars) * np.sqrt(count))


@njit(cache=True)
def _median_of_days_before(
    time: NDArray[np.int64], volume: Series
) -> tuple[Series, NDArray[np.int64]]:
    """Median volume of the bars opened exactly 1 to 7 days earlier, and how many of them exist."""
    median = np.zeros(volume.size)
    known = np.zeros(volume.size, dtype=np.int64)
    place = np.zeros(DAYS_BEFORE, dtype=np.int64)
    found = np.zeros(DAYS_BEFORE)
    for t in range(volume.size):
        count = 0
        for day in range(DAYS_BEFORE):
            wanted = time[t] - (day + 1) * DAY_NS
            while time[place[day]] < wanted:
                place[day] += 1
            if time[place[day]] != wanted:
                continue
            value = volume[place[day]]
            spot = count  # insertion keeps the few values in order
            while spot > 0 and found[spot - 1] > value:
                found[spot] = found[spot - 1]
                spot -= 1
            found[spot] = value
            count += 1
        known[t] = count
        if count > 0:
            median[t] = 0.5 * (found[(count - 1) // 2] + found[count // 2])
    return median, known


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    "vwap_dev_12": vwap_dev_12,
    "vwap_dev_48": vwap_dev_48,
    "vwap_dev_288": vwap_dev_288,
    "vwap_twap_48": vwap_twap_48,
    "mfi_14": mfi_14,
    "signed_volume_24": signed_volume_24,
    "cmf_20": cmf_20,
    "volume_z_48": volume_z_48,
    "volume_tod": volume_tod,
    "dollar_volume_z_288": dollar_volume_z_288,
}
