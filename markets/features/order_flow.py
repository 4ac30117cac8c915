"""What candles say about traded volume. Proxies: candles do not tell who bought."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markets.features.bars import Bars
from markets.features.rolling import Series, rolling_z_score


def volume_z_48(bars: Bars) -> Series:
    """Log volume as a z-score over its last 48 bars; 0 in a market without volume."""
    return rolling_z_score(bars.log_volume, 48)


FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {"volume_z_48": volume_z_48}
