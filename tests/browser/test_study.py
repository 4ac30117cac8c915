"""An ablation as a person launches, reads, cancels and resumes it, in Chromium."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from backtests.models import Study, StudyRun
from jobs.models import Job
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from tests import factories
from tests.backtests.test_study_pages import with_comparison
from tests.browser.process import SIZES, faults_of, sign_in, watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def experiment(alice):
    """`tiny` on candles that are long enough for every variant."""
    workspace = alice.first_workspace()
    candles = synthetic_candles(days=100, timeframe_minutes=5)
    return factories.make_experiment(
        workspace, factories.make_version(workspace, candles=candles), name="Tiny"
    )


def launch_by_hand(page, live_server, experiment):
    """From the page of the experiment to the study of two variants with two seeds."""
    page.goto(f"{live_server.url}/experiments/{experiment.pk}/")
    page.get_by_role("link", name="Run an ablation").click()
    page.get_by_label("Seeds").fill("2")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_label("No temporal bias").check()
    page.get_by_label("No multi-scale").check()
    page.get_by_role("button", name="Estimate again").click()
    expect(page.locator("dl.strip").get_by_text("6", exact=True)).to_be_visible()
    page.get_by_role("button", name="Launch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ablation of Tiny")
    return Study.objects.get()


@pytest.mark.parametrize("size", SIZES)
def test_each_box_stands_in_one_line_with_the_label_of_its_variant(
    page, live_server, experiment, size
):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/{experiment.pk}/study/")
    for row in page.locator("tbody tr:has(.pick)").all():
        box, label = row.locator(".pick").bounding_box(), row.locator("label").bounding_box()
        assert box["x"] + box["width"] <= label["x"]
        assert box["y"] < label["y"] + 9 < box["y"] + box["height"]  # the middle of its first line


def test_an_ablation_is_launched_filled_cancelled_and_resumed(page, live_server, experiment):
    seen = watched(page, live_server)
    sign_in(page, live_server)
    study = launch_by_hand(page, live_server, experiment)
    expect(page.locator("#live")).to_contain_text("0 of 6")
    part = StudyRun.objects.filter(variant__study=study).first()
    part.run.metrics = factories._scores(0.53)
    part.run.save()
    now = part.run.created_at
    Job.objects.filter(pk=part.run.job_id).update(
        status=JobStatus.SUCCEEDED, started_at=now, ended_at=now
    )
    # Without a reload: the box polls, and the table is fetched again when a run has ended.
    expect(page.locator("#live")).to_contain_text("1 of 6")
    expect(page.get_by_role("row", name=re.compile("^Base"))).to_contain_text("0.530")
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator("#live")).to_contain_text("cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#live")).to_contain_text("queued")
    assert seen == []


def test_words_stand_beside_their_intervals(page, live_server, experiment):
    sign_in(page, live_server)
    study = launch_by_hand(page, live_server, experiment)
    spans_zero = {"difference": 0.004, "interval": [-0.01, 0.02], "rows": 9, "reason": ""}
    with_comparison(study, **{"volatility.r2": spans_zero})
    page.reload()
    row = page.get_by_role("row", name="No temporal bias")
    expect(row).to_contain_text("better")
    expect(row).to_contain_text("not shown")
    expect(row).to_contain_text("[−0.010, +0.020]")
    page.get_by_role("link", name="Studies").click()
    expect(page.get_by_role("link", name="Ablation of Tiny")).to_be_visible()


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_pages_of_studies_are_accessible_and_fit(page, live_server, experiment, size, theme):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/studies/")
    wrong = {"empty": faults_of(page, width)}
    study = launch_by_hand(page, live_server, experiment)
    wrong["open"] = faults_of(page, width)
    with_comparison(study)
    for address in (
        "/studies/",
        f"/studies/{study.pk}/",
        f"/experiments/{experiment.pk}/study/",
        f"/experiments/{experiment.pk}/",
    ):
        page.goto(live_server.url + address)
        for details in page.locator("main details").all():
            details.evaluate("node => { node.open = true }")
        wrong[address] = faults_of(page, width)
    assert {address: faults for address, faults in wrong.items() if faults} == {}
    assert seen == []
