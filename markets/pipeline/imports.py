"""The bodies of detect and import jobs: an uploaded file in, a preview or a sealed version out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from artifacts.store import FileChanged, verified_path
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.errors import InvalidCandles
from markets.candles.frame import Candles
from markets.candles.report import candle_quality
from markets.candles.synthetic import synthetic_candles
from markets.candles.validation import validate_candles
from markets.models import Import, Source
from markets.pipeline.sealing import seal_candles
from markets.sources.preview import Preview, preview_source
from markets.sources.reading import read_source
from markets.specs import TIMEFRAME_MINUTES, UPLOAD_GONE, timeframe_name

DEMO_DAYS = 180
DEMO_SEED = 7


def detect_settings(row: Import, attempt: RunningAttempt) -> None:
    """Read the head of the file and keep what it says; a head that would be refused is no failure."""
    attempt.progress(0.1, "Reading the head of the file")
    preview = _preview_of(row, _upload_of(row))
    attempt.raise_if_stopping()
    with attempt.fenced():
        _keep_preview(row, preview)
        attempt.succeed(_preview_text(preview))


def import_candles(row: Import, attempt: RunningAttempt) -> None:
    """Read, validate, seal. Raises JobFailed with the code of what is wrong in the file."""
    attempt.progress(0.05, "Reading the file")
    candles, report = _candles_of(row, attempt)
    seal_candles(row, candles, report, attempt, progress=0.6)


def _candles_of(row: Import, attempt: RunningAttempt) -> tuple[Candles, dict[str, Any]]:
    if row.source == Source.SYNTHETIC:
        minutes = TIMEFRAME_MINUTES[row.spec.timeframe]
        candles = synthetic_candles(days=DEMO_DAYS, timeframe_minutes=minutes, seed=DEMO_SEED)
        return candles, _report_of_made(candles)
    path = _upload_of(row)
    try:
        raw = read_source(path, row.sent_name, row.spec)
        return validate_candles(raw, row.spec, time.time_ns())
    except InvalidCandles as error:
        # The page of the failure shows the head, so that the mapping can be corrected.
        preview = _preview_of(row, path)
        with attempt.fenced():
            _keep_preview(row, preview)
        raise JobFailed(error.code, error.message) from error


def _preview_of(row: Import, path: Path) -> Preview:
    return preview_source(path, row.sent_name, row.spec, now_ns=time.time_ns())


def _keep_preview(row: Import, preview: Preview) -> None:
    row.preview = preview.to_json()
    row.save(update_fields=["preview"])


def _preview_text(preview: Preview) -> str:
    refusals = [problem.message for problem in preview.problems if problem.is_refusal]
    if refusals:
        return f"The import would be refused. {refusals[0]}"
    return f"Read {preview.rows_read} rows of the head: {preview.timeframe} candles. Nothing is imported yet."


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
        raise JobFailed("upload_expired", UPLOAD_GONE)
    try:
        return verified_path(row.upload)
    except FileChanged as error:
        raise JobFailed(
            "data_changed", f"The uploaded file has changed: {error}. Upload it again."
        ) from error
