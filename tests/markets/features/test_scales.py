import numpy as np

from markets.features.compute import compute_features
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
