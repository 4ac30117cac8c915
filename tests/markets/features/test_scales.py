import numpy as np
import pytest

from markets.candles.frame import read_candles
from markets.features.compute import compute_features
from markets.features.registry import FEATURES
from markets.features.scales import candles_at_scale, last_closed_bar
from tests.markets.features.market import flat_market, quiet_market, without


def test_a_coarse_bar_is_known_from_the_close_of_its_last_base_bar_on():
    base = flat_market(8)
    known = last_closed_bar(base, candles_at_scale(base, 3))
    np.testing.assert_array_equal(known, [-1, -1, 0, 0, 0, 1, 1, 1])


def test_a_coarse_bar_with_a_missing_base_bar_does_not_exist():
    base = without(flat_market(12), 4, 5)
    coarse = candles_at_scale(base, 3)
    np.testing.assert_array_equal(coarse.time // base.bar_ns, [0, 6, 9])
    np.testing.assert_array_equal(coarse.gap_before, [False, True, False])


def test_features_of_a_scale_are_those_of_its_own_candles():
    candles = quiet_market(2500)
    own = compute_features(candles_at_scale(candles, 3), ["rv_48", "tod_sin"], [1])
    as_scale = compute_features(candles, ["rv_48", "tod_sin"], [1, 3])
    np.testing.assert_array_equal(as_scale.scales[3].values, own.base.values)


@pytest.mark.parametrize(
    ("factor", "file"), [(3, "binance_BTCUSDT_15m"), (12, "binance_BTCUSDT_1h")]
)
def test_features_of_a_scale_are_those_of_the_native_candles(data_folder, factor, file):
    base = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5)
    native = read_candles(data_folder / f"{file}.parquet", 5 * factor)
    start, stop = np.searchsorted(base.time, (native.time[0], native.close_time[-1]))
    ours = compute_features(base.slice(int(start), int(stop)), tuple(FEATURES), [factor])
    stop = np.searchsorted(native.close_time, base.close_time[-1], side="right")
    theirs = compute_features(native.slice(0, int(stop)), tuple(FEATURES), [1])
    np.testing.assert_array_equal(ours.scales[factor].open_time, theirs.base.open_time)
    # Volumes are sums in another order.
    np.testing.assert_allclose(ours.scales[factor].values, theirs.base.values, 1e-6, 1e-6)
