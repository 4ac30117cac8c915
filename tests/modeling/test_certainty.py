"""The confidence cuts and the volatility bands as pages and reports show them."""

import pytest

from backtests.models import Backtest
from backtests.pipeline import run_backtest
from backtests.services import launch_backtest
from backtests.specs import BacktestSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.workers import claimant
from modeling.certainty import certainty_of, certainty_table
from modeling.evaluation.abstention import abstention
from modeling.evaluation.bands import Band, band_share
from tests import factories
from tests.modeling.evaluation.test_abstention import table
from tests.modeling.evaluation.test_heads import scoring


def metrics(error=0.02, skill=0.01):
    given, bands = table(), {1: Band(-0.4, 0.4, 300), 2: Band(-0.3, 0.5, 300)}
    return {
        "confidence": {
            "calibration_error": {"value": error},
            "brier_skill": {"value": skill},
            "abstention": {"value": abstention(given, scoring())},
        },
        "volatility": {"band_share": band_share(given, bands, scoring())},
    }


def test_nothing_measured_is_nothing_to_show():
    assert certainty_of({"confidence": {"brier": {"value": 0.2}}}) == {}
    assert certainty_table({}) == {}


def test_rows_are_named_as_a_trader_knows_them():
    shown = certainty_table(certainty_of(metrics()))
    labels = [group["label"] for group in shown["groups"]]
    regimes = [f"Predicted {name}" for name in ("ranging", "bull", "bear", "volatile")]
    assert labels == ["All test bars", "Fold 1", "Fold 2", *regimes]
    assert [row["label"] for row in shown["bands"]] == ["All test bars", "Fold 1", "Fold 2"]
    assert shown["bands"][1]["factors"] == pytest.approx((0.670320, 1.491825))


@pytest.mark.parametrize(("error", "word"), [(0.02, ""), (0.2, "uncalibrated")])
def test_the_word_follows_the_figures(error, word):
    found = certainty_of(metrics(error))
    assert found["is_calibrated"] is (word == "")
    assert word in certainty_table(found)["reason"]


@pytest.fixture
def run(db):
    alice = factories.make_user("alice")
    made = factories.make_run(factories.make_experiment(alice.first_workspace()))
    made.metrics |= metrics(0.2)
    made.save()
    return made


def of_section(client, run, path):
    client.force_login(run.workspace.memberships.get().user)
    page = client.get(path).content.decode()
    return page[page.index('id="certainty"') :].split("</section>")[0]


def test_the_run_page_shows_cuts_bands_and_why_it_is_uncalibrated(client, run):
    shown = of_section(client, run, f"/runs/{run.pk}/")
    assert "uncalibrated" in shown
    assert "test calibration error 0.200" in shown
    assert shown.count(" covered</span>") == 7 * 5
    assert "Predicted volatile" in shown
    assert "0.67 to 1.49" in shown


def test_the_report_keeps_the_figures_and_shows_them_behind_the_ladder(client, run):
    user = run.workspace.memberships.get().user
    row = launch_backtest(
        workspace=run.workspace, user=user, name="Again", run=run, spec=BacktestSpec()
    )
    run_backtest(row, RunningAttempt(claim(row.job_id, claimant())))
    row = Backtest.objects.get()
    assert row.report["numbers"]["certainty"] == certainty_of(run.metrics)
    path = f"/backtests/{row.pk}/"
    assert of_section(client, run, path) == of_section(client, run, f"/runs/{run.pk}/")
    page = client.get(path).content.decode()
    places = [page.index(f'id="{name}"') for name in ("rungs", "certainty", "costs")]
    assert places == sorted(places)


def test_a_run_without_them_has_no_such_section(client, run):
    other = factories.make_run(run.experiment, seed=1)
    client.force_login(run.workspace.memberships.get().user)
    assert 'id="certainty"' not in client.get(f"/runs/{other.pk}/").content.decode()
