"""Backtests of what a registered model predicted: out of sample, behind no seal, counted."""

import json

import numpy as np
import pytest

from accounts.models import Role
from artifacts.store import local_path
from backtests.models import Backtest
from backtests.pipeline import run_backtest
from backtests.services import BacktestRefused, launch_backtest_of
from backtests.specs import BacktestSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.errors import JobFailed
from jobs.workers import claimant
from markets.reading import ns_of
from modeling.certainty import certainty_of
from modeling.evaluation.table import read_predictions, write_predictions
from modeling.models import Fold, HoldoutOpening, ModelPrediction, Trial
from tests import factories
from tests.api import bearer, refusal
from tests.registry import make_model, make_prediction

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def run(alice):
    return factories.make_run(factories.make_experiment(alice.first_workspace()))


@pytest.fixture
def later(run):
    """Predictions of a model on an instrument it was not trained on, partly in its training time."""
    other = factories.make_version(run.workspace, symbol="ETH/USDT")
    return make_prediction(make_model(run), other)


def launched(later, user, **options):
    spec = options.pop("spec", BacktestSpec())
    name = options.pop("name", "Later")
    return launch_backtest_of(later.predictions, user=user, name=name, spec=spec, **options)


def executed(row):
    run_backtest(
        Backtest.objects.for_work().get(pk=row.pk),
        RunningAttempt(claim(row.job_id, claimant())),
    )
    return Backtest.objects.get(pk=row.pk)


def trained_until(later: ModelPrediction, text: str) -> ModelPrediction:
    """The fold has learned from bars up to this time."""
    fold = later.model.fold
    fold.splits["slices"]["calibration"] |= {"to_at": text}
    Fold.objects.filter(pk=fold.pk).update(splits=fold.splits)
    return ModelPrediction.objects.get(pk=later.pk)


def assumptions(row):
    return {line["label"]: line["value"] for line in row.report["assumptions"]}


def test_it_is_judged_on_its_own_candles_from_the_end_of_the_embargo_on(alice, later):
    row = executed(launched(later, alice))
    start = later.model.out_of_sample_from
    assert row.version == later.version
    assert later.predictions.first_at < start
    assert row.first_at == start - later.version.bar  # the first bar known then
    kept = read_predictions(local_path(later.predictions.file))["known_at"]
    assert row.report["verdict"]["days"] > 5
    assert (kept >= ns_of(start)).sum() > 0
    assert f"known from {start:%Y-%m-%d %H:%M} UTC on" in assumptions(row)["Out of sample"]


def test_the_report_names_the_model_its_training_and_the_unseen_instrument(client, alice, later):
    row = executed(launched(later, alice))
    said = assumptions(row)
    assert said["Model"].startswith(
        f"Best, fold 2 of run {later.model.run_id}, trained on BTC/USDT"
    )
    assert said["Instrument"] == "The model was not trained on ETH/USDT."
    codes = {badge["code"] for badge in row.badges}
    assert {"registered_model", "unseen_instrument"} <= codes
    page = client.get(f"/backtests/{row.pk}/").content.decode()
    assert "Instrument the model was not trained on" in page
    assert page.count(f"/models/{later.model_id}/predictions/{later.pk}/") == 2
    assert f"/runs/{later.model.run_id}/predictions/" not in page
    document = json.loads(client.get(f"/backtests/{row.pk}/report.json").content)
    assert document["model"]["weights_sha256"] == later.model.fold.weights_sha256
    assert document["dataset"]["sha256"] == later.version.sha256


def test_confidence_cuts_are_those_of_the_predicted_candles(alice, later):
    later.metrics = {"confidence": {"calibrated": {"value": True}}}
    later.save()
    row = executed(launched(later, alice))
    assert row.report["numbers"]["certainty"] == certainty_of(later.metrics)


def test_learned_rungs_have_no_account_and_say_why(alice, later):
    report = executed(launched(later, alice)).report
    assert set(report["numbers"]["rungs"]) >= {"flat", "buy_and_hold", "ma_cross", "macd", "rsi"}
    assert "says nothing of these candles" in report["failed_rungs"]["logistic"]


def test_predictions_wholly_in_its_training_time_are_refused(client, alice, later):
    later = trained_until(later, "2024-02-20T00:00:00Z")
    with pytest.raises(BacktestRefused, match="in the time the model was trained on") as refused:
        launched(later, alice)
    assert refused.value.code == "in_sample"
    body = {"name": "B", "source": {"predictions": later.predictions_id}}
    answer = refusal(bearer(alice).post("/api/backtests/", body, "json"), 409)
    assert answer["code"] == "in_sample"
    address = f"/backtests/new/?predictions={later.predictions_id}"
    assert "in the time the model was trained on" in client.get(address).content.decode()
    sent = {"predictions": later.predictions_id, "name": "B"}
    assert client.post("/backtests/new/", sent).status_code == 409
    assert not Backtest.objects.exists()


def test_a_job_that_was_queued_before_is_refused_as_well(alice, later):
    row = launched(later, alice)
    trained_until(later, "2024-02-20T00:00:00Z")
    with pytest.raises(JobFailed) as failed:
        executed(row)
    assert failed.value.code == "in_sample"


