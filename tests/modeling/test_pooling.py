"""One network on two instruments: the whole path, from sealed versions to a backtest of each."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from artifacts.store import local_path
from backtests.models import Backtest
from backtests.openings import open_and_backtest
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.execution import run_body
from jobs.models import Job
from jobs.workers import claimant
from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles
from modeling.cards import model_card
from modeling.causality import state_of
from modeling.evaluation.table import (
    COLUMNS,
    instruments_in,
    of_instrument,
    predictions_sha256,
    read_predictions,
)
from modeling.models import Trial
from modeling.registry import register_model
from tests import factories
from tests.modeling.test_predicting import notices_of, predicted, table_of
from tests.path import finished_run, make_people, quick_spec, run_job
from tests.twins import forget_the_twin, judged_beside_a_twin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

DAYS = 75
NAMES = ("BTC/USDT (binance)", "ETH/USDT (binance)")


def louder(candles: Candles) -> Candles:
    """Three times the returns at another price."""
    prices = {
        name: np.round(1500 * (getattr(candles, name) / candles.close[0]) ** 3, 2)
        for name in ("open", "high", "low", "close")
    }
    return dataclasses.replace(candles, **prices)


def two_versions(workspace):
    calm, loud = synthetic_candles(days=DAYS), louder(synthetic_candles(days=DAYS, seed=8))
    return [
        factories.make_version(workspace, candles=calm, source="synthetic"),
        factories.make_version(workspace, symbol="ETH/USDT", candles=loud, source="synthetic"),
    ]


def test_two_instruments_are_trained_scored_and_backtested_together():
    user, workspace = make_people()
    versions = two_versions(workspace)
    run = finished_run(user, versions, quick_spec())
    assert_certified_and_predicted_alike(run)
    assert_scored_together_and_apart(run)
    assert_backtested_on_each(run, versions)
    assert_seeds_that_say_the_same_are_judged_as_one(run)
    assert_its_model_works_on_each_alone_and_on_others(run, versions, user)
    assert_hold_out_is_opened_for_both(run, user)


def assert_certified_and_predicted_alike(run):
    assert state_of(run.causality) == "passed"
    assert set(run.causality["folds"][0]["predicted"]["instruments"].values()) == {"passed"}
    stored = run.prediction_sets.get(rung="model")
    table = read_predictions(local_path(stored.file))
    assert instruments_in(table) == NAMES
    assert stored.sha256 == predictions_sha256(table) == run.predictions_sha256
    calm, loud = (of_instrument(table, name) for name in NAMES)
    np.testing.assert_array_equal(calm["open_at"], loud["open_at"])
    assert (np.diff(loud["open_at"]) > 0).all()
    assert loud["known_at"].max() <= run.experiment.holdout_at.timestamp() * 1e9
    assert np.median(loud["volatility"]) > 2 * np.median(calm["volatility"])


def assert_scored_together_and_apart(run):
    one, both = run.metrics["instruments"][NAMES[1]], run.metrics
    assert set(both["instruments"]) == set(NAMES)
    assert one["action"]["samples"]["value"] * 2 == both["action"]["samples"]["value"]
    assert one["action"]["auc"]["interval"]
    assert one["confidence"]["abstention"]["value"]["cuts"] and one["volatility"]["band_share"]
    assert both["action"]["auc"]["effective_samples"] == pytest.approx(
        one["action"]["auc"]["effective_samples"]
    )
    for rung in ("logistic", "gradient_boosting", "har", "dlinear"):
        found = run.baselines.get(rung=rung)
        assert found.metrics["volatility"]["r2"]["value"] > 0, (rung, found.reason)


def assert_backtested_on_each(run, versions):
    rows = list(Backtest.objects.filter(run=run).select_related("job").order_by("pk"))
    assert [(row.version, row.is_own) for row in rows] == [
        (versions[0], True),
        (versions[1], False),
    ]
    assert rows[1].name == "Path, seed 0, ETH/USDT (binance)"
    for row in rows:
        job = run_job(row.job)
        assert job.status == "succeeded", job.message
    first, second = (Backtest.objects.get(pk=row.pk).report["numbers"] for row in rows)
    assert first["certainty"]["abstention"] != second["certainty"]["abstention"]
    trials = Trial.objects.order_by("pk").values_list("origin", "instrument")
    assert list(trials) == [("run", NAMES[0]), ("backtest", NAMES[1])]


def assert_seeds_that_say_the_same_are_judged_as_one(run):
    backtest = run.backtests.get(is_own=True)
    row = judged_beside_a_twin(run, backtest)
    pairs = [(row.metrics, run.metrics)]
    pairs += [
        (row.metrics["instruments"][name], run.metrics["instruments"][name]) for name in NAMES
    ]
    for found, own in pairs:
        for head, metric in (("action", "auc"), ("confidence", "brier"), ("volatility", "r2")):
            assert found[head][metric]["value"] == pytest.approx(own[head][metric]["value"])
            assert found[head][metric]["interval"] == pytest.approx(own[head][metric]["interval"])
        assert "band_share" not in found["volatility"]
    numbers = backtest.report["numbers"]
    for key in ("total_return", "max_drawdown", "trades"):
        assert row.equity["numbers"][key] == pytest.approx(numbers[key])
    assert row.equity["verdict"]["word"] == backtest.report["verdict"]["word"]
    forget_the_twin(row)


def assert_hold_out_is_opened_for_both(run, user):
    from modeling.holdout import score_holdout

    opening, _ = open_and_backtest(run, user=user, name=run.experiment.name)
    lease = claim(opening.job_id, claimant())
    run_body(
        opening.job, RunningAttempt(lease), lambda job, attempt: score_holdout(opening, attempt)
    )
    opening.refresh_from_db()
    assert Job.objects.get(pk=opening.job_id).status == "succeeded", opening.job.message
    table = read_predictions(local_path(opening.predictions.file))
    opens = [of_instrument(table, name)["open_at"] for name in NAMES]
    np.testing.assert_array_equal(*opens)
    assert set(opening.metrics["instruments"]) == set(NAMES)
    rows = run.backtests.filter(is_holdout=True).select_related(
        "job", "version__dataset__instrument"
    )
    assert {str(row.version.dataset.instrument) for row in rows} == set(NAMES)
    for row in rows:
        job = run_job(row.job)
        assert job.status == "succeeded", job.message
    assert Trial.objects.filter(origin="holdout").count() == 2


def assert_its_model_works_on_each_alone_and_on_others(run, versions, user):
    model = register_model(run, user=user, name="Pool")
    table = table_of(run.prediction_sets.get(rung="model", is_holdout=False))
    own = of_instrument(table, NAMES[1])
    rows = own["fold"] == model.fold.number
    row = predicted(model, versions[1], user)
    assert row.job.status == "succeeded", row.job.message
    again = table_of(row.predictions)
    for name in COLUMNS:
        assert again[name].tobytes() == own[name][rows].tobytes(), name
    assert "unseen_instrument" not in notices_of(row)
    other = factories.make_version(
        run.workspace, symbol="SOL/USDT", candles=synthetic_candles(days=40, seed=5)
    )
    row = predicted(model, other, user)
    assert row.job.status == "succeeded", row.job.message
    assert "unseen_instrument" in notices_of(row)
    card = model_card(model)["card"]
    assert set(card["instruments"]) == set(card["window_volatilities"]) == set(NAMES)
    assert [each["instrument"] for each in card["trained_on"]["instruments"]] == list(NAMES)
