"""The catalogue in Chromium: quality, jumps, acceptance, lineage, resampling, deletion."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from markets.candles.synthetic import synthetic_candles
from markets.models import Dataset, DatasetVersion, Import
from tests import factories
from tests.browser.process import SIZES, faults_of, sign_in, watched
from tests.path import run_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
FINDINGS = ("Missing bars: found 4.10 %, expected at most 2.00 %.", "Flat bars: found 12.00 %.")


@pytest.fixture
def rows(alice):
    """A used version with a gap, one with findings, a synthetic one and a resampled one."""
    workspace = alice.first_workspace()
    version = factories.make_version(workspace)
    longer = factories.make_version(workspace, candles=factories.holed_candles(days=50))
    DatasetVersion.objects.filter(pk=longer.pk).update(difference=changed(longer))
    factories.make_run(factories.make_experiment(workspace, version))
    hours = synthetic_candles(days=60, timeframe_minutes=240)
    resampled = factories.make_version(workspace, candles=hours, source="resampled")
    DatasetVersion.objects.filter(pk=resampled.pk).update(parent=version)
    return {
        "used": version,
        "longer": longer,
        "found": factories.make_version(workspace, symbol="BAD/USDT", findings=FINDINGS),
        "synthetic": factories.make_version(workspace, symbol="SYN/USDT", source="synthetic"),
    }


def changed(version):
    pair = [100.5, 101.25]
    return {
        "added": {"before": 240, "inside": 0, "after": 0},
        "removed_bars": 0,
        "overlap": {"bars": 954, "equal": 953, "changed": 1},
        "changes": [{"at": f"{version.first_at:%Y-%m-%dT%H:%M:%SZ}", "close": pair}],
        "is_extension": False,
    }


def addresses(rows) -> list[str]:
    used, longer = rows["used"].get_absolute_url(), rows["longer"].get_absolute_url()
    return [
        "/datasets/?timeframe=1h",
        "/datasets/?q=nothing-like-it&source=file",
        longer,
        f"{used}?tab=used",
        f"{used}?tab=versions",
        f"{used}?from=2024-01-05T00:00Z&to=2024-01-12T00:00Z",
        rows["found"].get_absolute_url(),
        rows["synthetic"].get_absolute_url(),
        f"{used}delete/",
        f"{longer}delete/",
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_pages_of_datasets_are_accessible_fit_and_are_silent(page, live_server, rows, size, theme):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    wrong = {}
    for address in addresses(rows):
        page.goto(live_server.url + address)
        for box in page.locator("[data-chart]").all():
            expect(box.locator(".main-svg").first).to_be_attached()
        if found := faults_of(page, width):
            wrong[address] = found
    assert wrong == {}
    assert seen == []


def test_a_gap_leads_to_the_candles_around_it(page, live_server, rows):
    sign_in(page, live_server)
    page.goto(live_server.url + rows["used"].get_absolute_url())
    expect(page.get_by_text("1 gap, 6 of 960 bars missing")).to_be_visible()
    gaps = page.get_by_role("region", name="Gaps")
    gaps.get_by_role("link", name="2024-01-09 07:00 UTC").click()
    summary = page.locator("#candles .chart-summary")
    expect(summary).to_contain_text("2024-01-06 19:00 to 2024-01-12 00:00 UTC")
    page.get_by_role("link", name="Later").click()
    expect(summary).to_contain_text("2024-01-12 01:00")
    page.get_by_label("Jump to").fill("2024-02-01")
    page.get_by_role("button", name="Go").click()
    expect(summary).to_contain_text("2024-01-31 00:00 to 2024-02-02 23:00 UTC")
    page.get_by_role("button", name="Whole span of Candles").click()
    expect(summary).to_contain_text("2024-01-01 00:00")


def test_the_table_of_a_part_shows_that_part(page, live_server, rows):
    sign_in(page, live_server)
    address = f"{rows['used'].get_absolute_url()}?from=2024-01-20T00:00Z&to=2024-01-21T00:00Z"
    page.goto(live_server.url + address)
    box = page.locator("#candles")
    expect(box.locator(".main-svg").first).to_be_attached()
    box.get_by_role("button", name="Table of").click()
    expect(box.locator("tbody tr")).to_have_count(24)
    expect(box.locator("tbody tr").first).to_contain_text("2024-01-20 00:00")


def test_findings_keep_candles_from_use_until_they_are_accepted(page, live_server, rows):
    sign_in(page, live_server)
    page.goto(live_server.url + rows["found"].get_absolute_url())
    expect(page.get_by_role("heading", name="Not usable yet")).to_be_visible()
    expect(page.get_by_role("link", name="Use in experiment")).to_have_count(0)
    page.get_by_label("Why they can be used").fill("The venue was down; the rest is whole.")
    page.get_by_role("button", name="Accept findings").click()
    expect(page.get_by_text("The findings are accepted")).to_be_visible()
    expect(page.get_by_text("Accepted by alice")).to_contain_text("The venue was down")
    expect(page.get_by_role("link", name="Use in experiment")).to_be_visible()


def test_used_candles_are_not_deleted_and_unused_ones_are(page, live_server, rows):
    sign_in(page, live_server)
    used, longer = rows["used"], rows["longer"]
    page.goto(f"{live_server.url}{used.get_absolute_url()}delete/")
    expect(page.get_by_role("alert")).to_contain_text("nothing is deleted")
    expect(page.get_by_role("link", name="Tiny transformer").first).to_be_visible()
    page.goto(live_server.url + longer.get_absolute_url())
    page.locator("summary", has_text="More").click()
    page.get_by_role("link", name="Delete version 2").click()
    page.get_by_role("button", name="Delete version 2").click()
    expect(page.get_by_text("is deleted.")).to_be_visible()
    expect(page.locator(".page-head")).to_contain_text("version 1")
    assert Dataset.objects.get(pk=used.dataset_id).latest_id == used.pk


def test_candles_are_resampled_from_their_page(page, live_server, rows):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}{rows['used'].get_absolute_url()}?tab=used")
    page.get_by_label("Timeframe").select_option("2h")
    page.get_by_role("button", name="Resample").click()
    expect(page.locator("#live")).to_contain_text("queued")
    assert run_job(Import.objects.latest("pk").job).status == "succeeded"
    page.locator("#live").get_by_role("link", name="Open ").click()
    expect(page.locator(".page-head")).to_contain_text("resampled")
    expect(page.get_by_text("Resampled from")).to_be_visible()


def test_a_dataset_is_renamed_and_found_by_its_new_name(page, live_server, rows):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}{rows['used'].get_absolute_url()}?tab=used")
    page.get_by_label("Name of the dataset").fill("Bitcoin by the hour")
    page.get_by_role("button", name="Rename").click()
    expect(page).to_have_title(re.compile("Bitcoin by the hour"))
    page.goto(f"{live_server.url}/datasets/?q=by the hour")
    expect(page.locator("tbody").get_by_role("link", name="Bitcoin by the hour")).to_be_visible()


def test_without_scripts_a_gap_still_leads_to_its_candles(chromium, live_server, rows):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server)
    page.goto(live_server.url + rows["used"].get_absolute_url())
    page.get_by_role("link", name="2024-01-09 07:00 UTC").click()
    page.get_by_role("link", name="Show the numbers as a table").click()
    expect(page.locator("tbody tr").first).to_contain_text("2024-01-06 19:00")
    context.close()
