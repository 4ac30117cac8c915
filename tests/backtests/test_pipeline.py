import json

import pytest

from backtests.models import Backtest
from backtests.pipeline import run_backtest
from backtests.services import launch_backtest
from backtests.specs import BacktestSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.workers import claimant
from tests import factories
from tests.api import bearer

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return factories.make_user("alice")


@pytest.fixture
def run(alice):
    return factories.make_run(factories.make_experiment(alice.first_workspace()))


def finished(run, spec=None):
    """A backtest of the predictions of a run, made by the job's own body."""
    row = launch_backtest(
        workspace=run.workspace,
        user=run.workspace.memberships.get().user,
        name="Second look",
        run=run,
        spec=spec or BacktestSpec(),
    )
    run_backtest(row, RunningAttempt(claim(row.job_id, claimant())))
    return Backtest.objects.get(pk=row.pk)


def pages(client, row):
    client.force_login(row.workspace.memberships.get().user)
    return [client.get(path).content.decode() for path in (f"/backtests/{row.pk}/", "/backtests/")]


def test_the_report_stores_the_comparison_that_decided(run):
    row = finished(run)
    verdict = row.report["verdict"]
    assert verdict["deciding"] in verdict["comparisons"]
    assert row.verdict == verdict["word"] == verdict["deciding"]["word"]
    assert row.job.message == verdict["sentence"]


def test_a_leak_alarm_withholds_every_comparison(client, run):
    run.leak_alarm = {"raised": True, "reasons": ["Accuracy 0.71 over all folds."]}
    run.save()
    row = finished(run)
    verdict = row.report["verdict"]
    assert (row.verdict, verdict["word"]) == ("withheld", "withheld")
    assert (verdict["deciding"], verdict["comparisons"], verdict["best_rung"]) == (None, [], None)
    assert row.job.message == verdict["sentence"]
    detail, listed = pages(client, row)
    assert "Verdict withheld" in detail
    assert "The verdict stays withheld. Find the leak, then run again." in detail
    assert "Withheld" in listed
    api = bearer(row.workspace.memberships.get().user)
    shown = [api.get("/api/backtests/").content, api.get(f"/api/backtests/{row.pk}/").content]
    shown.append(api.get(f"/api/backtests/{row.pk}/report.json").content)
    for text in (detail, listed, *(part.decode() for part in shown)):
        for word in (
            "verdict-ties",
            "verdict-loses",
            "verdict-undecided",
            '"undecided"',
            "Not better",
        ):
            assert word not in text
    assert json.loads(shown[0])["results"][0]["verdict"] == "withheld"
