"""The body of a resampling: sealed candles in, a sealed version of a longer timeframe out."""

from __future__ import annotations

from typing import Any

from artifacts.store import FileChanged, verified_path
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.frame import Candles, read_candles
from markets.candles.report import candle_quality
from markets.candles.resample import resample_candles
from markets.models import DatasetVersion, Import
from markets.pipeline.sealing import seal_candles
from markets.specs import TIMEFRAME_MINUTES, timeframe_name


def resample_version(row: Import, attempt: RunningAttempt) -> None:
    """Read, join, seal. Raises JobFailed when the base is gone or too short for one coarse bar."""
    base = row.parent
    if base is None:
        raise JobFailed("version_deleted", "The candles to resample were deleted. Choose others.")
    attempt.progress(0.1, "Reading the candles")
    candles = sealed_candles(base)
    factor = TIMEFRAME_MINUTES[row.spec.timeframe] // candles.timeframe_minutes
    coarse = resample_candles(candles, factor)
    if not len(coarse):
        raise JobFailed(
            "no_rows",
            f"No bar of {row.spec.timeframe} has all its {factor} base bars. "
            "Choose a shorter timeframe, or candles of a longer span.",
        )
    report = resampling_report(base, candles, coarse)
    seal_candles(row, coarse, report, attempt, progress=0.6)


def resampling_report(base: DatasetVersion, candles: Candles, coarse: Candles) -> dict[str, Any]:
    """The quality report of resampled candles, which says what they were made from."""
    left_out = len(candles) - len(coarse) * (coarse.timeframe_minutes // candles.timeframe_minutes)
    notice = {
        "code": "resampled",
        "message": f"Made from {base} ({base.dataset.timeframe}, sha256 {base.sha256[:12]}); "
        f"base bars that fill no whole bar of {timeframe_name(coarse.timeframe_minutes)} are left out",
        "count": left_out,
    }
    # What was made by a generator stays labelled so.
    kept = [notice for notice in base.notices if notice["code"] == "synthetic"]
    return {
        "timeframe": timeframe_name(coarse.timeframe_minutes),
        "derived_from": {
            "dataset": base.dataset_id,
            "version": base.number,
            "sha256": base.sha256,
            "timeframe": base.dataset.timeframe,
            "bars_left_out": left_out,
        },
        "rows_read": len(candles),
        "rows_kept": len(coarse),
        "dropped": [],
        "duplicates_dropped": 0,
        **candle_quality(coarse),
        "notices": [notice, *kept],
    }


def sealed_candles(version: DatasetVersion) -> Candles:
    """The candles of a version. Raises JobFailed when its file is not what was sealed."""
    try:
        path = verified_path(version.file)
    except FileChanged as error:
        raise JobFailed(
            "data_changed", f"The candles of {version} have changed: {error}. Import them again."
        ) from error
    return read_candles(path, version.dataset.timeframe_minutes)
