"""Candles to a sealed dataset version."""

from __future__ import annotations

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
from markets.candles.difference import diff_candles
from markets.candles.frame import Candles, candles_sha256, read_candles, write_candles
from markets.candles.quality import counted, findings
from markets.models import Dataset, DatasetVersion, Import, Instrument, Source


def _stored(path: Path, row: Import) -> StoredFile:
    return store_file(
        path,
        workspace_id=row.workspace_id,
        name="candles.parquet",
        media_type="application/vnd.apache.parquet",
    )


def seal_candles(
    row: Import,
    candles: Candles,
    report: dict[str, Any],
    attempt: RunningAttempt,
    *,
    progress: float,
) -> None:
    """Write and seal what an import found, end its attempt well and let its upload go.

    `progress` is the share of the work that is done before.
    """
    attempt.raise_if_stopping()
    attempt.progress(progress, "Sealing the candles")
    with scratch_folder() as folder:
        path = folder / "candles.parquet"
        write_candles(path, candles)
        attempt.raise_if_stopping()
        with attempt.fenced():
            version = seal_version(row, candles, report, path)
            text = _text_of(row, version)
            upload = row.upload
            row.version, row.upload = version, None
            row.save(update_fields=["version", "upload", "spec"])
            if upload is not None:
                delete_file(upload)
            attempt.succeed(text)


def seal_version(
    row: Import, candles: Candles, report: dict[str, Any], path: Path
) -> DatasetVersion:
    """The next version of the instrument's dataset; equal candles give the version there is.

    A version whose file is damaged or gone is no longer there: the candles are sealed again. What
    changed against the version before it is stored beside the candles, and noticed where old bars
    are not what they were.
    """
    dataset = _dataset_for(row, candles.timeframe_minutes)
    sha256 = candles_sha256(candles)
    same = dataset.versions.filter(sha256=sha256).select_related("file").first()
    if same is not None and _is_whole(same):
        return same
    previous = dataset.versions.select_related("file").order_by("-number").first()
    difference = _difference(previous, candles)
    report = {**report, "notices": [*report["notices"], *_changed_history(previous, difference)]}
    number = 1 + max(dataset.last_number, previous.number if previous else 0)
    version = DatasetVersion.objects.create(
        workspace_id=row.workspace_id,
        dataset=dataset,
        number=number,
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
        difference=difference,
        parent=row.parent if row.source == Source.RESAMPLED else None,
        findings=[finding.to_json() for finding in findings(report)],
    )
    Dataset.objects.filter(pk=dataset.pk).update(latest=version, last_number=number)
    return version


def _text_of(row: Import, version: DatasetVersion) -> str:
    """What a finished job says about the version it ended at. Ask before the row points at it."""
    if version.imports.exclude(pk=row.pk).exists():
        return f"The candles are those of {version}, which is kept; no new version was made."
    return f"{counted(version.rows, 'bar')}, {counted(version.gap_count, 'gap')}."


def _difference(previous: DatasetVersion | None, candles: Candles) -> dict[str, Any] | None:
    if previous is None:
        return None
    try:
        path = verified_path(previous.file)
    except FileChanged:
        return None
    return diff_candles(read_candles(path, candles.timeframe_minutes), candles)


def _changed_history(
    previous: DatasetVersion | None, difference: dict[str, Any] | None
) -> list[dict[str, Any]]:
    if previous is None or difference is None:
        return []
    changed, vanished = difference["overlap"]["changed"], difference["removed_inside"]
    if not changed + vanished:
        return []
    message = f"Bars of v{previous.number} are not what they were: {changed} changed, {vanished} vanished."
    return [{"code": "history_changed", "message": message, "count": changed + vanished}]


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


def _instant(time_ns: int) -> datetime:
    return datetime.fromtimestamp(int(time_ns) / 1e9, timezone.utc)
