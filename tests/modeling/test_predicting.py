"""A registered model on other candles: the same network, scalers and thresholds, bit for bit."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from artifacts.store import local_path, sha256_of
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.execution import run_body
from jobs.workers import claimant
from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles
from modeling import run as trainer
from modeling.cards import canonical, model_card
from modeling.evaluation.table import COLUMNS, read_predictions
from modeling.models import HoldoutOpening, ModelPrediction
from modeling.network.transformer import build_network
from modeling.registry import RegistryRefused, launch_prediction, register_model
from tests import factories, path

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def predicted(model, version, user) -> ModelPrediction:
    """The finished prediction; what the trainer would do runs in this process."""
    row, _ = launch_prediction(model, version, user=user)
    lease = claim(row.job_id, claimant())
    assert lease is not None
    run_body(row.job, RunningAttempt(lease), lambda job, attempt: trainer.main(attempt))
    return ModelPrediction.objects.for_list().get(pk=row.pk)


def table_of(row):
    return read_predictions(local_path(row.file))


def notices_of(row):
    return {notice["code"]: notice.get("count") for notice in row.notices}


def longer(version, bars: int) -> Candles:
    """The candles of a version and some more behind them, as a newer version would have them."""
    old = factories.candles_of(version)
    more = synthetic_candles(days=40, seed=99, timeframe_minutes=old.timeframe_minutes)
    ratio = old.close[-1] / more.open[0]
    new = {name: getattr(more, name)[:bars] for name in ("open", "high", "low", "close", "volume")}
    for name in ("open", "high", "low", "close"):
        new[name] = new[name] * ratio
    time = old.time[-1] + old.bar_ns * np.arange(1, bars + 1)
    joined = [np.concatenate([getattr(old, name), values]) for name, values in new.items()]
    return Candles(old.timeframe_minutes, np.concatenate([old.time, time]), *joined)


def opened(run, user):
    """The hold-out of the run counts as opened."""
    return HoldoutOpening.objects.create(
        workspace=run.workspace,
        created_by=user,
        experiment=run.experiment,
        run=run,
        job=factories.make_job(run.workspace, kind="predict"),
        from_at=run.experiment.holdout_at,
        until_at=run.experiment.holdout_until,
    )


def test_model_predicts_what_its_run_did_bit_for_bit_and_new_bars_behind_an_opened_seal():
    user, workspace = path.make_people()
    version = path.demo_version(workspace, user)
    run = path.finished_run(user, version, path.quick_spec())
    model = register_model(run, user=user, name="Best")
    last = run.folds.latest("number")
    assert model.fold == last
    own = table_of(run.prediction_sets.get(rung="model"))
    own = {name: values[own["fold"] == last.number] for name, values in own.items()}

    row = predicted(model, version, user)
    assert row.job.status == "succeeded", row.job.message
    again = table_of(row.predictions)
    for name in COLUMNS:
        assert again[name].tobytes() == own[name].tobytes(), name
    assert row.predictions.run is None
    assert row.predictions.last_at + version.bar <= run.experiment.holdout_at
    found = notices_of(row)
    assert found["in_sample"] > 0
    assert found["sealed"] > 0
    assert len(row.metrics["action"]["auc"]["interval"]) == 2

    newer = factories.make_version(
        workspace, symbol=version.dataset.instrument.symbol, candles=longer(version, 400)
    )
    newer.dataset.instrument = version.dataset.instrument
    newer.dataset.save()
    closed = predicted(model, newer, user)
    assert closed.predictions.sha256 == row.predictions.sha256
    opened(run, user)
    row = predicted(model, newer, user)
    assert row.job.status == "succeeded", row.job.message
    assert row.predictions.last_at == newer.last_at
    assert row.predictions.first_at == closed.predictions.first_at
    assert "sealed" not in notices_of(row)
    assert np.isnan(table_of(row.predictions)["realised_return"][-1])


def test_model_predicts_another_instrument_and_says_that_it_never_saw_it():
    user, workspace = path.make_people()
    version = path.demo_version(workspace, user)
    run = path.finished_run(user, version, path.quick_spec())
    model = register_model(run, user=user, name="Best", fold=1)
    bars = len(factories.candles_of(version))
    days = bars * version.dataset.timeframe_minutes // 1440
    candles = synthetic_candles(
        days=days,
        seed=5,
        timeframe_minutes=version.dataset.timeframe_minutes,
        end_at=version.last_at + version.bar,
    )
    other = factories.make_version(workspace, symbol="ETH/USDT", candles=candles)
    row = predicted(model, other, user)
    assert row.job.status == "succeeded", row.job.message
    found = notices_of(row)
    assert "unseen_instrument" in found
    assert "in_sample" not in found
    assert found["same_period"] > 0
    assert row.predictions.last_at == other.last_at
    assert set(table_of(row.predictions)["fold"]) == {1}
    assert row.metrics["action"]["samples"]["value"] < row.predictions.rows - found["same_period"]

    card = json.loads(canonical(model_card(model)["card"]))
    names, scales = card["features"]["names"], tuple(card["features"]["scales"])
    spec = run.experiment.model_spec
    assert card["spec"] == json.loads(json.dumps(spec.to_json()))
    network = build_network(
        spec.network,
        features=len(names),
        context_bars=card["spec"]["windows"]["context_bars"],
        scales=scales,
        seed=card["seed"],
    )
    weights = local_path(model.fold.weights)
    assert sha256_of(weights) == card["weights"]["sha256"]
    network.load_state_dict(load_file(weights))

    short = factories.make_version(workspace, symbol="SOL/USDT", candles=candles.slice(0, 900))
    with pytest.raises(RegistryRefused, match="900 bars") as refused:
        launch_prediction(model, short, user=user)
    assert refused.value.code == "not_enough_history"
