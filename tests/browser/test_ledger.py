"""Ledger, hold-out and leak alarm as a person uses them, in Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from jobs.statuses import JobStatus
from modeling.models import HoldoutOpening, Trial
from tests import factories
from tests.browser.process import SIZES, faults_of, sign_in, watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def run(alice):
    """A run under alarm, its report, and a second run that has opened the hold-out."""
    experiment = factories.make_experiment(alice.first_workspace())
    run = factories.make_run(experiment)
    run.leak_alarm = {"raised": True, "reasons": ["all folds: accuracy 0.710 is above 0.580."]}
    run.save()
    backtest = factories.make_backtest(run)
    trial = Trial.objects.get()
    trial.daily_sharpe, trial.days, trial.instrument = -0.04, 31, "BTC/USDT (binance)"
    trial.first_at, trial.last_at, trial.overfitting = backtest.first_at, backtest.last_at, 0.42
    trial.save()
    backtest.trial = trial
    backtest.withhold()
    backtest.save()
    return run


@pytest.fixture
def opened(run):
    """Another run, scored on the hold-out already."""
    other = factories.make_run(run.experiment, seed=1)
    row = HoldoutOpening.objects.create(
        workspace=run.workspace,
        experiment=run.experiment,
        run=other,
        created_by=run.workspace.memberships.get().user,
        job=factories.make_job(run.workspace, kind="predict", status=JobStatus.SUCCEEDED),
        from_at=run.experiment.holdout_at,
        until_at=run.experiment.holdout_until,
        metrics=other.metrics,
    )
    run.experiment.holdout_openings = 1
    run.experiment.save()
    return row


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_ledger_hold_out_and_alarm_are_accessible_and_fit(page, live_server, opened, size, theme):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    run = opened.experiment.runs.get(seed=0)
    wrong = {}
    for address in (
        "/trials/",
        "/trials/?kind=holdout",
        f"/experiments/{opened.experiment_id}/",
        "/experiments/?archived=1",
        f"/runs/{run.pk}/",
        f"/backtests/{run.backtests.get().pk}/",
    ):
        page.goto(live_server.url + address)
        for box in page.locator("[data-chart]:visible").all():
            expect(box.locator(".main-svg").first).to_be_attached()
        for details in page.locator("main details").all():
            details.evaluate("node => { node.open = true }")
        if found := faults_of(page, width):
            wrong[address] = found
    assert wrong == {}
    assert seen == []


def test_an_empty_ledger_is_reached_from_the_rail(page, live_server, alice):
    sign_in(page, live_server)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Trials").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Trials")
    expect(page.get_by_text("The first run fills it.")).to_be_visible()
    assert faults_of(page, 1280) == []


def test_a_trial_leads_to_its_report(page, live_server, run):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/trials/")
    expect(page.get_by_role("cell", name="42.00\u00a0%")).to_be_visible()
    page.get_by_label("Kind").select_option("Backtest")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="Clear the filter").click()
    page.get_by_role("row", name="Training run").get_by_role("link").last.click()
    expect(page.get_by_text("Verdict withheld").first).to_be_visible()


def test_the_hold_out_opens_only_for_the_typed_name(page, live_server, run):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/{run.experiment_id}/")
    expect(page.get_by_text("Nobody has looked")).to_be_visible()
    page.locator("summary", has_text="Open hold-out").click()
    page.get_by_label("Name of the experiment").fill("Tiny")
    page.get_by_role("button", name="Open hold-out").click()
    expect(page.get_by_text("Expected the name of the experiment")).to_be_visible()
    assert not HoldoutOpening.objects.exists()
    page.get_by_label("Name of the experiment").fill("Tiny transformer")
    page.get_by_role("button", name="Open hold-out").click()
    expect(page.get_by_text("These bars were opened 1 time")).to_be_visible()
    expect(
        page.get_by_text("Every succeeded run was scored on it or is being scored.")
    ).to_be_visible()
    assert HoldoutOpening.objects.get().run == run


def test_an_explained_alarm_shows_the_verdict_beside_it(page, live_server, run):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{run.pk}/")
    expect(page.get_by_role("alert")).to_contain_text("The verdict stays withheld")
    page.get_by_label("Why this is no leak").fill("A planted signal.\nIt has to be found.")
    page.get_by_role("button", name="Save explanation").click()
    expect(page.locator("blockquote")).to_contain_text("It has to be found.")
    expect(page.get_by_text("Not better than logistic")).to_be_visible()
    page.get_by_role("link", name="Open the report").click()
    expect(page.get_by_text("Not better than buy and hold").first).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("Leak alarm.")
    expect(page.locator("blockquote")).to_contain_text("A planted signal.")
