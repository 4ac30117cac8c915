"""The model registry as a person uses it, in Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from accounts.models import AuditEvent
from backtests.models import Backtest
from jobs.statuses import JobStatus
from modeling.models import ModelPrediction, RegisteredModel
from tests import factories, registry
from tests.browser.process import HOSTILE, SIZES, faults_of, sign_in, watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def run(alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    registry.loadable(run)
    return run


@pytest.fixture
def other(run):
    return factories.make_version(run.workspace, symbol="ETH/USDT")


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_models_and_predictions_are_accessible_fit_and_are_silent(
    page,
    live_server,
    run,
    other,
    size,
    theme,
):
    model = registry.make_model(run, HOSTILE[:200], stage="production", notes="Since March.")
    done = registry.make_prediction(model, other)
    waiting = registry.make_prediction(model, status=JobStatus.QUEUED)
    failed = registry.make_prediction(
        model, status=JobStatus.FAILED, code="not_enough_history", message="It is too short."
    )
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    wrong = {}
    for address in (
        "/models/",
        "/models/?q=nothing",
        f"/models/new/?run={run.pk}",
        f"/models/{model.pk}/",
        *(f"/models/{model.pk}/predictions/{row.pk}/" for row in (done, waiting, failed)),
    ):
        page.goto(live_server.url + address)
        for box in page.locator("[data-chart]").all():
            expect(box.locator(".main-svg").first).to_be_attached()
        if found := faults_of(page, width):
            wrong[address] = found
    assert wrong == {}
    assert seen == []


def test_an_empty_registry_is_reached_from_the_rail(page, live_server, alice):
    sign_in(page, live_server)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")
    expect(page.get_by_text("press Register model")).to_be_visible()
    assert faults_of(page, 1280) == []


def test_a_run_is_registered_given_a_stage_and_asked_to_predict(page, live_server, run, other):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{run.pk}/")
    page.get_by_role("link", name="Register model").click()
    page.get_by_label("Name").fill("Hourly")
    page.get_by_label("Notes").fill("The first.")
    page.get_by_role("button", name="Register model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Hourly")
    expect(page.get_by_text("fold 2").first).to_be_visible()
    page.get_by_label("Stage", exact=True).select_option("Staging")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".badge-word", has_text="Staging")).to_be_visible()
    assert AuditEvent.objects.filter(action="change_model").count() == 1
    page.get_by_label("Dataset version").select_option(str(other.pk))
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Hourly on {other}")
    expect(page.locator("#live")).to_contain_text("queued")
    assert ModelPrediction.objects.get().version == other
    assert RegisteredModel.objects.get().stage == "staging"


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_what_a_model_predicted_is_backtested_with_other_costs(
    page,
    live_server,
    run,
    other,
    size,
    theme,
):
    later = registry.make_prediction(registry.make_model(run), other)
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/models/{later.model_id}/predictions/{later.pk}/")
    page.get_by_role("link", name="Backtest these predictions").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New backtest")
    assert faults_of(page, width) == []
    page.get_by_label("Name").fill("Twice the fee")
    page.get_by_label("Taker fee").fill("8")
    page.get_by_role("button", name="Launch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Twice the fee")
    row = Backtest.objects.get()
    assert (row.model_prediction, row.version, row.spec.costs.taker_bps) == (later, other, 8.0)


def test_weights_and_card_are_downloaded(page, live_server, run):
    model = registry.make_model(run)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/models/{model.pk}/")
    for link, ending in (("Weights", "weights.safetensors"), ("Card", "card.json")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link, exact=True).click()
        assert download.value.suggested_filename == f"model-{model.pk}-{ending}"
