"""From sign-in to the report in Chromium, with real services, workers and trainers."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.machine import candle_file, wait_until
from tests.browser.walking import import_file, open_dataset, set_field, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]
DAYS = 66  # two folds of the smallest preset need 18 176 five-minute bars
RUN_MS = 90_000


def test_from_a_file_to_the_verdict(page: Page, machine, watch, tmp_path, record_property):
    began = time.monotonic()
    sign_in(page, machine)

    import_file(page, candle_file(tmp_path, days=DAYS), Symbol="BTC/USDT")
    expect(page.locator("#live")).to_contain_text("succeeded")
    expect(page.locator("#live")).to_contain_text("19 008 bars, 0 gaps")
    open_dataset(page)
    expect(page.get_by_text("0 gaps, 0 of 19\u2009008 bars missing")).to_be_visible()
    expect(drawn(page, "candles", ".cartesianlayer path.js-line, .boxlayer path")).to_be_attached()

    configure(page, {"training.epochs": "1", "evaluation.folds": "2"})
    expect(page.locator('[data-field="training.epochs"]')).to_contain_text("changed from 6")
    expect(page.locator("#changes")).to_have_text("2 changes from tiny")
    expect(page.locator("#cost")).to_contain_text("50\u2009662")
    page.get_by_role("button", name="Save and launch").click()

    page.evaluate("window.stayed = true")
    seen = progress_until_the_end(page)
    assert len(set(seen)) > 2
    assert seen == sorted(seen)
    expect(page.locator("#live")).to_contain_text("succeeded")
    expect(page).to_have_title(re.compile("^Succeeded"))
    expect(drawn(page, "chart-loss", ".scatterlayer path.js-line")).to_be_attached()
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.locator(".log")).to_contain_text("Fold 2 of 2: first step")
    assert page.evaluate("window.stayed")

    page.locator("#results a[href^='/backtests/']").click()
    page.evaluate("window.stayed = true")
    verdict = page.locator("#verdict-line")
    expect(verdict).to_have_text(
        re.compile(r"Beats|Not better|Loses|Undecided|withheld"), timeout=RUN_MS
    )
    expect(drawn(page, "equity", ".scatterlayer path.js-line")).to_be_attached()
    assert page.evaluate("window.stayed")
    record_property("seconds_to_report", round(time.monotonic() - began, 1))
    expect(drawn(page, "drawdown", ".scatterlayer path.js-line")).to_be_attached()
    expect(page.get_by_role("region", name="Returns by month").first).to_contain_text("2024")
    expect(page.get_by_role("region", name="Trades").first).to_contain_text("trades")

    page.get_by_role("link", name="Open the run").click()
    page.get_by_role("link", name="Predictions").click()
    expect(drawn(page, "predictions", ".scatterlayer path.js-line")).to_be_attached()

    page.locator("summary", has_text=machine.username).click()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/backtests/")
    expect(page).to_have_title(re.compile("^Sign in"))
    assert watch.complaints == []


def test_cancel_ends_the_trainer_and_resume_finishes(
    page: Page, machine, watch, tmp_path, record_property
):
    sign_in(page, machine)
    import_file(page, candle_file(tmp_path, days=DAYS, symbol="ETHUSDT"), Symbol="ETH/USDT")
    open_dataset(page)
    configure(
        page,
        {"training.patience": "6", "training.checkpoint_steps": "10", "evaluation.folds": "2"},
    )
    page.get_by_role("button", name="Save and launch").click()
    reload_until(page, page.get_by_role("cell", name="Checkpoint", exact=True).first)
    assert len(machine.trainers()) == 1

    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Stop it").click()
    record_property("seconds_to_end", round(wait_until(lambda: not machine.trainers(), 10), 1))
    expect(page.locator("#live")).to_contain_text("cancelled")

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status").first).to_contain_text("goes on from its last checkpoint")
    expect(page.locator("#live")).to_contain_text("succeeded", timeout=2 * RUN_MS)
    first = re.compile(r"first step of this attempt is step (?!1\.)\d+\.")
    expect(page.locator(".log")).to_contain_text(first)
    expect(page.locator("#results a[href^='/backtests/']")).not_to_contain_text("cancelled")
    assert watch.complaints == []


def configure(page: Page, changes: dict[str, str]) -> None:
    """Open the experiment form from the dataset and change some fields of the preset."""
    page.get_by_role("link", name="Use in experiment").click()
    for path, value in changes.items():
        set_field(page, path, value)


def drawn(page: Page, chart: str, marks: str) -> Locator:
    """The first mark of a chart that has been drawn."""
    return page.locator(f"#{chart} .main-svg").locator(marks).first


def progress_until_the_end(page: Page) -> list[int]:
    """Every progress the live box shows, in percent, until it shows none any more."""
    seen: list[int] = []
    deadline = time.monotonic() + RUN_MS / 1000
    while page.locator("#live").get_attribute("hx-get"):
        assert time.monotonic() < deadline, page.locator("#live").inner_text()
        bar = page.locator("#live [role=progressbar]")
        if bar.count():
            seen.append(int(bar.get_attribute("aria-valuenow") or 0))
        page.wait_for_timeout(250)
    return seen


def reload_until(page: Page, wanted: Locator) -> None:
    deadline = time.monotonic() + RUN_MS / 1000
    while not wanted.count():
        assert time.monotonic() < deadline, page.locator("main").inner_text()
        page.wait_for_timeout(500)
        page.reload()
