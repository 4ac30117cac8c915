"""A live page while the web process is away: it says so, and goes on by itself when it is back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.machine import candle_file, wait_until
from tests.browser.walking import import_file, open_dataset, set_field, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
AWAY_S = 5
WITHOUT_WEB = ("console error:", "no answer:")
LOSS_POINTS = """() => document.querySelector("#chart-loss .js-plotly-plot").data
    .map(line => Array.from(line.x).map((x, place) => [x, line.y[place]]))"""


def test_a_live_page_outlives_the_web_process_and_shows_no_point_twice(
    page: Page, machine, watch, tmp_path, record_property
):
    sign_in(page, machine)
    import_file(page, candle_file(tmp_path, days=66, symbol="SOLUSDT"), Symbol="SOL/USDT")
    open_dataset(page)
    page.get_by_role("link", name="Use in experiment").click()
    set_field(page, "training.patience", "6")
    set_field(page, "evaluation.folds", "2")
    page.get_by_role("button", name="Save and launch").click()
    page.evaluate("window.stayed = true")  # gone with a reload
    expect(page.locator("#chart-loss .scatterlayer path.js-line").first).to_be_attached()
    lost, before = page.locator("#lost"), points(page)
    assert watch.complaints == []

    with machine.web_away(AWAY_S):
        expect(lost).to_be_visible()
        expect(lost).to_have_text("Connection lost, retrying.")
        expect(page.locator("#live")).to_contain_text("running")
    record_property("seconds_to_return", round(wait_until(lambda: is_back(page), 30), 1))
    unlike = [said for said in watch.complaints if not said.startswith(WITHOUT_WEB)]
    assert unlike == []
    watch.complaints.clear()

    more = """old => document.querySelector("#chart-loss .js-plotly-plot").data
        .some(line => line.x.length > old)"""
    page.wait_for_function(more, arg=max(len(line) for line in before))
    assert page.evaluate("window.stayed")
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator("#live")).to_contain_text("cancelled")
    after = points(page)
    assert any(len(line) > len(old) for line, old in zip(after, before, strict=False))
    for line in after:
        steps = [step for step, _ in line]
        assert len(steps) == len(set(steps)) > 0
    expect(page).to_have_title(re.compile("^Cancelled"))
    stored = page.request.get(f"/api{page.url.split(machine.address)[1]}metrics/").json()
    keys = [(point["fold"], point["name"], point["step"]) for point in stored]
    assert len(keys) == len(set(keys)) > 100
    assert watch.complaints == []


def is_back(page: Page) -> bool:
    page.wait_for_timeout(100)  # lets the page poll meanwhile
    return page.locator("#lost").is_hidden()


def points(page: Page) -> list[list[list[float]]]:
    """Every line of the loss chart as it is drawn: pairs of step and loss."""
    found: list[list[list[float]]] = page.evaluate(LOSS_POINTS)
    return found
