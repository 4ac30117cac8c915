"""The body of a download: an exchange's public candles in, a sealed dataset version out."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
from django.conf import settings

from artifacts.store import FileChanged, verified_path
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.errors import InvalidCandles
from markets.candles.frame import VALUE_COLUMNS, Candles, read_candles
from markets.candles.quality import counted
from markets.candles.raw import Notice, RawCandles, SourceSettings
from markets.candles.report import utc_text
from markets.candles.validation import validate_candles
from markets.models import DatasetVersion, Import
from markets.pipeline.sealing import seal_candles
from markets.sources.exchange import ExchangeMarket, open_market
from markets.sources.exchange_errors import ExchangeFailed
from markets.sources.exchange_pages import Page, Rows, Span, closed_span, joined, pages
from markets.sources.exchange_parts import PartFolder
from markets.specs import DownloadSpec, ImportSpec

NS_PER_MS = 1_000_000
FETCHED = 0.85  # the share of the work that is the fetching


def download_candles(row: Import, attempt: RunningAttempt) -> None:
    """Fetch page after page, validate, seal. Raises JobFailed when exchange or candles are at fault."""
    parts = PartFolder(row.parts_folder)
    try:
        market, span = _fetch(row, parts, attempt)
        candles, report = _checked(row, market, span, parts)
    except (ExchangeFailed, InvalidCandles) as error:
        raise JobFailed(error.code, error.message) from error
    seal_candles(row, candles, report, attempt, progress=0.95)
    parts.remove()


def _fetch(row: Import, parts: PartFolder, attempt: RunningAttempt) -> tuple[ExchangeMarket, Span]:
    """Every page that is not there yet; the market and the span they are of."""
    wanted = _wanted(row)
    attempt.progress(0.02, f"Asking for the markets of {wanted.venue}")
    market = open_market(
        wanted.venue,
        wanted.symbol,
        wanted.timeframe,
        kind=row.spec.kind if row.parent else None,
        sleep=_pause(attempt),
        test_url=settings.EXCHANGE_TEST_URL,
    )
    if row.parent is None:
        given = row.spec.to_json() | {"symbol": market.symbol, "kind": market.kind}
        row.spec = ImportSpec.parse(given)
    from_ms, to_ms = _ms(wanted.from_at), _ms(wanted.to_at) if wanted.to_at else None
    span = closed_span(from_ms, to_ms, market.bar_ms, market.now_ms())
    had = parts.ranges()
    if parts.lost:
        attempt.log(f"{counted(parts.lost, 'page')} on disk were damaged; asking for them again.")
    if had:
        attempt.log(f"Going on after the {counted(len(had), 'page')} here already.")
    for page in pages(market.page, span, market.page_bars, had):
        parts.add(page)
        attempt.progress(*_progress(page, span, parts.bars))
        attempt.raise_if_stopping()
    return market, span


def _wanted(row: Import) -> DownloadSpec:
    if row.download is None:
        raise ValueError(f"import {row.pk} is no download")
    wanted: DownloadSpec = row.download
    return wanted


def _pause(attempt: RunningAttempt) -> Callable[[float], None]:
    def pause(seconds: float) -> None:
        attempt.log(f"The exchange did not answer as it should; asking again in {seconds:g} s.")
        attempt.wait_for_stop(seconds)
        attempt.raise_if_stopping()

    return pause


def _progress(page: Page, span: Span, bars: int) -> tuple[float, str]:
    share = (page.range.next_ms - span.from_ms) / max(1, span.until_ms - span.from_ms)
    reached = min(page.range.next_ms, span.until_ms)
    return FETCHED * min(1.0, share), f"{counted(bars, 'bar')}, up to {_shown(reached)}"


def _checked(
    row: Import, market: ExchangeMarket, span: Span, parts: PartFolder
) -> tuple[Candles, dict[str, Any]]:
    rows, changed = joined(parts.rows())
    notices = []
    if changed:
        text = "Bars that two pages share had changed between them; the newer ones are kept."
        notices.append(Notice("overlap_changed", text, changed))
    notices += _shortened(market, span, rows)
    if row.parent is not None:
        rows = _continued(row.parent, rows)
    if not len(rows):
        raise JobFailed(
            "no_rows",
            f"{market.symbol} has no closed bars of {market.timeframe} from "
            f"{_shown(span.from_ms)} to {_shown(span.until_ms)}. Choose another span.",
        )
    raw = _raw(rows, market, parts.bytes, tuple(notices))
    candles, report = validate_candles(raw, row.spec, time.time_ns())
    return candles, _told(report, row, span, len(parts.ranges()))


def _shortened(market: ExchangeMarket, span: Span, rows: Rows) -> list[Notice]:
    """What the exchange gave less than was asked: bars before the first one, or after the last one."""
    if not len(rows):
        return []
    first, last = int(rows[0, 0]), int(rows[-1, 0])
    before = (first - span.from_ms) // span.bar_ms
    after = (span.until_ms - last) // span.bar_ms - 1
    # An exchange may publish the bar that has just closed a moment later.
    if not before and after <= 1:
        return []
    text = (
        f"Asked for bars from {_shown(span.from_ms)} to {_shown(span.until_ms)}; {market.symbol} "
        f"was given from {_shown(first)} to {_shown(last + span.bar_ms)}."
    )
    return [Notice("range_shortened", text, before + after)]


def _continued(base: DatasetVersion, rows: Rows) -> Rows:
    """The bars of a sealed version and after them the newer ones, which win where both have a bar."""
    try:
        path = verified_path(base.file)
    except FileChanged as error:
        raise JobFailed(
            "data_changed", f"The candles of {base} have changed: {error}. Download them anew."
        ) from error
    old = read_candles(path, base.dataset.timeframe_minutes)
    kept = np.column_stack([old.time / NS_PER_MS, *(getattr(old, name) for name in VALUE_COLUMNS)])
    return np.concatenate([kept[~np.isin(kept[:, 0], rows[:, 0])], rows])


def _raw(rows: Rows, market: ExchangeMarket, size: int, notices: tuple[Notice, ...]) -> RawCandles:
    names = ("timestamp", *VALUE_COLUMNS)
    opened, high, low, close, volume = rows[:, 1:].T
    return RawCandles(
        time=rows[:, 0].astype(np.int64) * NS_PER_MS,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        quote_volume=None,
        line=np.arange(1, len(rows) + 1),
        settings=SourceSettings(
            file_name=f"{market.symbol} {market.timeframe}",
            file_bytes=size,
            format="exchange",
            layout="pages",
            delimiter="",
            encoding="",
            used={name: name for name in names},
            ignored=(),
            timestamp_unit="ms",
            timezone="UTC",
        ),
        notices=notices,
        place="Row",
    )


def _told(report: dict[str, Any], row: Import, span: Span, page_count: int) -> dict[str, Any]:
    """The quality report, with what was asked of whom in the place of what a file was like."""
    wanted = _wanted(row)
    told = {key: value for key, value in report.items() if key not in ("file", "columns")}
    return told | {
        "exchange": {
            "venue": wanted.venue,
            "symbol": wanted.symbol,
            "timeframe": wanted.timeframe,
            "from_at": utc_text(span.from_ms * NS_PER_MS),
            "to_at": utc_text(span.until_ms * NS_PER_MS),
            "fetched_at": utc_text(time.time_ns()),
            "pages": page_count,
        }
    }


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def _shown(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, timezone.utc):%Y-%m-%d %H:%M} UTC"
