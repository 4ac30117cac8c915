"""Compare in Chromium: from the ticked rows of a list to the curves, by mouse and by key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests import factories
from tests.browser.process import SIZES, faults_of, sign_in, watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def runs(alice):
    """Two runs of one experiment, and one on other candles, each with its backtest."""
    workspace = alice.first_workspace()
    experiment = factories.make_experiment(workspace)
    other = factories.make_version(workspace, symbol="ETH/USDT")
    type(other).objects.filter(pk=other.pk).update(sha256="cd" * 32)
    far = factories.make_experiment(workspace, other, "Elsewhere " + "x" * 180)
    runs = [factories.make_run(experiment, seed=seed) for seed in (0, 1)]
    runs.append(factories.make_run(far))
    for run in runs:
        factories.make_backtest(run)
    return runs


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_the_comparison_is_accessible_fits_and_is_silent(page, live_server, runs, theme, size):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    ids = ",".join(str(run.pk) for run in runs)
    wrong = {}
    for address in (
        f"/compare/?runs={ids}",
        f"/compare/?runs={ids}&show=all",
        f"/compare/?backtests={','.join(str(run.backtests.get().pk) for run in runs)}",
        "/compare/",
        "/runs/",
    ):
        page.goto(live_server.url + address)
        for box in page.locator("[data-chart]").all():
            expect(box.locator(".main-svg").first).to_be_attached()
        if found := faults_of(page, width):
            wrong[address] = found
        picture(page, f"compare-{theme}-{address.strip('/')[:12].replace('/', '-')}{len(address)}")
    assert wrong == {}
    assert seen == []


def picture(page, name):
    if folder := os.environ.get("OUTSAMPLE_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_ticked_rows_are_compared_and_the_reference_can_be_set(page, live_server, runs):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/")
    for run in runs:
        page.get_by_label(f"Compare {run}").check()
    page.get_by_role("button", name="Compare ticked").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 3 runs")
    expect(page.get_by_text("Not comparable").first).to_be_visible()
    page.get_by_role("link", name=f"Make #{runs[0].pk} {runs[0]} the reference").click()
    page.get_by_role("link", name=f"Remove #{runs[2].pk} {runs[2]}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")
    expect(page.get_by_text("Not comparable")).to_have_count(0)
    page.get_by_label("Add one of the newest runs").select_option(str(runs[2].pk))
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 3 runs")
    expect(page.locator("tbody tr", has_text="reference")).to_contain_text(f"#{runs[0].pk}")
    lines = page.locator("#compared-equity .scatterlayer .js-line")
    expect(lines).to_have_count(3)
    dashes = [line.evaluate("node => node.style.strokeDasharray") for line in lines.all()]
    assert len(set(dashes)) == 3


def test_rows_are_ticked_and_compared_by_keys_alone(page, live_server, runs):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/")
    for key in ("j", "x", "j", "x", "c"):
        page.keyboard.press(key)
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")
