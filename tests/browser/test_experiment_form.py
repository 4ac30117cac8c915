"""The experiment form in Chromium: cards, only changes, ribbon, clone difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from markets.candles.synthetic import synthetic_candles
from tests import factories
from tests.browser.process import SIZES, faults_of, sign_in, watched
from tests.browser.walking import set_field

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def experiment(alice):
    workspace = alice.first_workspace()
    version = factories.make_version(workspace, candles=synthetic_candles(days=90))
    return factories.make_experiment(workspace, version)


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_a_changed_clone_is_accessible_and_fits(page, live_server, experiment, theme, size):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/new/?from={experiment.pk}")
    expect(page.locator("#clone-difference")).to_contain_text("No setting differs")
    set_field(page, "evaluation.embargo_bars", "576")
    set_field(page, "training.epochs", "3")
    difference = page.locator("#clone-difference tbody tr")
    expect(difference).to_have_count(2)
    expect(difference.first).to_contain_text("Epochs")
    expect(page.locator("#ribbon .row-line")).to_have_count(4)
    assert faults_of(page, width) == []
    if folder := os.environ.get("OUTSAMPLE_PICTURES"):
        page.screenshot(path=Path(folder) / f"form-{theme}.png", full_page=True)
    assert seen == []


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_edited_json_is_compared_priced_and_shown_in_the_fields(
    page, live_server, experiment, theme, size
):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/new/?from={experiment.pk}")
    page.locator("summary", has_text="JSON").click()
    text = page.get_by_label("Spec as JSON")
    text.fill(text.input_value().replace('"epochs": 6', '"epochs": 9'))
    expect(page.locator("#clone-difference tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Validate").click()
    expect(page.get_by_text("Every field is valid; nothing was saved.")).to_be_visible()
    expect(page.locator("[data-field='training.epochs'] input")).to_have_value("9")
    set_field(page, "training.batch", "128")
    expect(page.locator("#clone-difference tbody tr")).to_have_count(2)
    assert faults_of(page, width) == []
    if folder := os.environ.get("OUTSAMPLE_PICTURES"):
        page.screenshot(path=Path(folder) / f"json-{theme}.png", full_page=True)


def test_only_the_changed_fields_can_be_shown(page, live_server, experiment):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/new/")
    set_field(page, "training.epochs", "3")
    expect(page.locator("#changes")).to_have_text("1 change from tiny")
    page.get_by_label("Show only changes").check()
    expect(page.locator("[data-field='training.epochs'] input")).to_be_visible()
    expect(page.locator("[data-field='training.batch'] input")).to_be_hidden()
    expect(page.locator("details.part:visible")).to_have_count(1)
    page.get_by_label("Show only changes").uncheck()
    expect(page.locator("[data-field='windows.context_bars']")).to_have_count(1)
    expect(page.locator("details.part:visible")).not_to_have_count(1)


def test_a_section_with_an_error_opens_itself(page, live_server, experiment):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/new/")
    set_field(page, "evaluation.bootstrap_draws", "7")
    page.get_by_role("button", name="Validate").click()
    expect(page.locator("#errors")).to_be_focused()
    expect(page.locator("[data-field='evaluation.bootstrap_draws'] input")).to_be_visible()
    expect(page.locator("[data-field='evaluation.bootstrap_draws'] .error")).to_be_visible()


def test_the_form_validates_without_javascript(chromium, page, live_server, experiment):
    sign_in(page, live_server)
    plain = chromium.new_context(java_script_enabled=False)
    plain.add_cookies(page.context.cookies())
    visitor = plain.new_page()
    visitor.goto(f"{live_server.url}/experiments/new/?from={experiment.pk}")
    visitor.get_by_role("button", name="Validate").click()
    expect(visitor.get_by_text("Every field is valid; nothing was saved.")).to_be_visible()
    expect(visitor.locator("#cost")).to_contain_text("50\u2009662")
    plain.close()
