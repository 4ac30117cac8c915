"""An upload in Chromium: preview, confirmation, refusal and its correction by choosing columns."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import faults_in_every_look
from tests.browser.machine import candle_file
from tests.browser.walking import open_dataset, send_file, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture
def visitor(page: Page, machine) -> Page:
    sign_in(page, machine)
    return page


def german_file(folder):
    """Twelve rows; what two of the columns hold is not said in a language that is known."""
    rows = [f"2024-01-01 00:{5 * row:02d}:00,100,102,99,101,5" for row in range(12)]
    path = folder / "kerzen.csv"
    path.write_text("\n".join(["timestamp,open,high,low,Zu,Menge", *rows, ""]))
    return path


def test_a_file_is_previewed_then_imported(visitor, watch, tmp_path):
    send_file(visitor, candle_file(tmp_path, days=3, symbol="PREVIEW"), Symbol="PRE/VIEW")

    seen = visitor.get_by_role("region", name="How the file is understood")
    expect(seen).to_contain_text("Nothing in the file would be refused")
    expect(seen).to_contain_text("a new dataset")
    expect(visitor.get_by_role("region", name="First rows as understood").first).to_contain_text(
        "2024"
    )
    assert faults_in_every_look(visitor) == []

    visitor.get_by_role("button", name="Import", exact=True).click()
    expect(visitor.locator("#live")).to_contain_text("864 bars, 0 gaps")
    expect(visitor.get_by_role("button", name="Preview again")).to_have_count(0)
    open_dataset(visitor)
    assert watch.complaints == []


def test_a_refused_file_is_mended_by_choosing_columns_without_sending_it_again(
    visitor, watch, tmp_path
):
    send_file(visitor, german_file(tmp_path), Symbol="MEND/ED")
    expect(visitor.locator("#results")).to_contain_text("Would be refused")
    visitor.get_by_role("button", name="Import", exact=True).click()
    expect(visitor.get_by_role("alert")).to_contain_text("columns_not_found")
    expect(visitor.locator("#results")).to_contain_text("need not be sent again")
    assert faults_in_every_look(visitor) == []

    expect(visitor.get_by_label("Open", exact=True)).to_have_value("#2")
    visitor.get_by_label("Close", exact=True).select_option("#5")
    visitor.get_by_label("Volume", exact=True).select_option("#6")
    visitor.get_by_role("button", name="Preview again").click()
    rows = visitor.get_by_role("region", name="First rows as understood").first
    expect(rows).to_contain_text("2024-01-01 00:55")
    visitor.get_by_role("button", name="Import", exact=True).click()
    expect(visitor.locator("#live")).to_contain_text("12 bars, 0 gaps")
    assert watch.complaints == []


def test_a_second_tab_is_told_that_the_file_was_imported(visitor, watch, context, tmp_path):
    send_file(visitor, candle_file(tmp_path, days=1, symbol="TABS"), Symbol="TA/BS")
    button = visitor.get_by_role("button", name="Import", exact=True)
    expect(button).to_be_visible()
    other = context.new_page()
    other.goto(visitor.url)
    button.click()
    expect(visitor.locator("#live")).to_contain_text("288 bars")
    watch.expected.add((f"{visitor.url}confirm/", 409))
    other.get_by_role("button", name="Import", exact=True).click()
    expect(other.get_by_role("alert")).to_contain_text("has been imported")
    assert watch.complaints == []


def test_the_preview_serves_without_javascript(chromium, machine, tmp_path):
    context = chromium.new_context(base_url=machine.address, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, machine)
    send_file(page, candle_file(tmp_path, days=1, symbol="PLAIN"), Symbol="PLA/IN")
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_visible()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#live")).to_contain_text("288 bars")
    context.close()
