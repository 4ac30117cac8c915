"""The body of an import job: an uploaded file in, a sealed dataset version out."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from artifacts.models import StoredFile
from artifacts.store import (
    FileChanged,
    delete_file,
    scratch_folder,
    store_file,
    verified_path,
)
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.errors import InvalidCandles
from markets.candles.frame import Candles, candles_sha256, write_candles
from markets.candles.report import candle_quality
from markets.candles.synthetic import synthetic_candles
from markets.candles.validation import validate_candles
from markets.models import Dataset, DatasetVersion, Import, Instrument, Source
from markets.sources.reading import read_source
from markets.specs import TIMEFRAME_MINUTES, timeframe_name

DEMO_DAYS = 180
DEMO_SEED = 7


def import_candles(row: Import, attempt: RunningAttempt) -> None:
    """Read, validate, seal. Raises JobFailed with the code of what is wrong in the file."""
    attempt.progress(0.05, "Reading the file")
    candles, report = _candles_of(row)
    attempt.raise_if_stopping()
    attempt.progress(0.6, "Sealing the candles")
    with scratch_folder() as folder:
        path = folder / "candles.parquet"
        write_candles(path, candles)
        attempt.raise_if_stopping()
        with attempt.fenced():
            version = seal_version(row, candles, report, path)
            _forget_upload(row, version)
            attempt.succeed(f"{version.rows} bars, {version.gap_count} gaps.")


def _candles_of(row: Import) -> tuple[Candles, dict[str, Any]]:
    if row.source == Source.SYNTHETIC:
        minutes = TIMEFRAME_MINUTES[row.spec.timeframe]
        candles = synthetic_candles(days=DEMO_DAYS, timeframe_minutes=minutes, seed=DEMO_SEED)
        return candles, _report_of_made(candles)
    try:
        raw = read_source(_upload_of(row), row.sent_name, row.spec)
        return validate_candles(raw, row.spec, time.time_ns())
    except InvalidCandles as error:
        raise JobFailed(error.code, error.message) from error


def _report_of_made(candles: Candles) -> dict[str, Any]:
    notice = {
        "code": "synthetic",
        "message": "Made by a seeded generator; no real market.",
        "count": 1,
    }
    return {
        "timeframe": timeframe_name(candles.timeframe_minutes),
        "rows_read": len(candles),
        "rows_kept": len(candles),
        "dropped": [],
        "duplicates_dropped": 0,
        **candle_quality(candles),
        "notices": [notice],
    }


def _upload_of(row: Import) -> Path:
    if row.upload is None:
        raise JobFailed(
            "upload_expired",
            "The uploaded file was kept for 24 hours and is gone. Upload it again.",
        )
    try:
        return verified_path(row.upload)
    except FileChanged as error:
        raise JobFailed(
            "data_changed", f"The uploaded file has changed: {error}. Upload it again."
        ) from error


def _stored(path: Path, row: Import) -> StoredFile:
    return store_file(
        path,
        workspace_id=row.workspace_id,
        name="candles.parquet",
        media_type="application/vnd.apache.parquet",
    )


def seal_version(
    row: Import, candles: Candles, report: dict[str, Any], path: Path
) -> DatasetVersion:
    """The next version of the instrument's dataset; equal candles give the version there is.

    A version whose file is damaged or gone is no longer there: the candles are sealed again.
    """
    dataset = _dataset_for(row, candles.timeframe_minutes)
    sha256 = candles_sha256(candles)
    same = dataset.versions.filter(sha256=sha256).select_related("file").first()
    if same is not None and _is_whole(same):
        return same
    previous = dataset.versions.order_by("-number").first()
    version = DatasetVersion.objects.create(
        workspace_id=row.workspace_id,
        dataset=dataset,
        number=previous.number + 1 if previous else 1,
        source=row.source,
        sha256=sha256,
        file=_stored(path, row),
        rows=len(candles),
        first_at=_instant(candles.time[0]),
        last_at=_instant(candles.time[-1]),
        gap_count=report["gap_count"],
        missing_bars=report["missing_bars"],
        zero_volume_bars=report["zero_volume_bars"],
        duplicates_dropped=report["duplicates_dropped"],
        notices=report["notices"],
        report=report,
    )
    Dataset.objects.filter(pk=dataset.pk).update(latest=version)
    return version


def _is_whole(version: DatasetVersion) -> bool:
    try:
        verified_path(version.file)
    except FileChanged:
        return False
    return True


def _dataset_for(row: Import, timeframe_minutes: int) -> Dataset:
    spec = row.spec
    instrument, _ = Instrument.objects.get_or_create(
        workspace_id=row.workspace_id, venue=spec.venue, symbol=spec.symbol, kind=spec.kind
    )
    # Locked, so that two imports of one instrument get two version numbers.
    Instrument.objects.select_for_update().get(pk=instrument.pk)
    dataset, _ = Dataset.objects.get_or_create(
        workspace_id=row.workspace_id,
        instrument=instrument,
        timeframe_minutes=timeframe_minutes,
        defaults={"name": "", "created_by_id": row.created_by_id},
    )
    if not dataset.name:
        dataset.name = f"{spec.symbol} {dataset.timeframe}"
        dataset.save(update_fields=["name"])
    return dataset


def _forget_upload(row: Import, version: DatasetVersion) -> None:
    upload = row.upload
    row.version, row.upload = version, None
    row.save(update_fields=["version", "upload"])
    if upload is not None:
        delete_file(upload)


def _instant(time_ns: int) -> datetime:
    return datetime.fromtimestamp(int(time_ns) / 1e9, timezone.utc)