def test_nothing_behind_the_seal_of_its_market_is_read(alice, run):
    later = make_prediction(make_model(run))
    candles = factories.candles_of(later.version)
    opens = candles.time[-200:]
    table = factories._predictions(opens, np.full(len(opens), 2), candles.bar_ns)
    later.predictions.file = factories.make_stored(
        run.workspace, lambda path: write_predictions(path, table, "BTC/USDT (binance)")
    )
    later.predictions.last_at = factories.instant(opens[-1])
    later.predictions.save()
    with pytest.raises(JobFailed) as failed:
        executed(launched(later, alice))
    assert failed.value.code == "sealed"
    HoldoutOpening.objects.create(
        workspace=run.workspace,
        experiment=run.experiment,
        run=run,
        job=factories.make_job(run.workspace, kind="predict"),
        from_at=run.experiment.holdout_at,
        until_at=run.experiment.holdout_until,
    )
    assert executed(launched(later, alice, name="After")).report["verdict"]["word"]


def test_each_backtest_of_it_is_a_trial_and_an_equal_one_is_the_same(alice, run, later):
    before = Trial.objects.count()
    first = executed(launched(later, alice))
    again = executed(launched(later, alice, name="The same again"))
    other = executed(
        launched(later, alice, spec=BacktestSpec.parse({"policy": {"threshold": 0.4}}))
    )
    assert first.trial == again.trial != other.trial
    assert Trial.objects.count() == before + 2
    assert first.trial.instrument == str(later.version.dataset.instrument)


def test_a_leak_alarm_of_its_run_withholds_it(alice, later):
    run = later.model.run
    run.leak_alarm = {"raised": True, "reasons": ["Accuracy 0.71."]}
    run.save()
    assert executed(launched(later, alice)).verdict == "withheld"


def test_the_page_of_the_run_lists_only_what_is_its_own(client, alice, run, later):
    row = launched(later, alice)
    address = f"/backtests/{row.pk}/"
    assert address not in client.get(f"/runs/{run.pk}/").content.decode()
    page = client.get(f"/models/{later.model_id}/predictions/{later.pk}/").content.decode()
    assert address in page
    assert f"/backtests/new/?predictions={later.predictions_id}" in page


def test_the_form_opens_with_the_assumptions_of_the_experiment_and_launches(client, alice, later):
    page = client.get(f"/backtests/new/?predictions={later.predictions_id}").content.decode()
    assert "a registered model" in page
    assert "unseen_instrument" in page
    sent = {"predictions": later.predictions_id, "name": "Mine", "costs.taker_bps": "7", "key": "k"}
    answer = client.post("/backtests/new/", sent)
    row = Backtest.objects.get()
    assert answer["Location"] == f"/backtests/{row.pk}/"
    assert (row.name, row.spec.costs.taker_bps, row.model_prediction) == ("Mine", 7.0, later)
    assert client.post("/backtests/new/", sent)["Location"] == f"/backtests/{row.pk}/"


def test_the_form_takes_predictions_of_a_run_as_well(client, run):
    own = run.prediction_sets.get()
    assert (
        "a registered model"
        not in client.get(f"/backtests/new/?predictions={own.pk}").content.decode()
    )
    client.post("/backtests/new/", {"predictions": own.pk, "name": "Again"})
    assert Backtest.objects.get().model_prediction is None


def test_the_form_keeps_what_was_typed_and_names_the_field(client, later):
    sent = {"predictions": later.predictions_id, "name": "Mine", "costs.taker_bps": "-1"}
    answer = client.post("/backtests/new/", sent)
    assert answer.status_code == 400
    page = answer.content.decode()
    assert 'value="Mine"' in page
    assert "expected at least 0" in page


def test_predictions_of_a_rung_are_refused_as_its_run_shows_them(alice, run):
    own = run.prediction_sets.get()
    own.rung = "logistic"
    own.save()
    body = {"name": "B", "source": {"predictions": own.pk}}
    answer = refusal(bearer(alice).post("/api/backtests/", body, format="json"), 409)
    assert answer["code"] == "rung_set"


@pytest.mark.parametrize("wanted", ["", "x", "0", "9" * 30])
def test_an_impossible_set_is_404(client, alice, wanted):
    assert client.get(f"/backtests/new/?predictions={wanted}").status_code == 404


def test_strangers_find_nothing_and_viewers_may_not(client, run, later):
    address = f"/backtests/new/?predictions={later.predictions_id}"
    client.force_login(factories.make_user("charlie"))
    assert client.get(address).status_code == 404
    client.force_login(factories.make_user("bob", run.workspace, Role.VIEWER))
    assert client.get(address).status_code == 403


def test_the_api_answers_with_the_model_prediction(alice, later):
    body = {"name": "B", "source": {"predictions": later.predictions_id}}
    answer = bearer(alice).post("/api/backtests/", body, format="json")
    assert answer.status_code == 202
    assert answer.json()["model_prediction"] == later.pk
