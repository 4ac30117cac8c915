"""The sealed candles of a version, as a job reads them."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np

from artifacts.store import FileChanged, verified_path
from jobs.exits import failed
from jobs.statuses import ExitKind
from markets.candles.frame import Candles, candles_sha256, read_candles
from markets.models import DatasetVersion
from markets.reading import ns_of
from modeling.models import TrainingRun


def candles_of(run: TrainingRun, version: DatasetVersion) -> Candles:
    """The candles the spec uses, ending at the sealed hold-out: nothing behind it is even read on."""
    candles = sealed_candles(version)
    data = run.experiment.model_spec.data
    first, last = data.within(version.first_at, version.last_at + version.bar)
    return closed_within(candles, first, min(last, run.experiment.holdout_at))


def sealed_candles(version: DatasetVersion) -> Candles:
    """All candles of a version, proved to be those that were sealed."""
    try:
        candles = read_candles(verified_path(version.file), version.dataset.timeframe_minutes)
    except FileChanged as error:
        raise failed(ExitKind.DATA_CHANGED, version=version.number) from error
    if candles_sha256(candles) != version.sha256:
        raise failed(ExitKind.DATA_CHANGED, version=version.number)
    return candles


def closed_within(candles: Candles, first: datetime, until: datetime) -> Candles:
    """Candles that open at `first` or later and close by `until`."""
    last = ns_of(until) - candles.bar_ns + 1
    start, stop = np.searchsorted(candles.time, (ns_of(first), last))
    return candles.slice(int(start), max(int(start), int(stop)))


def instant(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, timezone.utc)
