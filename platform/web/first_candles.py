"""Candles for the quickstart where no file is given: from an exchange that can be reached."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings

from accounts.models import Workspace
from markets.models import DatasetVersion, Source
from markets.sources.exchange_probe import PLACES, reachable
from markets.specs import DownloadSpec

PROBE_S = 5.0
DOWNLOADS_S = 90.0  # for all venues together
SYMBOL, TIMEFRAME = "BTC/USDT", "5m"
DAYS = 180


def venues_within_reach() -> list[str]:
    """The exchanges that take a connection, in the order in which to ask them."""
    places = PLACES
    if settings.EXCHANGE_TEST_URL:
        fake = urlsplit(settings.EXCHANGE_TEST_URL)
        places = dict.fromkeys(PLACES, (fake.hostname or "", fake.port or 80))
    return reachable(places, PROBE_S)


def download_spec(venue: str, now: datetime) -> DownloadSpec:
    """The last 180 whole days, so that a second run of a day asks for equal candles."""
    to_at = now.replace(hour=0, minute=0, second=0, microsecond=0)
    from_at = to_at - timedelta(days=DAYS)
    return DownloadSpec.parse(
        {
            "venue": venue,
            "symbol": SYMBOL,
            "timeframe": TIMEFRAME,
            "from_at": from_at,
            "to_at": to_at,
        }
    )


def downloaded_before(workspace: Workspace, now: datetime) -> DatasetVersion | None:
    """A usable version that an earlier run has downloaded and that reaches up to today."""
    wanted = download_spec(next(iter(PLACES)), now)
    rows = DatasetVersion.objects.usable().select_related("dataset__instrument")
    assert wanted.to_at is not None  # as made above
    return rows.filter(
        workspace=workspace,
        source=Source.EXCHANGE,
        dataset__instrument__symbol=SYMBOL,
        first_at=wanted.from_at,
        last_at=wanted.to_at - timedelta(minutes=5),
    ).first()
