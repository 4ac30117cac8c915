import numpy as np
import pytest

from markets.features.compute import compute_features
from tests.markets.features.market import quiet_market

NAMES = ("rsi_14", "rv_48", "tod_sin")


@pytest.fixture(scope="module")
def table():
    return compute_features(quiet_market(900), NAMES, (1, 3))


def test_a_table_of_some_features_keeps_scales_and_maps(table):
    part = table.only(("rsi_14", "tod_sin"))
    assert part.names == ("rsi_14", "tod_sin")
    for k in (1, 3):
        np.testing.assert_array_equal(part.scales[k].values, table.scales[k].values[[0, 2]])
        assert part.scales[k].last_closed is table.scales[k].last_closed


def test_a_table_of_all_features_is_not_copied(table):
    assert table.only(NAMES) is table


def test_a_feature_that_the_table_does_not_hold_is_refused(table):
    with pytest.raises(ValueError, match="rsi_42"):
        table.only(["rsi_42"])
