"""The client against a real HTTP server on loopback that misbehaves as exchanges do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from markets.candles.frame import VALUE_COLUMNS, Candles
from markets.candles.synthetic import synthetic_candles
from markets.sources import exchange_network
from markets.sources.exchange import open_market
from markets.sources.exchange_errors import ExchangeFailed
from markets.sources.exchange_network import PublicSession, TurnedAway, is_public
from markets.sources.exchange_pages import PageRange, Rows, closed_span, joined, pages
from markets.sources.exchange_parts import PartFolder
from tests.markets.fake_exchange import FakeExchange, Status, serving

BAR_MS = 300_000
END = datetime(2024, 2, 10, tzinfo=UTC)
SCRIPT = synthetic_candles(days=10, seed=3, end_at=END)  # 2880 bars of five minutes


@dataclass
class Download:
    """What came of one download."""

    rows: Rows
    changed: int
    ranges: list[PageRange]
    pauses: list[float] = field(default_factory=list)


def fake(candles: Candles = SCRIPT, *, running: bool = False, **options) -> FakeExchange:
    last_ms = int(candles.time[-1]) // 1_000_000
    return FakeExchange(candles, last_ms + (BAR_MS // 2 if running else BAR_MS), **options)


def download(exchange: FakeExchange, *, had: tuple[PageRange, ...] = ()) -> Download:
    pauses: list[float] = []
    market = open_market("binance", "BTC/USDT", "5m", sleep=pauses.append, test_url=exchange.url)
    from_ms = int(exchange.candles.time[0]) // 1_000_000
    span = closed_span(from_ms, None, market.bar_ms, market.now_ms())
    found = list(pages(market.page, span, market.page_bars, had))
    rows, changed = joined([page.rows for page in found])
    return Download(rows, changed, [page.range for page in found], pauses)


def holed(first: int, last: int) -> Candles:
    keep = np.ones(len(SCRIPT), dtype=np.bool_)
    keep[first:last] = False
    names = ("time", *VALUE_COLUMNS)
    return Candles(5, *(getattr(SCRIPT, name)[keep] for name in names))


def assert_equal(rows: Rows, candles: Candles) -> None:
    assert (rows[:, 0].astype(np.int64) * 1_000_000).tolist() == candles.time.tolist()
    for place, name in enumerate(VALUE_COLUMNS, start=1):
        assert rows[:, place].tolist() == getattr(candles, name).tolist()


def test_candles_are_those_of_the_exchange_and_pages_overlap_by_one_bar():
    with serving(fake()) as exchange:
        found = download(exchange)
    assert_equal(found.rows, SCRIPT)
    assert (found.changed, found.pauses) == (0, [])
    first = int(SCRIPT.time[0]) // 1_000_000
    assert exchange.starts == [first, first + 999 * BAR_MS, first + 1998 * BAR_MS]


def test_requests_are_spaced_by_the_rate_limit_of_the_exchange():
    with serving(fake(page_bars=100)) as exchange:
        download(exchange)
    gaps = np.diff([asked.at for asked in exchange.pages])
    assert len(gaps) == 29
    assert gaps.min() > 0.015  # two units of weight, 20 ms


@pytest.mark.parametrize(
    ("faults", "pauses"),
    [
        ({2: "short"}, []),
        ({2: "reversed"}, []),
        ({1: "unsorted", 3: "unsorted"}, []),
        ({2: Status(429, "7")}, [7.0]),
        ({2: Status(418, "120")}, [120.0]),
        ({2: Status(429)}, [1.0]),
        ({2: Status(500), 3: Status(500)}, [1.0, 2.0]),
        ({1: "html", 2: "html", 4: "html"}, [1.0, 2.0, 1.0]),
        ({3: "cut"}, [1.0]),
        ({1: "half", 3: "half"}, [1.0, 1.0]),
        ({2: Status(503), 3: "cut", 4: Status(502), 5: "html", 6: Status(500)}, [1, 2, 4, 8, 16]),
    ],
    ids=str,
)
def test_candles_are_whole_in_spite_of(faults, pauses):
    with serving(fake(faults=faults)) as exchange:
        found = download(exchange)
    assert_equal(found.rows, SCRIPT)
    assert found.pauses == pauses
    failed = sum(fault not in ("short", "reversed", "unsorted") for fault in faults.values())
    repeated = len(exchange.starts) - len(set(exchange.starts))
    assert repeated == failed


def test_hang_past_the_timeout_is_asked_again(monkeypatch):
    assert exchange_network.TIMEOUT_S == 10
    monkeypatch.setattr(exchange_network, "TIMEOUT_S", 0.2)
    with serving(fake(faults={2: "hang"})) as exchange:
        found = download(exchange)
    assert_equal(found.rows, SCRIPT)
    assert found.pauses == [1.0]


def test_bar_that_changed_between_two_pages_is_counted_and_the_newer_one_kept():
    with serving(fake(faults={2: "changed"})) as exchange:
        found = download(exchange)
    assert found.changed == 1
    assert found.rows[999, 5] == 7.25
    assert len(found.rows) == len(SCRIPT)


def test_running_bar_is_left_out():
    with serving(fake(running=True)) as exchange:
        found = download(exchange)
    assert_equal(found.rows, SCRIPT.slice(0, len(SCRIPT) - 1))


def test_end_is_exclusive_and_begin_is_the_next_bar_on_the_grid():
    begin = int(SCRIPT.time[10]) // 1_000_000
    span = closed_span(begin - 1, begin + 5 * BAR_MS, BAR_MS, begin + 10**9)
    assert (span.from_ms, span.until_ms) == (begin, begin + 5 * BAR_MS)
    assert closed_span(begin, None, BAR_MS, begin + BAR_MS - 1).until_ms == begin
    assert closed_span(begin, None, BAR_MS, begin + BAR_MS).until_ms == begin + BAR_MS


def test_hole_longer_than_a_page_is_skipped_page_by_page():
    candles = holed(500, 1750)
    with serving(fake(candles, windowed=True)) as exchange:
        found = download(exchange)
    assert_equal(found.rows, candles)
    assert 0 in [page.new_bars for page in found.ranges]


def test_empty_page_in_a_gap_does_not_end_the_download_but_three_do():
    with serving(fake(windowed=True)) as exchange:
        whole = download(exchange)
    assert_equal(whole.rows, SCRIPT)
    with serving(fake(holed(100, 2880), windowed=True)) as exchange:
        exchange.now_ms += 10_000 * BAR_MS
        found = download(exchange)
    assert len(found.rows) == 100
    assert [page.new_bars for page in found.ranges] == [100, 0, 0, 0]


def test_empty_page_where_bars_are_leaves_a_gap_of_that_page_and_nothing_else():
    with serving(fake(faults={2: "empty"})) as exchange:
        found = download(exchange)
    assert_equal(found.rows, holed(1000, 1999))


def test_download_goes_on_after_the_pages_there_are(tmp_path):
    parts = PartFolder(tmp_path / "parts")
    with serving(fake(page_bars=400)) as exchange:
        market = open_market("binance", "BTC/USDT", "5m", sleep=[].append, test_url=exchange.url)
        span = closed_span(int(SCRIPT.time[0]) // 1_000_000, None, BAR_MS, exchange.now_ms)
        for page, _ in zip(pages(market.page, span, 1000), range(3), strict=False):
            parts.add(page)
        before = len(exchange.starts)
        parts = PartFolder(tmp_path / "parts")
        assert parts.bars == 1 + 3 * 399
        for page in pages(market.page, span, 1000, parts.ranges()):
            parts.add(page)
    assert_equal(joined(parts.rows())[0], SCRIPT)
    assert before in (3, 4)
    # `zip` has asked for a fourth page that was not kept; that one alone is asked again.
    assert len(exchange.starts) - len(set(exchange.starts)) == before - 3
    parts.remove()
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("harm", ["flipped", "cut", "deleted"])
def test_damaged_part_and_those_after_it_are_asked_for_again(tmp_path, harm):
    with serving(fake(page_bars=400)) as exchange:
        market = open_market("binance", "BTC/USDT", "5m", sleep=[].append, test_url=exchange.url)
        span = closed_span(int(SCRIPT.time[0]) // 1_000_000, None, BAR_MS, exchange.now_ms)
        parts = PartFolder(tmp_path)
        for page in pages(market.page, span, 1000):
            parts.add(page)
        asked = len(exchange.starts)
        harm_file(sorted(tmp_path.glob("*.npy"))[3], harm)
        parts = PartFolder(tmp_path)
        assert (len(parts.ranges()), parts.bars) == (3, 1 + 3 * 399)
        assert parts.lost == asked - 3 - (harm == "deleted")
        for page in pages(market.page, span, 1000, parts.ranges()):
            parts.add(page)
    assert_equal(joined(parts.rows())[0], SCRIPT)
    assert exchange.starts[asked:] == exchange.starts[3:asked]


def harm_file(path: Path, harm: str) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    if harm == "cut":
        del content[-100:]
    path.write_bytes(content)
    if harm == "deleted":
        path.unlink()


def test_resume_counts_the_empty_pages_that_came_last():
    asked: list[int] = []

    def nothing(since: int) -> Rows:
        asked.append(since)
        return np.empty((0, 6))

    span = closed_span(0, 10**9, BAR_MS, 10**10)
    had = [PageRange(0, BAR_MS, 2), PageRange(BAR_MS, 3 * BAR_MS, 0), PageRange(0, 5 * BAR_MS, 0)]
    assert len(list(pages(nothing, span, 2, had))) == 1
    assert asked == [5 * BAR_MS]


def refusal(symbol: str = "BTC/USDT", timeframe: str = "5m", venue: str = "binance", **options):
    pauses: list[float] = []
    with serving(fake(**options)) as exchange, pytest.raises(ExchangeFailed) as caught:
        market = open_market(venue, symbol, timeframe, sleep=pauses.append, test_url=exchange.url)
        market.page(int(SCRIPT.time[0]) // 1_000_000)
    return caught.value, pauses


def test_six_failures_in_a_row_end_the_download():
    failure, pauses = refusal(faults=dict.fromkeys(range(1, 7), Status(500)))
    assert failure.code == "exchange_unreachable"
    assert failure.message == "Binance did not answer. Check the connection, or upload a file."
    assert pauses == [1, 2, 4, 8, 16]


def test_unknown_market_names_those_near_it():
    failure, _ = refusal("BTC/UST")
    assert failure.code == "unknown_market"
    assert 'Binance lists no market "BTC/UST"; near it: BTC/USDT' in failure.message


@pytest.mark.parametrize("written", ["BTC/USDT", "BTCUSDT", "BTC-USDT"])
def test_market_is_found_as_listed_and_by_its_id(written):
    with serving(fake()) as exchange:
        market = open_market("binance", written, "5m", sleep=[].append, test_url=exchange.url)
    assert (market.symbol, market.kind, market.page_bars) == ("BTC/USDT", "spot", 1000)


def test_timeframe_the_exchange_does_not_offer_is_refused_before_anything_is_sent():
    failure, _ = refusal(timeframe="3m", venue="kraken")
    assert failure.code == "timeframe_not_offered"
    assert "it offers 1m, 5m, 15m" in failure.message


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("redirect", "exchange_refused"),
        ("huge", "exchange_refused"),
        ("bomb", "exchange_refused"),
        (Status(451), "exchange_refused"),
        (Status(400), "exchange_refused"),
        (Status(418, "86400"), "exchange_busy"),
    ],
)
def test_answer_that_no_second_try_mends_ends_the_download_at_once(fault, code):
    failure, pauses = refusal(faults={1: fault})
    assert (failure.code, pauses) == (code, [])


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.1.2.3/",
        "https://[::1]/",
        "https://[::ffff:192.168.0.1]/",
        "https://0.0.0.0/",
        "http://example.com/",
        "file:///etc/passwd",
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_public_https(url):
    with pytest.raises(TurnedAway):
        PublicSession().request("GET", url)


@pytest.mark.parametrize("second", ["10.0.0.7", "fd00::7", "127.0.0.1"])
def test_venue_whose_name_leads_to_a_private_address_is_not_connected(monkeypatch, second):
    answer = [(0, 0, 0, "", (address, 443)) for address in ("1.1.1.1", second)]
    connected: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **options: answer)
    monkeypatch.setattr("socket.create_connection", lambda *arguments: connected.append(arguments))
    with pytest.raises(ExchangeFailed, match="has the address") as caught:
        open_market("binance", "BTC/USDT", "5m", sleep=[].append)
    assert (caught.value.code, connected) == ("exchange_refused", [])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("224.0.0.1", False),
        ("100.64.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("192.0.2.1", False),
        ("64:ff9b::1.1.1.1", True),
        ("64:ff9b::169.254.169.254", False),
        ("2002:7f00:1::", False),
        ("::ffff:0:127.0.0.1", False),
        ("::127.0.0.1", False),
        ("fec0::1", False),
    ],
)
def test_public_addresses_are_told_from_others(address, public):
    assert is_public(address) is public
