"""What runs that ended lead to, in Chromium: their actions, the menu beside them, the clone behind one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from jobs.errors import JobFailed
from jobs.statuses import JobStatus
from modeling.failures import diverged, out_of_memory
from modeling.models import TrainingRun
from modeling.presets import PRESETS
from modeling.training.errors import Diverged, OutOfMemory
from tests import factories
from tests.browser.process import SIZES, faults_of, sign_in, watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TINY = PRESETS["tiny"].training
FAILURES = {
    "diverged": diverged(
        Diverged(7, TINY.learning_rate, share=225.0), steps_before=0, last_saved=5
    ),
    "oom": out_of_memory(OutOfMemory(7, TINY.batch, 9 * 10**9, 10**9), steps_before=0),
    "causality": JobFailed(
        "causality",
        "Candles behind bar 812, their prices, changed the predictions of fold 2 up to it (action); "
        "expected no change. The fold was not stored. Update the code, then launch again.",
    ),
    "crashed": JobFailed("crashed", "Something broke on our side. Reference 3f2a."),
}


@pytest.fixture
def runs(alice: Any) -> dict[str, TrainingRun]:
    """A run of the preset `tiny` for each way to end."""
    experiment = factories.make_experiment(alice.first_workspace())
    found = {"succeeded": factories.make_run(experiment)}
    for seed, (name, failure) in enumerate(FAILURES.items(), start=1):
        status = JobStatus.ERRORED if name == "crashed" else JobStatus.FAILED
        found[name] = factories.make_run(
            experiment, seed=seed, status=status, code=failure.code, message=failure.message
        )
    found["causality"].causality["passed"] = False
    found["causality"].causality["folds"][1] |= {"passed": False, "predictions": "failed"}
    found["causality"].save()
    found["cancelled"] = factories.make_run(experiment, seed=9, status=JobStatus.CANCELLED)
    return found


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_the_actions_of_ended_runs_are_accessible_and_fit(
    page: Page, live_server: Any, runs: dict[str, TrainingRun], size: str, theme: Any
) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    wrong = {}
    for name, run in runs.items():
        page.goto(f"{live_server.url}/runs/{run.pk}/")
        for menu in page.locator("#actions summary", has_text="More").all():
            menu.click()
        assert page.locator("#actions > :is(a, form)").count() <= 2
        if found := faults_of(page, width):
            wrong[name] = found
    assert wrong == {}
    assert seen == []


def test_a_diverged_run_is_started_again_as_a_clone_whose_difference_is_seen_first(
    page: Page, live_server: Any, runs: dict[str, TrainingRun]
) -> None:
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{runs['diverged'].pk}/")
    expect(page.locator("#live")).to_contain_text("Start again with learning rate 0.00033.")
    page.get_by_role("link", name="Start again with learning rate 0.00033").click()
    rows = page.locator("#clone-difference tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Learning rate")
    expect(rows.locator("strong")).to_have_text("0.00033")
    expect(page.locator("#changes")).to_have_text("1 change from tiny")


def test_a_finished_run_is_run_again_once_by_a_double_click(
    page: Page, live_server: Any, runs: dict[str, TrainingRun]
) -> None:
    run = runs["succeeded"]
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{run.pk}/")
    page.locator("#actions summary", has_text="More").click()
    page.get_by_role("button", name="Run again").dblclick()
    expect(page.locator("#live")).to_contain_text("queued")
    assert TrainingRun.objects.filter(seed=run.seed).count() == 2


def test_a_finished_run_is_backtested_from_its_page(
    page: Page, live_server: Any, runs: dict[str, TrainingRun]
) -> None:
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{runs['succeeded'].pk}/")
    page.get_by_role("link", name="Backtest", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New backtest")
