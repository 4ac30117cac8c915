"""The quickstart's candles where no file is given, against a fake exchange on loopback."""

from __future__ import annotations

import io
import math
import time
from datetime import timedelta

import numpy as np
import pytest
from django.core.management.base import OutputWrapper
from django.utils import timezone

from artifacts.store import local_path
from jobs.models import Job
from markets.candles.frame import VALUE_COLUMNS, Candles, read_candles
from markets.candles.synthetic import synthetic_candles
from markets.models import DatasetVersion, Source
from tests.markets.fake_exchange import FakeExchange, Status, serving
from tests.markets.test_downloads import assert_equal
from tests.path import run_job
from web import first_candles
from web.management.commands import quickstart

pytestmark = pytest.mark.django_db(transaction=True)
TODAY = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)


class Command(quickstart.Command):
    """The command, with a worker that does what is waited for in this process."""

    works = True

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()
        self.said = io.StringIO()
        self.says = OutputWrapper(self.said)

    def wait(self, job: Job, deadline: float = math.inf) -> None:
        if self.works and not job.is_terminal:
            run_job(job)
        super().wait(job, deadline)

    def load(self, user) -> DatasetVersion:
        return self.load_candles(user.first_workspace(), user, None, "")


@pytest.fixture
def command():
    return Command()


@pytest.fixture
def exchange(settings, monkeypatch):
    """The only exchange within reach."""
    monkeypatch.setattr(first_candles, "PLACES", {"binance": ("api.binance.com", 443)})
    candles = synthetic_candles(days=first_candles.DAYS, seed=3, end_at=TODAY)
    with serving(FakeExchange(candles, int(timezone.now().timestamp() * 1000))) as fake:
        settings.EXCHANGE_TEST_URL = fake.url
        yield fake


def test_last_180_days_come_from_an_exchange_once(command, alice, exchange):
    version = command.load(alice)
    assert (version.source, version.is_synthetic) == (Source.EXCHANGE, False)
    assert (version.rows, version.last_at) == (180 * 288, TODAY - timedelta(minutes=5))
    assert_equal(read_candles(local_path(version.file), 5), exchange.candles)
    assert "downloading 180 days of BTC/USDT 5m from binance" in command.said.getvalue()
    asked = len(exchange.asked)
    assert command.load(alice) == version
    assert f"using {version}, downloaded before" in command.said.getvalue()
    assert (len(exchange.asked), Job.objects.count()) == (asked, 1)


def test_exchange_that_turns_us_away_leads_to_the_labelled_synthetic_market(
    command, alice, exchange
):
    exchange.faults = {1: Status(451)}
    version = command.load(alice)
    assert version.is_synthetic
    said = command.said.getvalue()
    assert "Binance cannot be used from here: HTTP 451" in said
    assert "no exchange gave candles: loading the synthetic market" in said


def test_no_exchange_within_reach_queues_no_download(command, alice, exchange, settings):
    settings.EXCHANGE_TEST_URL = "http://127.0.0.1:9"  # discard; nobody listens
    assert command.load(alice).is_synthetic
    assert set(Job.objects.values_list("kind", flat=True)) == {"import"}


def test_download_that_takes_too_long_is_cancelled(command, alice, exchange, monkeypatch):
    monkeypatch.setattr(quickstart, "DOWNLOADS_S", 0.0)
    command.works = False
    assert command.download(alice.first_workspace(), alice) is None
    assert [job.status for job in Job.objects.all()] == ["cancelled"]
    assert "takes too long; stopping it" in command.said.getvalue()


def test_download_with_findings_is_left_aside(command, alice, exchange):
    whole = exchange.candles
    kept = np.r_[0:1000, 40_000 : len(whole)]
    columns = (getattr(whole, name)[kept] for name in ("time", *VALUE_COLUMNS))
    exchange.candles = Candles(5, *columns)
    assert command.load(alice).is_synthetic
    assert "findings that a person must accept first; left aside" in command.said.getvalue()
