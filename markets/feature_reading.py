"""Computed features of sealed candles for pages and the API, read from the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from django.conf import settings

from markets.features.cache import INDEX, DamagedCache, cache_key, load_scale
from markets.features.registry import CODE_VERSION, FEATURE_SETS, automatic_scales
from markets.features.table import ScaleFeatures
from markets.models import DatasetVersion, FeatureReport
from markets.reading import CandleRange, ns_of
from markets.specs import TIMEFRAME_MINUTES

NAMES = FEATURE_SETS["all-67"]


def scales_of(version: DatasetVersion) -> tuple[int, ...]:
    """The timescales on which the features of a version are computed, in base bars."""
    return automatic_scales(version.dataset.timeframe_minutes)


def bar_name(version: DatasetVersion, factor: int) -> str:
    """The length of a bar of a timescale: a timeframe such as 1h, or minutes such as 45m."""
    minutes = version.dataset.timeframe_minutes * factor
    names = {value: name for name, value in TIMEFRAME_MINUTES.items()}
    return names.get(minutes, f"{minutes}m")


def report_of(version: DatasetVersion) -> FeatureReport | None:
    """What the features of this code version are, with the job that computes or computed them."""
    reports = FeatureReport.objects.filter(version=version, code_version=str(CODE_VERSION))
    return reports.select_related("job").first()


def is_stored(version: DatasetVersion) -> bool:
    """Whether the cache of this machine holds all timescales."""
    return all((_entry(version, k) / INDEX).is_file() for k in scales_of(version))


def stored_scale(
    version: DatasetVersion, factor: int, *, verified: bool = False
) -> ScaleFeatures | None:
    """All 67 on one timescale as memory maps; None when they are not, or no more, in the cache."""
    try:
        return load_scale(_entry(version, factor), verified=verified)
    except DamagedCache:
        return None


def bars_in(scale: ScaleFeatures, span: CandleRange) -> ScaleFeatures:
    """The bars of a timescale whose open lies in [from_at, to_at); the map to base bars stays."""
    start = np.searchsorted(scale.open_time, ns_of(span.from_at)) if span.from_at else 0
    stop = np.searchsorted(scale.open_time, ns_of(span.to_at)) if span.to_at else None
    part = slice(int(start), None if stop is None else max(int(start), int(stop)))
    return replace(
        scale,
        values=scale.values[:, part],
        open_time=scale.open_time[part],
        close_time=scale.close_time[part],
        gap_before=scale.gap_before[part],
    )


def _entry(version: DatasetVersion, factor: int) -> Path:
    folder: Path = settings.FEATURE_CACHE
    return folder / cache_key(version.sha256, NAMES, factor)
