"""The DLinear rung: learns what follows from the window, repeats itself, stops when told to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from modeling.baselines import rungs
from modeling.baselines.dlinear import fit_dlinear, run_dlinear
from modeling.baselines.rungs import RungFailed, RungLabels
from modeling.evaluation.metrics import direction_auc, log_r2
from tests.modeling.training.markets import bars_of_noise, fold_task, labels_of, small_model

TEST = np.arange(380, 400)
CALIBRATION = np.arange(335, 375)


def labels_at(labels, bars):
    return RungLabels(
        labels.realised_return[bars],
        labels.regime[bars].astype(np.int64),
        labels.risk[bars].astype(np.int64),
        labels.log_volatility[bars],
    )


def trained(task=None, **training):
    spec = small_model(**({"learning_rate": 0.02, "epochs": 4} | training))
    return fit_dlinear(spec, task or fold_task(), seed=3)


def weights_of(fitted):
    return torch.cat([value.flatten() for value in fitted.network.state_dict().values()])


def test_what_follows_from_the_window_is_learned():
    task = fold_task(bars_of_noise(3000), fit_samples=2400)
    spec = small_model(learning_rate=0.05, epochs=12, patience=12)
    test, calibration = np.arange(2600, 2980), np.arange(2540, 2590)
    known = labels_at(task.labels, calibration)
    fold = run_dlinear(spec, task, (calibration, known), test, seed=3)
    truth = labels_at(task.labels, test)
    assert float(direction_auc(fold.columns["action"], truth.realised_return)) > 0.9
    assert float(log_r2(fold.columns["volatility"], np.exp(truth.log_volatility))) > 0.5
    assert np.abs(fold.columns["action"]).max() < 1 and len(fold.columns["regime_3"]) == 380
    assert 0 < fold.threshold < 1 and fold.calibrator.samples == 50


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again = trained()[0], trained()[0]
    assert torch.equal(weights_of(first), weights_of(again))
    other = fit_dlinear(small_model(learning_rate=0.02), fold_task(), seed=4)[0]
    assert not torch.equal(weights_of(first), weights_of(other))


def test_the_test_block_is_not_seen():
    bars = bars_of_noise()
    labels = labels_of(bars)
    altered = dataclasses.replace(bars, scaled={k: rows.copy() for k, rows in bars.scaled.items()})
    changed = dataclasses.replace(labels, action=labels.action.copy(), risk=labels.risk.copy())
    altered.scaled[1][380:] = 9.0
    changed.action[380:], changed.risk[380:] = 3.0, 0
    whole, other = trained(fold_task(bars, labels))[0], trained(fold_task(altered, changed))[0]
    assert torch.equal(weights_of(whole), weights_of(other))


def test_the_number_of_threads_neither_changes_the_bits_nor_is_changed():
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(weights_of(trained()[0]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_many_samples_are_thinned_and_said_so(monkeypatch):
    monkeypatch.setattr(rungs, "MAX_TRAINING_ROWS", 100)
    fitted, notes = trained(epochs=1)
    assert fitted.steps == 4  # 100 samples in batches of 32
    assert notes == ("Fitted on 1 of every 2 of 200 samples.",)


def test_what_is_called_between_steps_ends_the_training():
    called = []

    def between():
        called.append(None)
        if len(called) == 5:
            raise RungFailed("the time is over")

    with pytest.raises(RungFailed, match="the time is over"):
        fit_dlinear(small_model(), fold_task(), seed=3, between=between)
    assert len(called) == 5


def test_training_that_diverges_fails_with_a_reason():
    bars = bars_of_noise()
    bars.scaled[1][:] = np.nan
    with pytest.raises(RungFailed, match="the loss became non-finite at step 2; try a learning"):
        trained(fold_task(bars, labels_of(bars_of_noise())))


def test_a_fold_without_calibration_samples_fails_with_a_reason():
    task = fold_task()
    nothing = np.arange(0), labels_at(task.labels, np.arange(0))
    with pytest.raises(RungFailed, match="no calibration samples"):
        run_dlinear(small_model(epochs=1), task, nothing, TEST, seed=3)
