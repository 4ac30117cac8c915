"""Every page in Chromium on prepared rows: accessibility, layout, console, charts, form, live box."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from backtests.models import Backtest
from jobs.models import Job
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from modeling.models import MetricPoint
from tests import factories
from tests.browser.process import HOSTILE, SIZES, faults_of, sign_in, watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def rows(alice):
    """One of everything: finished, running, failed and waiting; a hostile name among them."""
    workspace = alice.first_workspace()
    version = factories.make_version(workspace)
    run = factories.make_run(factories.make_experiment(workspace, version))
    synthetic = factories.make_version(workspace, symbol="SYN/USDT", source="synthetic")
    hostile = factories.make_experiment(workspace, synthetic, HOSTILE)
    running = factories.make_run(hostile, status=JobStatus.RUNNING, message="Fold 2 of 4, epoch 3")
    failed = factories.make_run(hostile, seed=1, status=JobStatus.FAILED, message="It diverged.")
    return {
        "version": version,
        "run": run,
        "backtest": factories.make_backtest(run),
        "running": running,
        "failed": failed,
        "waiting": factories.make_backtest(running, status=JobStatus.QUEUED),
        "import": factories.make_import(workspace, status=JobStatus.FAILED, code="bad_number"),
    }


def addresses(rows) -> list[str]:
    run, running = rows["run"].pk, rows["running"].pk
    return [
        "/",
        "/datasets/",
        "/datasets/new/",
        f"/datasets/{rows['version'].dataset_id}/",
        f"/datasets/{rows['version'].dataset_id}/?tab=versions",
        f"/imports/{rows['import'].pk}/",
        "/experiments/",
        "/experiments/new/",
        f"/experiments/{rows['run'].experiment_id}/",
        f"/experiments/{rows['running'].experiment_id}/",
        "/runs/",
        f"/runs/{run}/",
        f"/runs/{running}/",
        f"/runs/{rows['failed'].pk}/",
        f"/runs/{run}/predictions/",
        "/backtests/",
        f"/backtests/{rows['backtest'].pk}/",
        f"/backtests/{rows['waiting'].pk}/",
        "/jobs/",
        f"/jobs/{rows['running'].job_id}/",
        "/help/glossary/",
        "/password/",
    ]


EMPTY = ["/", "/datasets/", "/experiments/", "/experiments/new/", "/runs/", "/backtests/", "/jobs/"]


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_every_page_is_accessible_fits_and_is_silent(page, live_server, rows, size, theme):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    seen = watched(page, live_server)
    sign_in(page, live_server)
    wrong = {}
    for address in addresses(rows):
        page.goto(live_server.url + address)
        for box in page.locator("[data-chart]:visible").all():
            expect(box.locator(".main-svg").first).to_be_attached()
        if found := faults_of(page, width):
            wrong[address] = found
    assert wrong == {}
    assert seen == []


def test_empty_pages_say_what_they_are_for(page, live_server, alice):
    sign_in(page, live_server)
    wrong = {}
    for address in EMPTY:
        page.goto(live_server.url + address)
        if found := faults_of(page, 1280):
            wrong[address] = found
    assert wrong == {}


def test_the_table_of_a_chart_shows_its_ends(page, live_server, rows):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/backtests/{rows['backtest'].pk}/")
    box = page.locator("#equity")
    expect(box.locator(".main-svg").first).to_be_attached()
    box.get_by_role("button", name="Table of").click()
    body = box.locator("tbody tr")
    expect(body.first).to_be_visible()
    drawn = page.request.get(
        f"{live_server.url}/backtests/{rows['backtest'].pk}/charts/equity/"
    ).json()["figure"]["data"][-1]
    assert body.first.locator("th").inner_text() == drawn["x"][0]
    assert body.last.locator("td").last.get_attribute("class") == "r"
    shown = body.last.locator("td .num").last.get_attribute("title")
    assert float(shown) == pytest.approx(drawn["y"][-1])


def test_the_theme_switch_recolours_charts_without_a_reload(page, live_server, rows):
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/backtests/{rows['backtest'].pk}/")
    line = page.locator("#equity .scatterlayer .js-line").last
    expect(line).to_be_attached()
    before = line.evaluate("node => getComputedStyle(node).stroke")
    page.get_by_role("button", name="Theme:").click()
    page.get_by_role("button", name="Theme:").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    after = page.locator("#equity .scatterlayer .js-line").last
    assert after.evaluate("node => getComputedStyle(node).stroke") != before


def test_the_form_marks_changes_resets_them_and_updates_the_cost(page, live_server, alice):
    factories.make_version(alice.first_workspace(), candles=synthetic_candles(days=90))
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/new/")
    cost = page.locator("#cost")
    expect(cost).to_contain_text("50\u2009662")
    page.locator("summary", has_text=re.compile("^Model")).click()
    page.locator("[name='network.layers']").fill("3")
    expect(page.locator("[data-field='network.layers']")).to_contain_text("changed from 2")
    expect(page.locator("#changes")).to_have_text("1 change from tiny")
    expect(cost).not_to_contain_text("50\u2009662")
    page.get_by_role("button", name="Reset network.layers").click()
    expect(page.locator("#changes")).to_have_text("Equal to tiny")
    expect(cost).to_contain_text("50\u2009662")
    page.locator("summary", has_text=re.compile("^Evaluation")).click()
    expect(page.locator("#ribbon .row-line")).to_have_count(4)


def test_a_running_page_moves_without_a_reload_and_ends_by_itself(page, live_server, rows):
    run = rows["running"]
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{run.pk}/")
    page.evaluate("window.stayed = true")
    expect(page.locator("#chart-loss .main-svg").first).to_be_attached()
    MetricPoint.objects.create(run=run, fold=2, name="loss", step=60, value=0.123)
    Job.objects.filter(pk=run.job_id).update(progress=0.77)
    expect(page.locator("#live")).to_contain_text("77\u00a0%")
    expect(page).to_have_title("77\u00a0% · " + str(run))
    ended = Job.objects.get(pk=run.job_id).started_at
    Job.objects.filter(pk=run.job_id).update(status=JobStatus.SUCCEEDED, ended_at=ended)
    expect(page.locator("#live")).to_contain_text("succeeded")
    expect(page.locator("#live")).not_to_have_attribute("hx-get", "/anything/")
    expect(page.locator("#chart-loss .chart-summary")).to_contain_text("0.123")
    assert page.evaluate("window.stayed")


def test_a_curve_behind_its_title_is_loaded_when_it_is_opened_one_at_a_time(
    page, live_server, rows
):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/{rows['run'].pk}/")
    expect(page.locator("#chart-gradient_norm .main-svg").first).to_be_attached()
    speed, balance = page.locator("#chart-speed"), page.locator("#chart-balance")
    assert not [url for url in asked if url.endswith("/charts/speed/")]
    page.locator("summary", has_text="Speed").click()
    expect(speed.locator(".main-svg").first).to_be_visible()
    page.locator("summary", has_text="Balance of the heads").click()
    expect(balance.locator(".main-svg").first).to_be_visible()
    expect(speed).not_to_be_visible()
    speed_asked = [url for url in asked if url.endswith("/charts/speed/")]
    page.locator("summary", has_text="Speed").click()
    expect(speed.locator(".main-svg").first).to_be_visible()
    speed.get_by_role("button", name="Table of Speed").click()
    expect(speed.locator(".twin table")).to_be_visible()
    assert len(speed_asked) == 1


def test_a_page_without_javascript_still_serves(chromium, live_server, rows):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/backtests/{rows['backtest'].pk}/")
    expect(page.get_by_text("Not better than buy and hold").first).to_be_visible()
    page.get_by_role("link", name="Show the numbers as a table").first.click()
    expect(page.locator("tbody tr").first).to_be_visible()
    context.close()


def test_keys_go_and_can_be_switched_off(page, live_server, alice):
    sign_in(page, live_server)
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url(f"{live_server.url}/datasets/")
    page.locator("summary", has_text="alice").click()
    page.get_by_role("button", name="Shortcut keys: on").click()
    expect(page.get_by_role("button", name="Shortcut keys: off")).to_be_visible()


def test_figures_are_equal_on_page_and_in_report_json(page, live_server, rows):
    backtest: Backtest = rows["backtest"]
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/backtests/{backtest.pk}/")
    document = json.loads(
        page.request.get(f"{live_server.url}/backtests/{backtest.pk}/report.json").text()
    )
    for row in page.locator("section[aria-labelledby=measures] tbody tr").all():
        key = row.locator("th a").get_attribute("href").partition("#m-")[2]
        shown = row.locator("td").first.locator(".num").get_attribute("title")
        if document["numbers"][key] is None:
            assert shown is None
        else:
            assert float(shown) == document["numbers"][key]
