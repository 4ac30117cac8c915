import dataclasses
import json

import numpy as np
import pytest

from markets.candles.frame import Candles
from markets.features.splice import splice_prices
from modeling.specs import TargetSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.targets import TargetScale, fit_targets, label, raw_targets
from tests.markets.features.market import quiet_market, without
from tests.oracles.targets import plain_targets

T = 288
NUMBERS = (
    "action",
    "realised_return",
    "log_volatility",
    "regime_volatility",
    "regime_return",
    "risk_range",
)


def hand_made():
    """288 returns of ±1 %, so that s is 0.01 at bar 288 (close 100), then four bars to read."""
    bars = T + 5
    close = np.where(np.arange(bars) % 2 == 0, 100.0, 100.0 * np.exp(0.01))
    close[T + 1 :] = [102, 105, 103, 103]
    opened = np.r_[close[0], close[:-1]]
    opened[T + 1 :] = [101, 102, 105, 103]
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    high[T + 1 :], low[T + 1 :] = [104, 106, 107, 104], [100, 101, 99, 102]
    time = np.arange(bars, dtype=np.int64) * 300_000_000_000
    return Candles(5, time, opened, high, low, close, np.ones(bars))


def targets_of(candles, *, action_target="scaled_return", horizon=2, regime=3):
    return raw_targets(
        candles,
        splice_prices(candles),
        horizon_bars=horizon,
        regime_bars=regime,
        target=TargetSpec(action_target=action_target),
    )


def test_each_label_by_hand():
    raw = targets_of(hand_made())
    r = np.log([102 / 100, 105 / 102, 103 / 105])
    assert raw.realised_return[T] == pytest.approx(np.log(105 / 101))
    assert raw.action[T] == pytest.approx(np.log(105 / 101) / (0.01 * np.sqrt(2)))
    assert raw.log_volatility[T] == pytest.approx(np.log(np.sqrt(np.mean(r[:2] ** 2))))
    assert raw.regime_volatility[T] == pytest.approx(np.sqrt(np.mean(r**2)) / 0.01)
    assert raw.regime_return[T] == pytest.approx(np.log(103 / 101) / (0.01 * np.sqrt(3)))
    assert raw.risk_range[T] == pytest.approx(np.log(107 / 101) / (0.01 * np.sqrt(3)))
    assert list(np.flatnonzero(raw.valid)) == [T, T + 1]


def test_the_barrier_touched_first_decides():
    assert targets_of(hand_made(), action_target="triple_barrier").action[T] == 1.0
    down = hand_made()
    down.low[T + 1], down.high[T + 1] = 99, 102
    assert targets_of(down, action_target="triple_barrier").action[T] == -1.0


def test_both_barriers_in_one_bar_are_no_touch_and_counted():
    both = hand_made()
    both.low[T + 1] = 99
    raw = targets_of(both, action_target="triple_barrier")
    assert raw.action[T] == 0.0
    assert raw.ambiguous_barriers == 1


def test_the_action_is_clipped_at_three():
    steep = hand_made()
    steep.close[T + 2] = steep.high[T + 2] = 110
    assert targets_of(steep).action[T] == 3.0


@pytest.mark.parametrize("action_target", ["scaled_return", "triple_barrier"])
def test_labels_read_up_to_their_last_bar_and_no_further(action_target):
    def numbers(bar):
        candles = hand_made()
        candles.close[bar] *= 1.05
        candles.high[bar] *= 1.05
        candles.low[bar] *= 0.9
        raw = targets_of(candles, action_target=action_target)
        return [float(getattr(raw, name)[T]) for name in NUMBERS]

    plain = targets_of(hand_made(), action_target=action_target)
    before = [float(getattr(plain, name)[T]) for name in NUMBERS]
    assert numbers(T + 4) == before
    assert numbers(T + 3)[:3] == before[:3]
    assert all(np.not_equal(numbers(T + 3)[3:], before[3:]))
    assert numbers(T + 2)[1] != before[1]


@pytest.mark.parametrize("barrier", [False, True])
def test_labels_equal_the_plain_version_around_a_gap(barrier):
    candles = without(quiet_market(900), 600, 620)
    name = "triple_barrier" if barrier else "scaled_return"
    raw = targets_of(candles, action_target=name, horizon=5, regime=12)
    plain = plain_targets(candles, splice_prices(candles), 5, 12, 10, barrier)
    np.testing.assert_array_equal(np.flatnonzero(raw.valid), list(plain))
    for field in NUMBERS:
        expected = [row[field] for row in plain.values()]
        np.testing.assert_allclose(getattr(raw, field)[raw.valid], expected, 1e-9, 1e-12)


def test_thresholds_and_priors_are_those_of_the_fit_slice():
    raw = targets_of(quiet_market(3000), horizon=12, regime=48)
    fit_bars = np.arange(300, 1500)
    scale = fit_targets(raw, fit_bars)
    labels = label(raw, scale)
    np.testing.assert_allclose(scale.risk_prior, (0.5, 0.35, 0.15), atol=0.001)
    assert scale.regime_prior[3] == pytest.approx(0.2, abs=0.001)
    assert sum(scale.regime_prior) == pytest.approx(1)
    np.testing.assert_allclose(
        np.bincount(labels.regime[fit_bars], minlength=4) / 1200, scale.regime_prior
    )
    z_scores = labels.log_volatility_z[fit_bars]
    assert z_scores.mean() == pytest.approx(0, abs=1e-5)
    assert z_scores.std() == pytest.approx(1, abs=1e-5)


def test_labels_behind_the_fit_slice_move_no_threshold():
    raw = targets_of(quiet_market(3000), horizon=12, regime=48)
    fit_bars = np.arange(300, 1500)
    before = fit_targets(raw, fit_bars)
    for name in NUMBERS:
        getattr(raw, name)[1500:] *= 7
    assert fit_targets(raw, fit_bars) == before


def test_each_class_by_its_threshold():
    raw = dataclasses.replace(
        targets_of(quiet_market(600)),
        regime_return=np.array([0.0, 1.0, -1.0, 1.0, 0.5, 0.0]),
        regime_volatility=np.array([1.0, 1.0, 1.0, 2.0, 1.0, 1.0]),
        risk_range=np.array([0.1, 1.0, 1.1, 2.0, 2.1, 0.0]),
        valid=np.array([True, True, True, True, True, False]),
        log_volatility=np.zeros(6),
        action=np.zeros(6),
    )
    scale = TargetScale(-0.5, 0.5, 1.5, 1.0, 2.0, 0.0, 1.0, 0.0, (), ())
    labels = label(raw, scale)
    assert labels.regime.tolist() == [0, 1, 2, 3, 0, -1]
    assert labels.risk.tolist() == [0, 0, 1, 1, 2, -1]


def test_a_target_scale_survives_json():
    scale = fit_targets(targets_of(quiet_market(900)), np.arange(900))
    assert TargetScale.from_json(json.loads(json.dumps(scale.to_json()))) == scale


def test_a_fit_slice_without_labels_is_refused():
    with pytest.raises(NotEnoughHistory):
        fit_targets(targets_of(quiet_market(900)), np.array([898, 899]))


def test_a_dead_market_has_floors_and_no_infinity():
    candles = quiet_market(700)
    for name in ("open", "high", "low", "close"):
        getattr(candles, name)[:] = 5.0
    raw = targets_of(candles)
    assert all(np.isfinite(getattr(raw, name)[raw.valid]).all() for name in NUMBERS)
    assert raw.log_volatility[400] == pytest.approx(np.log(1e-5))
