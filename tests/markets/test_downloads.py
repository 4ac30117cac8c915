"""Downloads as jobs, against a real HTTP server on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from artifacts.store import local_path
from jobs.cleaning import clean
from jobs.models import Job, JobAttempt
from jobs.reconciler import reconcile
from jobs.services import JobConflict, request_cancel
from markets.candles.frame import VALUE_COLUMNS, Candles, read_candles
from markets.candles.synthetic import synthetic_candles
from markets.models import Import, Instrument, Source
from markets.services.downloads import go_on, launch_download, launch_newer
from markets.specs import DownloadSpec
from specs.declaration import InvalidSpec
from tests import factories
from tests.markets.fake_exchange import FakeExchange, Status, serving
from tests.path import demo_version, run_job

pytestmark = pytest.mark.django_db(transaction=True)
SCRIPT = synthetic_candles(days=10, seed=3, end_at=datetime(2024, 2, 10, tzinfo=UTC))
FROM = datetime(2024, 1, 31, tzinfo=UTC)
NS_PER_MS = 1_000_000


@pytest.fixture
def exchange(settings):
    now_ms = int(SCRIPT.time[-1]) // NS_PER_MS + 300_000
    with serving(FakeExchange(SCRIPT, now_ms)) as fake:
        settings.EXCHANGE_TEST_URL = fake.url
        yield fake


def wanted(**fields) -> DownloadSpec:
    return DownloadSpec.parse({"symbol": "BTC/USDT", "from_at": FROM, **fields})


def launched(user, **fields) -> Import:
    return launch_download(workspace=user.first_workspace(), user=user, spec=wanted(**fields))


def finished(row: Import):
    job = run_job(Job.objects.get(pk=row.job_id))
    assert job.status == "succeeded", job.message
    row.refresh_from_db()
    return row.version


def failed(row: Import) -> Job:
    job = run_job(row.job)
    assert job.status == "failed", job.message
    return job


def candles_of(version) -> Candles:
    return read_candles(local_path(version.file), version.dataset.timeframe_minutes)


def assert_equal(found: Candles, expected: Candles) -> None:
    for name in ("time", *VALUE_COLUMNS):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name


def test_downloaded_candles_are_sealed_as_those_of_a_file(alice, exchange):
    row = launched(alice)
    version = finished(row)
    assert_equal(candles_of(version), SCRIPT)
    assert (version.source, version.rows, version.parent) == (Source.EXCHANGE, 2880, None)
    instrument = version.dataset.instrument
    assert (instrument.venue, instrument.symbol, instrument.kind) == ("binance", "BTC/USDT", "spot")
    asked = version.report["exchange"]
    assert (asked["venue"], asked["symbol"], asked["timeframe"]) == ("binance", "BTC/USDT", "5m")
    assert (asked["from_at"], asked["to_at"]) == ("2024-01-31T00:00:00Z", "2024-02-10T00:00:00Z")
    assert asked["fetched_at"][:10] == f"{timezone.now():%Y-%m-%d}"
    assert version.notices == []
    assert row.job.message == "2\u2009880 bars, 0 gaps."
    assert not row.parts_folder.exists()


def test_symbol_is_stored_as_the_exchange_lists_it(alice, exchange):
    version = finished(launched(alice, symbol="btcusdt"))
    assert version.dataset.instrument.symbol == "BTC/USDT"


def test_second_download_of_the_same_span_makes_no_second_version(alice, exchange):
    first, second = finished(launched(alice)), finished(launched(alice))
    assert first == second
    assert Instrument.objects.count() == 1


def test_span_ends_before_the_bar_that_opens_at_its_end(alice, exchange):
    to_at = FROM + timedelta(days=2)
    version = finished(launched(alice, to_at=to_at))
    assert version.last_at == to_at - timedelta(minutes=5)
    assert version.rows == 2 * 288


def test_running_bar_is_not_sealed(alice, exchange):
    exchange.now_ms -= 1
    assert finished(launched(alice)).rows == len(SCRIPT) - 1


@pytest.mark.parametrize(
    ("earlier", "later", "missing"), [(3, 0, 3 * 288), (0, 9, 9 * 288), (1, 1, 2 * 288)]
)
def test_span_that_the_exchange_has_only_in_part_is_noticed(
    alice, exchange, earlier, later, missing
):
    exchange.now_ms += later * 86_400_000
    version = finished(launched(alice, from_at=FROM - timedelta(days=earlier)))
    assert_equal(candles_of(version), SCRIPT)
    assert [(notice["code"], notice["count"]) for notice in version.notices] == [
        ("range_shortened", missing)
    ]
    asked, given = version.notices[0]["message"].split("; ")
    assert f"from {FROM - timedelta(days=earlier):%Y-%m-%d %H:%M} UTC" in asked
    assert given == "BTC/USDT was given from 2024-01-31 00:00 UTC to 2024-02-10 00:00 UTC."


def test_bar_that_the_exchange_publishes_a_moment_late_is_no_notice(alice, exchange):
    exchange.now_ms += 300_000
    assert finished(launched(alice)).notices == []


def test_clock_of_the_exchange_that_is_behind_takes_fewer_bars(alice, exchange):
    exchange.now_ms -= 86_400_000
    assert finished(launched(alice)).rows == len(SCRIPT) - 288
    exchange.now_ms -= 30 * 86_400_000
    assert failed(launched(alice)).code == "no_rows"


def test_pages_that_were_damaged_between_two_attempts_are_asked_for_again(alice, exchange):
    exchange.faults = {3: Status(451)}
    row = launched(alice)
    failed(row)
    _, second = sorted(row.parts_folder.glob("*.npy"))
    content = second.read_bytes()
    second.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    go_on(row, user=alice)
    assert_equal(candles_of(finished(row)), SCRIPT)
    assert exchange.starts[3] == exchange.starts[1]
    exchange.faults = {7: Status(451)}
    row = launched(alice, to_at=FROM + timedelta(days=9))
    failed(row)
    shutil.rmtree(row.parts_folder)
    go_on(row, user=alice)
    assert finished(row).rows == 9 * 288


def test_unknown_market_fails_with_what_to_do_and_makes_no_dataset(alice, exchange):
    row = launched(alice, symbol="BTC/UST")
    job = failed(row)
    assert job.code == "unknown_market"
    assert "BTC/USDT" in job.message
    assert not Instrument.objects.exists()


def test_span_without_bars_fails(alice, exchange):
    job = failed(launched(alice, from_at=datetime(2024, 2, 11, tzinfo=UTC)))
    assert job.code == "no_rows"


def test_candles_that_break_a_rule_fail_as_those_of_a_file(alice, exchange):
    high = SCRIPT.high.copy()
    high[1500] = SCRIPT.low[1500] / 2
    exchange.candles = Candles(
        5, SCRIPT.time, SCRIPT.open, high, SCRIPT.low, SCRIPT.close, SCRIPT.volume
    )
    job = failed(launched(alice))
    assert job.code == "ohlc_violation"
    assert "Row 1501" in job.message


def test_download_that_failed_goes_on_after_the_last_page(alice, exchange):
    exchange.faults = {3: Status(451)}
    row = launched(alice)
    assert failed(row).code == "exchange_refused"
    assert len(list(row.parts_folder.glob("*.npy"))) == 2
    go_on(row, user=alice)
    assert_equal(candles_of(finished(row)), SCRIPT)
    # Only the page that was refused is asked for twice.
    assert len(exchange.starts) - len(set(exchange.starts)) == 1
    with pytest.raises(JobConflict):
        go_on(row, user=alice)


def test_cancel_is_obeyed_between_two_pages(alice, exchange):
    row = launched(alice)
    answer, count = exchange.klines, iter(range(99))

    def klines(query):
        if next(count) == 1:
            request_cancel(row.job, user=alice)
        return answer(query)

    exchange.klines = klines
    # The pulse tells of the cancel once a second: a wait before page 3 lets it.
    exchange.faults = {3: Status(429, "30")}
    job = run_job(row.job)
    assert job.status == "cancelled"
    assert len(exchange.starts) == 3
    go_on(row, user=alice)
    assert_equal(candles_of(finished(row)), SCRIPT)


def grown(exchange, days: int = 2) -> Candles:
    """The script and what came after it, as the exchange has it from now on."""
    longer = synthetic_candles(days=10 + days, seed=3, end_at=FROM + timedelta(days=10 + days))
    shift = SCRIPT.close[-1] / longer.close[len(SCRIPT) - 1]
    new = longer.slice(len(SCRIPT), len(longer))
    scaled = [getattr(new, name) * shift for name in VALUE_COLUMNS[:4]]
    old = [getattr(SCRIPT, name) for name in VALUE_COLUMNS]
    joined = [np.concatenate(pair) for pair in zip(old, [*scaled, new.volume], strict=True)]
    exchange.candles = Candles(5, np.concatenate([SCRIPT.time, new.time]), *joined)
    exchange.now_ms += days * 86_400_000
    return exchange.candles


def test_newer_bars_make_the_next_version_of_old_and_new(alice, exchange):
    first = finished(launched(alice))
    asked_before = len(exchange.starts)
    expected = grown(exchange)
    second = finished(launch_newer(first, user=alice))
    assert (second.dataset, second.number, second.parent) == (first.dataset, 2, None)
    assert_equal(candles_of(second), expected)
    assert exchange.starts[asked_before] == int(SCRIPT.time[-1]) // NS_PER_MS
    assert second.difference["is_extension"]
    assert "history_changed" not in [notice["code"] for notice in second.notices]


def test_old_bar_that_the_exchange_tells_differently_now_is_noticed(alice, exchange):
    first = finished(launched(alice))
    grown(exchange)
    exchange.candles.volume[len(SCRIPT) - 1] = 7.25
    second = finished(launch_newer(first, user=alice))
    changed = [notice for notice in second.notices if notice["code"] == "history_changed"]
    assert [notice["count"] for notice in changed] == [1]
    assert candles_of(second).volume[len(SCRIPT) - 1] == 7.25
    assert candles_of(first).volume[-1] == SCRIPT.volume[-1]


def test_newer_bars_when_none_has_closed_keep_the_version(alice, exchange):
    first = finished(launched(alice))
    row = launch_newer(first, user=alice)
    assert finished(row) == first


def test_dataset_of_a_file_is_continued_under_its_own_symbol(alice, exchange):
    first = factories.make_version(alice.first_workspace(), symbol="BTCUSDT", candles=SCRIPT)
    grown(exchange)
    second = finished(launch_newer(first, user=alice))
    assert (second.dataset, second.number, second.source) == (first.dataset, 2, Source.EXCHANGE)


def test_synthetic_dataset_has_no_newer_bars(alice):
    version = demo_version(alice.first_workspace(), alice)
    with pytest.raises(InvalidSpec, match="newer bars come from one of"):
        launch_newer(version, user=alice)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"venue": "http://127.0.0.1"}, "venue"),
        ({"from_at": "2024-01-31T00:00:00Z", "to_at": "2024-01-31T00:00:00Z"}, "to_at"),
        ({"from_at": "1999-01-01T00:00:00Z"}, "from_at"),
        ({"from_at": "2999-01-01T00:00:00Z"}, "from_at"),
        ({"from_at": "2009-01-03T00:00:00Z", "timeframe": "1m"}, "from_at"),
        ({"symbol": "BTC USDT"}, "symbol"),
    ],
)
def test_request_that_cannot_be_met_is_refused_by_its_field(alice, fields, field):
    with pytest.raises(InvalidSpec) as caught:
        launched(alice, **fields)
    assert list(caught.value.fields) == [field]
    assert not Job.objects.exists()


def test_pages_of_a_download_are_deleted_a_day_after_it_ended(alice, exchange):
    exchange.faults = {2: Status(451)}
    row = launched(alice)
    failed(row)
    stray = row.parts_folder.with_name("999999")
    stray.mkdir()
    clean()
    assert row.parts_folder.exists()
    assert not stray.exists()
    Job.objects.filter(pk=row.job_id).update(ended_at=timezone.now() - timedelta(hours=25))
    clean()
    assert not row.parts_folder.exists()


def test_killed_worker_leaves_pages_after_which_the_next_attempt_goes_on(alice, exchange, tmp_path):
    """The worker is a real process, killed by SIGKILL while it waits for page 4."""
    exchange.faults = {4: "hang"}
    exchange.page_bars = 500
    row = launched(alice)
    worker = subprocess.Popen([sys.executable, "-c", worker_code(row, exchange.url)])
    try:
        deadline = timezone.now() + timedelta(seconds=60)
        while len(exchange.starts) < 4:
            assert timezone.now() < deadline
            assert worker.poll() is None
            exchange.released.wait(0.05)
        os.kill(worker.pid, signal.SIGKILL)
    finally:
        worker.kill()
        assert worker.wait() == -signal.SIGKILL
    assert len(list(row.parts_folder.glob("*.npy"))) == 3
    JobAttempt.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert reconcile(cleaning=False).lost == [row.job_id]
    exchange.released.set()
    assert_equal(candles_of(finished(row)), SCRIPT)
    # Only the page that never came is asked for again.
    twice = {start for start in exchange.starts if exchange.starts.count(start) > 1}
    assert twice == {exchange.starts[3]}
    assert JobAttempt.objects.filter(job=row.job_id).count() == 2


def worker_code(row: Import, url: str) -> str:
    """A program that runs the job as a worker's child does, on the database and state of this test."""
    from django.conf import settings

    return f"""
import uuid
from pathlib import Path
from django.conf import settings
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
settings.DATABASES["default"] = {dict(connection.settings_dict)!r}
settings.STATE = Path({str(settings.STATE)!r})
settings.EXCHANGE_TEST_URL = {url!r}
import django
django.setup()
import markets.tasks
from jobs.decorators import TASKS
from jobs.execution import execute
execute(uuid.UUID({str(row.job_id)!r}), TASKS["download"].body)
"""
