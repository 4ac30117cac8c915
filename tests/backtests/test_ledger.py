"""What is counted, and what a report says about it."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from backtests.models import Backtest
from backtests.pipeline import run_backtest
from backtests.robustness.overfitting import overfitting_probability
from backtests.robustness.sharpe import variance_of_trials
from backtests.services import create_experiment, launch_backtest
from backtests.specs import BacktestSpec, ExperimentSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.models import Job
from jobs.statuses import JobStatus
from jobs.workers import claimant
from markets.candles.synthetic import synthetic_candles
from modeling.models import Trial
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    """Predictions of about a hundred days."""
    candles = synthetic_candles(
        days=340, timeframe_minutes=60, end_at=datetime(2024, 12, 1, tzinfo=UTC)
    )
    version = factories.make_version(
        factories.make_user("alice").first_workspace(), candles=candles
    )
    return factories.make_run(factories.make_experiment(version.workspace, version))


def executed(row):
    run_backtest(row, RunningAttempt(claim(row.job_id, claimant())))
    return Backtest.objects.get(pk=row.pk)


def own(run):
    row = factories.make_backtest(run, status=JobStatus.QUEUED)
    Backtest.objects.filter(pk=row.pk).update(spec_sha256=run.experiment.spec_sha256)
    Job.objects.filter(pk=row.job_id).update(queue="backtests")
    return executed(Backtest.objects.get(pk=row.pk))


def further(run, **policy):
    return executed(
        launch_backtest(
            workspace=run.workspace,
            user=run.workspace.memberships.get().user,
            name="Further",
            run=run,
            spec=BacktestSpec.parse({"policy": policy}),
        )
    )


def rival(run, returns, first, **fields):
    """A trial of somebody else on the same instrument."""
    return Trial.objects.create(
        workspace=run.workspace,
        origin=Trial.Origin.BACKTEST,
        spec_sha256=f"{Trial.objects.count():064d}",
        instrument=str(run.experiment.version.dataset.instrument),
        daily_returns=list(returns),
        first_day=first,
        last_day=first + timedelta(days=len(returns) - 1),
        days=len(returns),
        daily_sharpe=float(np.mean(returns) / np.std(returns, ddof=1)),
        **fields,
    )


def test_a_run_and_its_own_backtest_are_one_trial_and_a_further_backtest_is_another(run):
    assert Trial.objects.count() == 1
    own(run)
    assert Trial.objects.count() == 1
    numbers = further(run, side="long_only").report["numbers"]
    assert Trial.objects.count() == numbers["trials_counted"] == 2
    further(run, side="long_only")
    assert Trial.objects.count() == 2


def test_the_trial_of_a_backtest_holds_its_daily_returns_and_leads_to_it(run):
    row = own(run)
    trial = Trial.objects.get()
    assert (trial.pk, trial.run) == (row.trial_id, run)
    assert trial.first_day == row.first_at.date()
    assert len(trial.daily_returns) == trial.days == row.days == row.report["numbers"]["days"]
    assert (trial.last_day - trial.first_day).days == trial.days - 1
    assert np.prod(1 + np.array(trial.daily_returns)) - 1 == pytest.approx(row.net_return)


def test_another_seed_counts_as_a_trial_but_not_as_a_distinct_spec(run):
    own(run)
    other = factories.make_run(run.experiment, seed=1)
    numbers = own(other).report["numbers"]
    assert (numbers["trials_counted"], numbers["trials_distinct"]) == (2, 1)


def test_trials_on_another_instrument_count_but_not_as_ones_on_this(run):
    rival(run, np.full(400, 0.001) + np.arange(400) * 1e-6, date(2024, 1, 1))
    Trial.objects.filter(origin="backtest").update(instrument="ETH/USDT (binance)")
    numbers = own(run).report["numbers"]
    assert (numbers["trials_counted"], numbers["trials_on_instrument"]) == (2, 1)
    assert numbers["overfitting"] is None


def test_the_same_experiment_cut_otherwise_is_another_trial(run):
    version = factories.make_version(
        run.workspace, symbol="SYN/USDT", candles=synthetic_candles(days=200)
    )
    small = {"features": {"feature_set": "basic-15"}, "windows": {"context_bars": 64}}
    cut = {"evaluation": {"scheme": "anchored", "folds": 2}}
    specs = [ExperimentSpec.parse(small), ExperimentSpec.parse(small | cut)]
    hashes = {
        create_experiment(
            workspace=version.workspace, user=None, name="Cut", versions=[version], spec=spec
        ).spec_sha256
        for spec in specs
    }
    assert len(hashes) == 2


def test_the_overfitting_of_a_report_is_that_of_the_trials_covering_its_days(run):
    first_look = own(run)
    assert first_look.report["numbers"]["overfitting"] is None
    assert first_look.report["reasons"]["overfitting"] == "too_few_trials"
    trial = Trial.objects.get()
    rng = np.random.default_rng(5)
    long = rng.normal(0, 0.01, trial.days + 20)
    rival(run, long, trial.first_day - timedelta(days=7))
    rival(run, rng.normal(0, 0.01, trial.days - 1), trial.first_day)
    again = own(run)
    numbers = again.report["numbers"]
    panel = np.column_stack([long[7 : 7 + trial.days], trial.daily_returns])
    assert numbers["overfitting"] == overfitting_probability(panel).value
    assert numbers["overfitting_trials"] == 2
    assert Trial.objects.get(pk=trial.pk).overfitting == numbers["overfitting"]


def test_the_variance_is_that_of_all_trials_of_thirty_days(run):
    rng = np.random.default_rng(6)
    rivals = [rival(run, rng.normal(0, 0.01, days), date(2020, 1, 1)) for days in (40, 50, 29)]
    numbers = own(run).report["numbers"]
    known = [row.daily_sharpe for row in rivals[:2]] + [
        Trial.objects.get(origin="run").daily_sharpe
    ]
    assert numbers["trials_counted"] == 4
    assert numbers["trials_variance"] == pytest.approx(variance_of_trials(known))


def test_the_report_page_prints_the_ledger_and_the_track_record(client, run):
    row = own(run)
    client.force_login(run.workspace.memberships.get().user)
    page = client.get(f"/backtests/{row.pk}/").content.decode()
    for words in ("Probability of overfitting", "Trials of distinct specs", "Minimum track record"):
        assert words in page
    assert "fewer than two trials on this instrument cover these days" in page


def test_equal_runs_have_equal_numbers(run):
    assert own(run).report["numbers"] == own(run).report["numbers"]
