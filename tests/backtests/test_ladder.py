"""The rungs of the equity: every rule has an account, every failure its row and its reason."""

import numpy as np
import pytest

from backtests.engine.rules import RULES
from backtests.models import Backtest
from backtests.pipeline import rule_targets, run_backtest
from backtests.services import launch_backtest
from backtests.specs import BacktestSpec
from jobs.attempts import RunningAttempt, StopReason
from jobs.claim import claim
from jobs.errors import StopRequested
from jobs.workers import claimant
from markets.candles.synthetic import synthetic_candles
from modeling.models import BaselineScore
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    alice = factories.make_user("alice")
    return factories.make_run(factories.make_experiment(alice.first_workspace()))


def launched(run):
    user = run.workspace.memberships.get().user
    row = launch_backtest(
        workspace=run.workspace, user=user, name="Again", run=run, spec=BacktestSpec()
    )
    return row, RunningAttempt(claim(row.job_id, claimant()))


def finished(run):
    row, attempt = launched(run)
    run_backtest(row, attempt)
    return Backtest.objects.get(pk=row.pk)


def rungs_on_page(client, row):
    client.force_login(row.workspace.memberships.get().user)
    page = client.get(f"/backtests/{row.pk}/").content.decode()
    return page[page.index('<h2 id="rungs"') : page.index('id="costs"')]


def test_flat_buy_and_hold_and_every_rule_have_an_account(run):
    report = finished(run).report
    rungs = report["numbers"]["rungs"]
    assert set(rungs) == {"flat", "buy_and_hold", "ma_cross", "macd", "rsi"}
    assert (rungs["flat"]["total_return"], rungs["flat"]["exposure"]) == (0, 0)
    assert rungs["ma_cross"]["trades"] > 0 and rungs["ma_cross"]["fees"] > 0
    assert {found["rung"] for found in report["verdict"]["comparisons"]} == set(rungs)
    assert report["verdict"]["rungs"] == 5


def test_rules_look_back_on_candles_before_the_first_predicted_bar():
    candles = synthetic_candles(days=3, seed=1)
    found = rule_targets(candles, 50)
    for name, rule in RULES.items():
        assert np.array_equal(found[name], rule(candles.close)[-50:])
    assert found["macd"].any() and not RULES["macd"](candles.close[-50:])[:33].any()


def test_a_rung_that_failed_is_a_row_with_its_reason(client, run):
    reason = "Fold 2: found NaN among the features; expected complete samples only"
    BaselineScore.objects.create(run=run, rung="dlinear", metrics={}, reason=reason)
    BaselineScore.objects.create(run=run, rung="har", metrics={}, reason="Fold 1: no history")
    row = finished(run)
    assert row.report["failed_rungs"] == {"dlinear": reason}
    table = rungs_on_page(client, row)
    assert "DLinear" in table and reason in table
    assert "HAR" not in table


def test_the_table_keeps_the_order_of_the_ladder_and_names_its_best_rung(client, run):
    row = finished(run)
    table = rungs_on_page(client, row)
    names = ("This model", "Flat", "Buy and hold", "Moving averages", "MACD", "RSI")
    places = [table.index(f'<th scope="row">{name}') for name in names]
    assert places == sorted(places)
    assert table.count("Best rung") == 1


def test_a_stop_is_looked_for_between_rungs(run):
    row, attempt = launched(run)
    real = attempt.progress

    def progress(fraction, message="", **step):
        if message == "Simulating":
            attempt.request_stop(StopReason.CANCEL)
        real(fraction, message, **step)

    attempt.progress = progress
    with pytest.raises(StopRequested):
        run_backtest(row, attempt)
