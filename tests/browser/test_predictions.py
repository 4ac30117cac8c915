"""The page of predictions in Chromium: looks, zoom, table twin, themes, keys, and no script."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests import predicted
from tests.browser.looks import faults_in_every_look
from tests.browser.process import sign_in, watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def run(alice):
    return predicted.make_predicted_run(alice.first_workspace())


def open_page(page: Page, live_server, run, query: str = "") -> None:
    page.goto(f"{live_server.url}/runs/{run.pk}/predictions/{query}")
    drawn(page)


def drawn(page: Page) -> None:
    for box in page.locator("[data-chart]").all():
        expect(box.locator(".main-svg").first).to_be_attached()


@pytest.mark.parametrize(
    "query",
    [
        *(f"?head={head}" for head in ("action", "regime", "confidence", "volatility")),
        "?head=risk&at=2024-02-06",
        "?set={holdout}",
        "{own}/of/1/chart/?as=table&from=2024-02-06T00:00Z&to=2024-02-06T06:00Z",
    ],
)
def test_every_part_is_accessible_fits_and_is_silent(page, live_server, run, query):
    own = run.prediction_sets.get().pk
    holdout = predicted.open_holdout_of(run).pk
    seen = watched(page, live_server)
    sign_in(page, live_server)
    open_page(page, live_server, run, query.format(own=own, holdout=holdout))
    assert faults_in_every_look(page) == []
    assert seen == []


def test_jump_zooms_and_the_table_follows(page, live_server, run):
    sign_in(page, live_server)
    open_page(page, live_server, run)
    box = page.locator("#predictions")
    expect(box.locator("figcaption")).to_contain_text("Thinned to")
    page.get_by_label("Jump to date").fill("2024-02-04")
    page.get_by_role("button", name="Go").click()
    summary = box.locator(".chart-summary")
    expect(summary).to_contain_text("842 predicted bars from 2024-02-03 01:50", timeout=10_000)
    box.get_by_role("button", name="Table of").click()
    rows = box.locator(".twin tbody tr")
    expect(rows.first.locator("th")).to_have_text("2024-02-03 01:50")
    closes = page.evaluate("document.querySelector('#predictions .chart').data[0].y")
    drawn_closes = [value for value in closes if value is not None]
    assert rows.count() == len(drawn_closes)
    for place in (0, -1):
        text = rows.nth(place).locator("td").nth(1).inner_text().replace("\u2009", "")
        assert float(text) == drawn_closes[place]
    box.get_by_role("button", name="Whole span").click()
    expect(summary).to_contain_text("1462 predicted bars")


def test_theme_recolours_ribbon_and_shades(page, live_server, run):
    sign_in(page, live_server)
    colours = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        open_page(page, live_server, run)
        colours.append(
            page.evaluate(
                """() => {
                  const chart = document.querySelector("#predictions .chart");
                  const bars = chart.data.filter((trace) => trace.type === "bar");
                  const shades = chart.layout.shapes.filter((shape) => shape.type === "rect");
                  return [bars.map((trace) => trace.marker.color), shades.map((shape) => shape.fillcolor)];
                }"""
            )
        )
    light, dark = colours
    assert len(light[0]) == len(dark[0]) > 4
    assert all(one != other for one, other in zip(light[0], dark[0], strict=True))
    assert all(one != other for one, other in zip(light[1], dark[1], strict=True))


def test_tabs_work_with_keys_alone(page, live_server, run):
    sign_in(page, live_server)
    open_page(page, live_server, run)
    page.get_by_role("link", name="Action", exact=True).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Calibration of market regime")).to_be_visible()
    current = page.get_by_role("navigation", name="Heads").locator("[aria-current]")
    expect(current).to_have_text("Market regime")


def test_without_a_script_tabs_jump_and_table_still_serve(chromium, live_server, run):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{run.pk}/predictions/?head=risk")
    expect(page.get_by_role("table", name="Scores of Risk")).to_be_visible()
    page.get_by_label("Jump to date").fill("2024-02-04")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("table", name="Scores of Risk")).to_be_visible()
    page.get_by_role("link", name="The numbers of this window as a table").click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(288)
    expect(rows.first.locator("th")).to_have_text("2024-02-04 00:00")
    page.get_by_role("link", name="Later").click()
    expect(page.locator("tbody tr").first.locator("th")).to_have_text("2024-02-05 00:00")
    context.close()
