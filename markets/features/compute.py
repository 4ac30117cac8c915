"""From candles to the feature table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles, candles_sha256
from markets.features import (
    clock,
    core_technical,
    microstructure,
    momentum_trend,
    order_flow,
    support_resistance,
    volatility,
)
from markets.features.bars import Bars
from markets.features.cache import DamagedCache, cache_key, load_scale, store_scale
from markets.features.registry import FEATURES
from markets.features.rolling import Series
from markets.features.scales import candles_at_scale, last_closed_bar
from markets.features.table import FeatureTable as FeatureTable
from markets.features.table import ScaleFeatures as ScaleFeatures

logger = logging.getLogger(__name__)

FUNCTIONS: Mapping[str, Callable[[Bars], Series]] = {
    **core_technical.FUNCTIONS,
    **order_flow.FUNCTIONS,
    **microstructure.FUNCTIONS,
    **volatility.FUNCTIONS,
    **support_resistance.FUNCTIONS,
    **momentum_trend.FUNCTIONS,
    **clock.FUNCTIONS,
}


def compute_features(
    candles: Candles,
    names: Sequence[str],
    scales: Sequence[int],
    *,
    cache: Path | None = None,
    data_sha256: str | None = None,
) -> FeatureTable:
    """The named features on each timescale (factors of the base bar).

    Every value at a bar is made from bars closed by then; the first `warm_up` values of a feature
    are NaN, all later ones finite. With `cache`, tables are read from that folder or computed and
    written there; `data_sha256` is the checksum of exactly these candles (computed when not given).
    Raises KeyError for a feature that is not registered.
    """
    names = tuple(names)
    if cache is None:
        return FeatureTable(names, {k: compute_scale(candles, names, k) for k in scales})
    checksum = data_sha256 or candles_sha256(candles)
    cached = {
        k: _cached_scale(candles, names, k, cache / cache_key(checksum, names, k)) for k in scales
    }
    return FeatureTable(names, cached)


def compute_scale(candles: Candles, names: Sequence[str], factor: int) -> ScaleFeatures:
    """The named features on the bars that are `factor` base bars long, computed anew on those bars."""
    coarse = candles_at_scale(candles, factor)
    return ScaleFeatures(
        factor=factor,
        values=_feature_matrix(coarse, names),
        open_time=coarse.time,
        close_time=coarse.close_time,
        gap_before=coarse.gap_before,
        last_closed=last_closed_bar(candles, coarse),
    )


def _feature_matrix(candles: Candles, names: Sequence[str]) -> NDArray[np.float32]:
    bars = Bars(candles)
    values = np.empty((len(names), len(candles)), dtype=np.float32)
    for row, name in enumerate(names):
        warm_up = FEATURES[name].warm_up_bars(candles.timeframe_minutes)
        values[row, :warm_up] = np.nan
        if warm_up < len(candles):
            values[row, warm_up:] = FUNCTIONS[name](bars)[warm_up:]
    return values


def _cached_scale(
    candles: Candles, names: tuple[str, ...], factor: int, folder: Path
) -> ScaleFeatures:
    if folder.exists():
        try:
            return load_scale(folder)
        except DamagedCache as error:
            logger.warning("feature cache %s is damaged (%s); computing again", folder.name, error)
    computed = compute_scale(candles, names, factor)
    store_scale(computed, folder)
    try:
        return load_scale(folder)
    except DamagedCache:  # evicted since it was written
        return computed
