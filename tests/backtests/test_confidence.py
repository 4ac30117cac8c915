"""An uncalibrated confidence is no probability: nothing is gated by it, and each refusal says why."""

from types import SimpleNamespace

import pytest

from backtests import seeds_pipeline
from backtests.confidence import require_calibrated, spec_of_rung
from backtests.models import Backtest
from backtests.openings import open_and_backtest
from backtests.pipeline import policies_of, run_backtest
from backtests.services import launch_backtest
from backtests.specs import BacktestSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.errors import JobFailed
from jobs.models import Job
from jobs.workers import claimant
from modeling.models import BaselineScore, HoldoutOpening
from modeling.openings import HoldoutRefused
from specs.declaration import InvalidSpec
from tests import factories
from tests.api import bearer

FIELD = "policy.minimum_confidence"
GATED = BacktestSpec.parse({"policy": {"minimum_confidence": 0.4}})


def scores(error, skill):
    return {"confidence": {"calibration_error": {"value": error}, "brier_skill": {"value": skill}}}


CALIBRATED, UNCALIBRATED = scores(0.02, 0.01), scores(0.08, -0.012)


def test_a_gate_on_an_uncalibrated_confidence_is_refused_with_both_figures():
    with pytest.raises(InvalidSpec) as refused:
        require_calibrated(GATED, UNCALIBRATED)
    assert refused.value.fields == {
        FIELD: "Confidence is uncalibrated: test calibration error 0.080, at most 0.05 wanted; "
        "Brier skill −0.012, above 0 wanted. Leave this setting off, or choose predictions that are "
        "calibrated"
    }


@pytest.mark.parametrize("metrics", [scores(0.051, 0.01), scores(0.01, 0.0), scores(None, 1), {}])
def test_a_gate_needs_a_small_error_and_skill_and_both_known(metrics):
    with pytest.raises(InvalidSpec, match="uncalibrated"):
        require_calibrated(GATED, metrics)


def test_a_calibrated_confidence_and_a_spec_that_asks_none_pass():
    require_calibrated(GATED, CALIBRATED)
    require_calibrated(BacktestSpec(), UNCALIBRATED)


def test_a_rung_without_a_calibrated_confidence_trades_without_the_gate():
    assert spec_of_rung(GATED, UNCALIBRATED).policy.minimum_confidence == 0
    assert spec_of_rung(GATED, {}).confidence_fields() == ()
    assert spec_of_rung(GATED, CALIBRATED) == GATED


@pytest.fixture
def run(db):
    alice = factories.make_user("alice")
    return factories.make_run(factories.make_experiment(alice.first_workspace()))


def own_backtest(run):
    row = factories.make_backtest(run, status="queued")
    row.spec = GATED
    row.save()
    return row, RunningAttempt(claim(row.job_id, claimant()))


def calibrate(run):
    run.metrics |= CALIBRATED
    run.save()


def test_the_api_refuses_it_at_once_and_leaves_no_row(run):
    user = run.workspace.memberships.get().user
    body = {
        "name": "Gated",
        "source": {"predictions": run.prediction_sets.get().pk},
        "spec": {"policy": {"minimum_confidence": 0.4}},
    }
    before = Job.objects.count()
    answer = bearer(user).post("/api/backtests/", body, format="json")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_spec"
    assert "Confidence is uncalibrated" in answer.json()["fields"][FIELD]
    assert (Backtest.objects.count(), Job.objects.count()) == (0, before)
    calibrate(run)
    assert bearer(user).post("/api/backtests/", body, format="json").status_code == 202


def test_a_runs_own_backtest_fails_with_the_reason_when_the_run_turns_out_uncalibrated(run):
    row, attempt = own_backtest(run)
    with pytest.raises(JobFailed) as failed:
        run_backtest(row, attempt)
    assert failed.value.code == "uncalibrated"
    assert failed.value.message.startswith(f"backtest.{FIELD}: Confidence is uncalibrated")


def test_the_own_backtest_of_a_calibrated_run_says_how_rungs_are_traded(run):
    calibrate(run)
    BaselineScore.objects.filter(rung="logistic").update(metrics=UNCALIBRATED)
    row, attempt = own_backtest(run)
    run_backtest(row, attempt)
    said = {line["label"]: line["value"] for line in Backtest.objects.get().report["assumptions"]}
    assert "trade whatever theirs says" in said["Confidence of rungs"]


def test_a_mean_over_seeds_is_gated_by_its_own_calibration_and_so_is_each_rung():
    scores = {"logistic": CALIBRATED, "dlinear": UNCALIBRATED}
    policies = policies_of(GATED, scores, ["model", *scores, "last_sign"])
    assert {name: policy.minimum_confidence for name, policy in policies.items()} == {
        "model": 0.4,
        "logistic": 0.4,
        "dlinear": 0.0,
        "last_sign": 0.0,
    }


def test_a_hold_out_is_not_opened_for_a_backtest_that_cannot_be_run(run):
    experiment = run.experiment
    experiment.backtest_spec = GATED.to_json()
    experiment.save()
    user = run.workspace.memberships.get().user
    with pytest.raises(HoldoutRefused, match="Confidence is uncalibrated") as refused:
        open_and_backtest(run, user=user, name=experiment.name)
    assert refused.value.code == "uncalibrated"
    assert not HoldoutOpening.objects.exists()


def test_a_further_backtest_of_a_calibrated_run_is_launched(run):
    calibrate(run)
    user = run.workspace.memberships.get().user
    row = launch_backtest(workspace=run.workspace, user=user, name="Gated", run=run, spec=GATED)
    assert row.spec == GATED


@pytest.fixture
def pool(run):
    """Calibrated on both instruments together and on BTC, not on ETH."""
    eth = factories.make_version(run.workspace, symbol="ETH/USDT")
    run.experiment.versions.add(eth)
    btc = run.experiment.version
    of_each = {"BTC/USDT (binance)": CALIBRATED, "ETH/USDT (binance)": UNCALIBRATED}
    run.metrics |= CALIBRATED | {"instruments": of_each}
    run.save()
    return run, btc, eth


def test_each_instrument_of_a_pool_is_asked_for_its_own_calibration(pool):
    run, btc, eth = pool
    asked = {
        "workspace": run.workspace,
        "user": run.workspace.memberships.get().user,
        "name": "Gated",
        "run": run,
        "spec": GATED,
    }
    assert launch_backtest(**asked, version=btc).spec == GATED
    with pytest.raises(InvalidSpec, match="uncalibrated"):
        launch_backtest(**asked, version=eth)


def test_the_backtest_of_an_uncalibrated_instrument_of_a_pool_fails_with_the_reason(pool):
    run, _, eth = pool
    row, attempt = own_backtest(run)
    Backtest.objects.filter(pk=row.pk).update(version=eth, is_own=False)
    with pytest.raises(JobFailed, match="uncalibrated"):
        run_backtest(Backtest.objects.for_work().get(pk=row.pk), attempt)


def test_the_mean_over_seeds_is_asked_for_its_calibration_on_the_instrument_of_its_account(pool):
    run, _, eth = pool
    own, _ = own_backtest(run)
    said = []
    attempt = SimpleNamespace(log=lambda text, level: said.append(text))
    row = factories.make_seed_verdict(run, metrics=run.metrics)
    Backtest.objects.filter(pk=own.pk).update(version=eth)
    own = Backtest.objects.for_work().get(pk=own.pk)
    found = seeds_pipeline._equity(row, own, None, None, attempt)
    assert "Confidence is uncalibrated" in found["reason"] and said
