import json
from datetime import UTC, datetime, timedelta

import pytest

from backtests.models import Backtest
from backtests.pipeline import run_backtest
from backtests.robustness.sharpe import SharpeShape, deflated_sharpe
from backtests.services import launch_backtest
from backtests.specs import BacktestSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.errors import JobFailed
from jobs.statuses import JobStatus
from jobs.workers import claimant
from markets.candles.synthetic import synthetic_candles
from modeling.models import Trial
from tests import factories
from tests.api import bearer

pytestmark = pytest.mark.django_db


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
    assert "The verdict stays withheld. Find the leak and run again" in detail
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


@pytest.fixture
def long_run(alice):
    """Predictions of 36 days."""
    candles = synthetic_candles(
        days=120, timeframe_minutes=60, end_at=datetime(2024, 5, 1, tzinfo=UTC)
    )
    version = factories.make_version(alice.first_workspace(), candles=candles)
    return factories.make_run(factories.make_experiment(version.workspace, version))


def test_a_deflated_sharpe_with_nothing_to_deflate_by_says_so(client, long_run):
    row = finished(long_run)
    numbers = row.report["numbers"]
    assert numbers["deflated_sharpe"] == numbers["psr"] is not None
    assert (numbers["deflated_is_plain"], numbers["deflated_benchmark"]) == (True, 0)
    assert pages(client, row)[0].count("nothing to deflate by") == 2


def test_trials_of_the_workspace_raise_the_benchmark_of_the_deflated_sharpe(client, long_run):
    Trial.objects.create(
        workspace=long_run.workspace,
        origin=Trial.Origin.BACKTEST,
        spec_sha256="cd" * 32,
        seed=0,
        run=long_run,
        daily_sharpe=0.3,
        days=36,
    )
    row = finished(long_run)
    numbers = row.report["numbers"]
    expected = deflated_sharpe(SharpeShape(0.0, 36), 3, numbers["trials_variance"]).benchmark
    assert numbers["trials_counted"] == 3
    assert numbers["deflated_is_plain"] is False
    assert numbers["deflated_benchmark"] == pytest.approx(expected * 365**0.5)
    assert numbers["deflated_sharpe"] < numbers["psr"]
    assert "nothing to deflate by" not in pages(client, row)[0]


def predicted(run):
    """First predicted bar and the end of the last."""
    found = run.prediction_sets.get()
    return found.first_at, found.last_at + run.experiment.version.bar


def assumption(row, label):
    return next(line for line in row.report["assumptions"] if line["label"] == label)


def test_without_a_span_the_report_names_first_and_last_predicted_bar(run):
    row = finished(run)
    first, last = predicted(run)
    assert (row.first_at, row.last_at) == (first, last)
    words = f"{first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}, first to last predicted bar."
    assert assumption(row, "Span")["value"] == words


def test_a_span_may_be_as_wide_as_the_predictions_and_the_report_names_it(run):
    first, last = predicted(run)
    row = finished(run, BacktestSpec.parse({"span": {"from_at": first, "to_at": last}}))
    assert (row.first_at, row.last_at) == (first, last)
    begin = first + timedelta(days=2)
    row = finished(run, BacktestSpec.parse({"span": {"from_at": begin}}))
    assert row.first_at == begin
    assert f"{begin:%Y-%m-%dT%H:%M:%SZ} to " in assumption(row, "Span")["value"]
    assert "set in the spec" in assumption(row, "Span")["value"]


@pytest.mark.parametrize(("end", "hours"), [("from_at", -1), ("to_at", 1)])
def test_a_span_wider_than_the_predictions_fails_in_the_job_with_the_dates(run, end, hours):
    first, last = predicted(run)
    wider = {"from_at": first, "to_at": last}[end] + timedelta(hours=hours)
    row = factories.make_backtest(run, status=JobStatus.QUEUED)
    row.spec = BacktestSpec.parse({"span": {end: wider}})
    with pytest.raises(JobFailed) as refused:
        run_backtest(row, RunningAttempt(claim(row.job_id, claimant())))
    assert refused.value.code == "invalid_spec"
    for words in (f"backtest.span.{end}", *(f"{at:%Y-%m-%d %H:%M}" for at in (wider, first, last))):
        assert words in refused.value.message


def test_target_first_moves_the_headline_inside_the_same_band_and_stands_in_bold(client, run):
    found = {}
    for order in ("stop_first", "target_first"):
        risk = {"stop_pct": 0.002, "take_profit_pct": 0.002}
        spec = BacktestSpec.parse({"risk": risk, "fills": {"both_touched": order}})
        found[order] = finished(run, spec)
    first, kinder = (found[order].report["numbers"] for order in found)
    assert first["ambiguous_bars"] and kinder["ambiguous_bars"]
    assert first["final_equity_range"] == kinder["final_equity_range"]
    ends = [10_000 * (1 + numbers["total_return"]) for numbers in (first, kinder)]
    assert ends == pytest.approx(first["final_equity_range"])
    words = assumption(found["target_first"], "Stop and target in one bar")["value"]
    assert f"<strong>{words}</strong>" in pages(client, found["target_first"])[0]
    words = assumption(found["stop_first"], "Stop and target in one bar")["value"]
    assert f"<strong>{words}</strong>" not in pages(client, found["stop_first"])[0]


def test_a_report_says_that_the_network_of_its_run_had_too_few_samples(client, run):
    assert "Too few samples for the network" not in pages(client, finished(run))[0]
    run.notices = [{"code": "capacity", "message": "Fewer than 1 sample per 100 parameters."}]
    run.save()
    row = finished(run)
    assert "capacity" in [badge["code"] for badge in row.report["badges"]]
    assert "Too few samples for the network" in pages(client, row)[0]
