"""A download from the form to the sealed version, in Chromium, from a fake exchange on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from markets.candles.synthetic import synthetic_candles
from tests.browser.looks import faults_in_every_look
from tests.browser.machine import Machine, running_machine
from tests.browser.walking import sign_in
from tests.markets.fake_exchange import FakeExchange, Status, serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
END = datetime(2024, 2, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def exchange() -> Iterator[FakeExchange]:
    candles = synthetic_candles(days=10, seed=3, end_at=END)
    with serving(FakeExchange(candles, int(END.timestamp() * 1000))) as fake:
        yield fake


@pytest.fixture(scope="module")
def machine(exchange: FakeExchange) -> Iterator[Machine]:
    """A machine of its own, whose exchanges are all the fake one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTSAMPLE_TEST_HOOKS", "1")
        patch.setenv("OUTSAMPLE_TEST_EXCHANGE", exchange.url)
        with running_machine() as started:
            yield started


def test_refused_field_then_a_download_and_what_became_of_it(
    page: Page, machine: Machine, exchange: FakeExchange
) -> None:
    exchange.faults = {2: Status(429, "3")}
    sign_in(page, machine)
    page.goto("/datasets/new/")
    page.get_by_role("link", name="Download", exact=True).click()
    assert faults_in_every_look(page) == []
    page.get_by_label("Symbol").fill("BTC/USDT")
    page.get_by_label("From", exact=True).fill("2024-01-31")
    page.get_by_label("To", exact=True).fill("2024-01-01")
    page.get_by_role("button", name="Start download").click()
    expect(page.get_by_role("alert")).to_contain_text("expected later than 2024-01-31 00:00 UTC")
    expect(page.get_by_label("Symbol")).to_have_value("BTC/USDT")
    assert not exchange.asked
    page.get_by_label("To", exact=True).fill("")
    page.get_by_role("button", name="Start download").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("BTC/USDT 5m from Binance")
    page.get_by_role("link", name="Open BTC/USDT 5m").click()
    expect(page.get_by_text("Downloaded from")).to_be_visible()
    expect(page.locator("dl.strip")).to_contain_text(re.compile("2.880"))
    page.goto(re.sub(r"/versions/.*", "/newer/", page.url))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Newer bars")
    assert faults_in_every_look(page) == []
