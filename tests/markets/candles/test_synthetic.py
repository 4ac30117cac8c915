from datetime import UTC, datetime

import numpy as np
import pytest

from markets.candles.frame import NS_PER_MINUTE, candles_sha256
from markets.candles.synthetic import planted_candles, planted_market, synthetic_candles
from markets.features.compute import compute_features

SEED_7_TWO_DAYS = "23d3871b4ba656e308f565c3e4ed1b48a23d6557177db8e4498ca71e04b8dae5"


def test_seed_gives_the_same_candles_for_good():
    assert candles_sha256(synthetic_candles(days=2)) == SEED_7_TWO_DAYS


def test_other_seed_gives_other_candles():
    assert candles_sha256(synthetic_candles(days=2, seed=8)) != SEED_7_TWO_DAYS


def test_last_bar_closes_at_the_given_end():
    end_at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    candles = synthetic_candles(days=1, timeframe_minutes=15, end_at=end_at)
    assert len(candles) == 96
    assert candles.close_time[-1] == int(end_at.timestamp()) * 1_000_000_000
    assert not candles.gap_before.any()


@pytest.mark.parametrize("end_at", [datetime(2024, 3, 1), datetime(2024, 3, 1, 0, 2, tzinfo=UTC)])
def test_naive_or_off_grid_end_is_refused(end_at):
    with pytest.raises(ValueError, match="end_at"):
        synthetic_candles(days=1, end_at=end_at)


def test_every_candle_is_well_formed():
    candles = synthetic_candles(days=30)
    body = np.stack([candles.open, candles.close])
    assert (candles.low > 0).all()
    assert (candles.low <= body.min(axis=0)).all()
    assert (candles.high >= body.max(axis=0)).all()
    assert (candles.volume > 0).all()
    assert np.array_equal(candles.open[1:], candles.close[:-1])


def test_market_has_a_season_and_clustered_volatility_but_no_predictable_mean():
    candles = synthetic_candles(days=180)
    returns = np.diff(np.log(candles.close))
    size = np.abs(returns)
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.2
    assert np.corrcoef(size, np.log(candles.volume[1:]))[0, 1] > 0.3
    assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.02
    hour = candles.time[1:] // NS_PER_MINUTE % 1440 // 60
    assert size[hour == 15].mean() > 1.5 * size[hour == 4].mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_signal_has_the_wanted_coefficient(seed):
    market = planted_market(bars=40_000, information_coefficient=0.3, horizon_bars=12, seed=seed)
    assert market.oracle_information_coefficient() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coefficient_zero_is_the_same_market_without_the_signal(seed):
    settings = {"bars": 40_000, "horizon_bars": 12, "seed": seed}
    planted = planted_market(information_coefficient=0.3, **settings)
    plain = planted_market(information_coefficient=0.0, **settings)
    assert np.array_equal(plain.candles.volume, planted.candles.volume)
    assert np.array_equal(plain.signal, planted.signal, equal_nan=True)
    assert not np.array_equal(plain.candles.close, planted.candles.close)
    assert abs(plain.oracle_information_coefficient()) < 0.03


def test_planted_signal_is_the_z_score_of_log_volume_over_48_bars():
    market = planted_market(bars=1000, information_coefficient=0.3, horizon_bars=12, seed=4)
    volume = market.candles.volume
    log_volume = [
        np.log(volume[t] + 0.001 * volume[t - 287 : t + 1].mean()) for t in range(952, 1000)
    ]
    last = np.array(log_volume)
    expected = (last[-1] - last.mean()) / last.std()
    assert market.signal[-1] == pytest.approx(expected, rel=1e-9)
    assert np.flatnonzero(np.isfinite(market.signal))[0] == 334


def test_planted_candles_are_those_of_the_market():
    settings = {"bars": 2000, "information_coefficient": 0.3, "horizon_bars": 12, "seed": 1}
    assert candles_sha256(planted_candles(**settings)) == candles_sha256(
        planted_market(**settings).candles
    )


def test_coefficient_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="out of reach"):
        planted_candles(bars=5000, information_coefficient=0.95, horizon_bars=12, seed=1)


def test_planted_signal_is_the_registered_feature():
    market = planted_market(bars=2000, information_coefficient=0.3, horizon_bars=12, seed=4)
    table = compute_features(market.candles, ("volume_z_48",), (1,))
    values = table.scales[1].values[0]
    np.testing.assert_allclose(values, market.signal, rtol=1e-5, atol=1e-6)
