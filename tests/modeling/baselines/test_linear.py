"""Without a network: the logistic rung as five heads."""

import numpy as np
import pytest
import torch

from modeling.baselines import rungs
from modeling.baselines.ladder import LADDER, ladder_of
from modeling.baselines.linear import fit_linear, linear_heads
from modeling.baselines.logistic import fit_logistic
from modeling.baselines.rungs import DLINEAR, GRADIENT_BOOSTING, LOGISTIC, RungFailed, RungLabels
from modeling.specs import ModelSpec, NetworkSpec
from modeling.training.predict import predict
from tests.modeling.training.markets import fold_task

COST_BPS = 10.0


def labels_at(task, bars):
    return RungLabels(
        realised_return=task.labels.realised_return[bars],
        regime=task.labels.regime[bars].astype(np.int64),
        risk=task.labels.risk[bars].astype(np.int64),
        log_volatility=task.labels.log_volatility[bars],
    )


def said(task, bars):
    """What the fitted heads say, and what the rung says."""
    fitted = fit_linear(task, task.fit_bars, cost_bps=COST_BPS)
    heads = predict(
        fitted.network,
        task.resident,
        bars,
        volatility_mean=task.scale.volatility_mean,
        volatility_std=task.scale.volatility_std,
    )
    rows = task.resident.last_rows(task.fit_bars).astype(np.float64)
    rung = fit_logistic(rows, labels_at(task, task.fit_bars), cost_bps=COST_BPS)
    return heads, rung.predict(task.resident.last_rows(bars).astype(np.float64))


def test_the_heads_say_what_the_logistic_rung_says():
    task = fold_task()
    heads, rung = said(task, task.validation_bars)
    for ours, theirs in (
        (heads.action, rung.action),
        (heads.market_regime, rung.regime),
        (heads.confidence_raw, rung.confidence_raw),
        (heads.volatility, rung.volatility),
        (heads.risk, rung.risk),
    ):
        assert ours == pytest.approx(theirs, abs=2e-6)


def test_a_class_that_training_never_showed_has_probability_zero():
    task = fold_task()
    task.labels.regime[:] = np.minimum(task.labels.regime, 1)
    heads, _ = said(task, task.validation_bars)
    assert np.all(heads.market_regime[:, 2:] == 0.0)
    assert np.isfinite(heads.market_regime).all()


def test_one_direction_only_gives_the_certain_score():
    task = fold_task()
    labels = labels_at(task, task.fit_bars)
    up = RungLabels(np.abs(labels.realised_return), *list(vars(labels).values())[1:])
    rows = task.resident.last_rows(task.fit_bars).astype(np.float64)
    heads = linear_heads(fit_logistic(rows, up, cost_bps=COST_BPS), task.scale)
    batch = task.resident.batch(torch.from_numpy(task.validation_bars[:3]))
    assert torch.tanh(heads(batch)["action"]).tolist() == [[1.0]] * 3


def test_fitting_twice_gives_equal_weights_and_no_epoch():
    first, second = (
        fit_linear(task, task.fit_bars, cost_bps=COST_BPS) for task in (fold_task(), fold_task())
    )
    assert torch.equal(first.network.output.weight, second.network.output.weight)
    assert (first.steps, first.best_epoch, first.history) == (0, 0, ())


def test_what_is_left_out_of_a_long_history_is_said(monkeypatch):
    monkeypatch.setattr(rungs, "MAX_TRAINING_ROWS", 100)
    task = fold_task()
    fitted = fit_linear(task, task.fit_bars, cost_bps=COST_BPS)
    assert f"of {len(task.fit_bars)} samples." in fitted.notes[0]


def test_too_few_samples_are_refused_with_the_count():
    with pytest.raises(RungFailed, match="found 150 training rows"):
        fit_linear(fold_task(), fold_task().fit_bars[:150], cost_bps=COST_BPS)


def test_the_ladder_beside_it_leaves_out_the_rung_that_it_is_and_boosts_last():
    names = ladder_of(ModelSpec(network=NetworkSpec(kind="linear")))
    assert set(names) == set(LADDER) - {LOGISTIC}
    assert names[-2:] == (DLINEAR, GRADIENT_BOOSTING)
    assert ladder_of(ModelSpec()) == tuple(LADDER)
