"""The pages of features in Chromium: accessible in both themes, no sideways scroll, charts drawn."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from markets.features import stretches
from markets.services.features import launch_features
from tests import factories
from tests.browser.process import SIZES, faults_of, sign_in, watched
from tests.path import run_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def version(settings, tmp_path, monkeypatch):
    """Computed features of 60 days, certified at two bars."""
    settings.FEATURE_CACHE = tmp_path / "features"
    defaults = {**stretches.certify_history.__kwdefaults__, "bars": 2}
    monkeypatch.setattr(stretches.certify_history, "__kwdefaults__", defaults)
    alice = factories.make_user("alice")
    version = factories.make_version(alice.first_workspace(), candles=factories.holed_candles(60))
    report, _ = launch_features(version, user=alice)
    assert run_job(report.job).status == "succeeded"
    return version


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_the_pages_are_accessible_fit_and_are_silent(page, live_server, version, size, theme):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    wrong = {}
    for address in ("/features/?family=time", f"{version.get_absolute_url()}?tab=features"):
        page.goto(live_server.url + address)
        for box in page.locator("[data-chart]").all():
            expect(box.locator(".main-svg").first).to_be_attached()
        if found := faults_of(page, width):
            wrong[address] = found
    assert wrong == {}
    assert seen == []


def test_a_feature_is_chosen_and_its_table_opened(page, live_server, version):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}{version.get_absolute_url()}?tab=features")
    page.get_by_label("Feature", exact=True).select_option("vpin_48")
    page.get_by_role("button", name="Show").click()
    box = page.locator("#feature-line")
    expect(box.locator(".chart-summary")).to_contain_text("vpin_48 from")
    box.get_by_role("button", name="Table of vpin_48").click()
    expect(box.locator(".twin table")).to_be_visible()
    page.locator("#correlation").get_by_role("button", name="Table of").click()
    expect(page.locator("#correlation .twin")).to_contain_text("Spearman")
