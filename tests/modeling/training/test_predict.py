from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from modeling.network.transformer import build_network
from modeling.training.predict import HeadOutputs, predict
from modeling.training.resident import ResidentWindows
from tests.modeling.training.markets import CONTEXT, bars_of_noise, small_model

BARS = np.arange(100, 350, dtype=np.int64)


def outputs(*, batch: int = 1024, **changes: object) -> HeadOutputs:
    scaled = changes.pop("bars", bars_of_noise())
    resident = ResidentWindows(scaled, context_bars=CONTEXT, patch_bars=4)  # type: ignore[arg-type]
    network = build_network(
        small_model().network, features=6, context_bars=CONTEXT, scales=resident.scales, seed=0
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)
    arguments = {"volatility_mean": -6.0, "volatility_std": 0.5, **changes}
    return predict(network, resident, BARS, batch=batch, **arguments)  # type: ignore[arg-type]


def test_each_bar_gets_one_row_the_last_batch_too() -> None:
    found = outputs(batch=64)
    assert np.array_equal(found.bars, BARS)
    assert found.action.shape == found.volatility.shape == found.confidence_raw.shape == (250,)
    assert found.market_regime.shape == (250, 4)
    assert found.risk.shape == (250, 3)
    assert len(np.unique(found.action)) > 240


def test_read_outs_lie_in_their_ranges() -> None:
    found = outputs()
    assert np.all(np.abs(found.action) < 1)
    assert np.all((found.confidence_raw > 0) & (found.confidence_raw < 1))
    assert np.all(found.volatility > 0)
    for probabilities in (found.market_regime, found.risk):
        assert np.all(probabilities >= 0)
        assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-6


def test_volatility_is_read_back_by_mean_and_spread() -> None:
    plain = np.log(outputs(volatility_mean=0.0, volatility_std=1.0).volatility)
    spread = np.full(250, 0.5)
    found = np.log(outputs(volatility_mean=np.full(250, -6.0), volatility_std=spread).volatility)
    np.testing.assert_allclose(found, -6 + 0.5 * plain, rtol=1e-12)


def test_order_of_batches_changes_nothing_much() -> None:
    np.testing.assert_allclose(outputs(batch=17).action, outputs().action, atol=1e-5)


def test_predicting_draws_no_random_number() -> None:
    assert np.array_equal(outputs().action, outputs().action)


def test_altered_future_leaves_a_prediction_bit_equal() -> None:
    bars, t = bars_of_noise(), 220
    altered = dataclasses.replace(
        bars,
        scaled={
            k: np.where((np.arange(len(rows)) * k + k - 1 > t)[:, None], np.float32(7), rows)
            for k, rows in bars.scaled.items()
        },
    )
    before, after = outputs(bars=bars), outputs(bars=altered)
    past, future = t >= BARS, t < BARS
    for name in ("action", "market_regime", "confidence_raw", "volatility", "risk"):
        assert np.array_equal(getattr(before, name)[past], getattr(after, name)[past]), name
    assert not np.array_equal(before.action[future], after.action[future])


def test_window_outside_the_arrays_is_refused() -> None:
    resident = ResidentWindows(bars_of_noise(), context_bars=CONTEXT, patch_bars=4)
    network = build_network(
        small_model().network, features=6, context_bars=CONTEXT, scales=resident.scales, seed=0
    )
    with pytest.raises(ValueError, match="leaves"):
        predict(
            network, resident, np.array([5], dtype=np.int64), volatility_mean=0, volatility_std=1
        )


def test_whoever_waits_is_asked_before_each_batch() -> None:
    asked: list[bool] = []
    outputs(batch=100, between=lambda: asked.append(True))
    assert len(asked) == 3
