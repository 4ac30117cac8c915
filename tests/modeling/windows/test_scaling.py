import dataclasses
import json

import numpy as np
import pytest

from markets.features.compute import compute_features
from markets.features.registry import FEATURE_SETS
from markets.features.table import FeatureTable, ScaleFeatures
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.scaling import Scalers, fit_scalers
from tests.markets.features.market import quiet_market

BASIC = FEATURE_SETS["basic-15"]


def one_feature(values, name="ret_1", last_closed=None):
    count = len(values)
    time = np.arange(count, dtype=np.int64)
    known = np.arange(count, dtype=np.int32) if last_closed is None else last_closed
    matrix = np.array([values], dtype=np.float32)
    scale = ScaleFeatures(1, matrix, time, time + 1, np.zeros(count, dtype=bool), known)
    return FeatureTable((name,), {1: scale})


def test_median_and_mad_by_hand():
    table = one_feature([1, 2, 3, 4, 100])
    scalers = fit_scalers(table, np.arange(5))
    assert scalers.centre[1][0] == 3
    assert scalers.width[1][0] == pytest.approx(1.4826)
    scaled = scalers.apply(table)[1][:, 0]
    np.testing.assert_allclose(scaled, [-2 / 1.4826, -1 / 1.4826, 0, 1 / 1.4826, 6], rtol=1e-6)


def test_a_zero_mad_gives_way_to_the_deviation_and_that_to_a_floor():
    assert fit_scalers(one_feature([0, 0, 0, 4]), np.arange(4)).width[1][0] == np.std([0, 0, 0, 4])
    assert fit_scalers(one_feature([5.0] * 4), np.arange(4)).width[1][0] == pytest.approx(5e-3)
    assert fit_scalers(one_feature([0.0] * 4), np.arange(4)).width[1][0] == pytest.approx(1e-3)


def test_time_features_are_left_as_they_are():
    table = one_feature([0.1, 0.7, -0.9], "tod_sin")
    scaled = fit_scalers(table, np.arange(3)).apply(table)[1]
    np.testing.assert_array_equal(scaled[:, 0], table.base.values[0])


def test_only_bars_of_the_fit_slice_count():
    table = one_feature([1, 2, 3, 1e9, -1e9])
    assert (
        fit_scalers(table, np.arange(3)).to_json()
        == fit_scalers(one_feature([1, 2, 3, 0, 0]), np.arange(3)).to_json()
    )


def test_each_coarse_bar_counts_once_and_only_when_it_was_closed():
    known = np.array([-1, -1, 0, 0, 0, 1, 1], dtype=np.int32)
    table = one_feature([10, 20, 900], last_closed=known)
    scalers = fit_scalers(table, np.arange(7))
    assert scalers.centre[1][0] == 15


def test_scaled_features_are_float32_rows_within_the_clip_on_every_scale():
    table = compute_features(quiet_market(5600), BASIC, (1, 3, 12))
    scaled = fit_scalers(table, np.arange(4500, 5300)).apply(table)
    for k, rows in scaled.items():
        assert rows.shape == (table.scales[k].open_time.size, 15)
        assert rows.dtype == np.float32 and rows.flags.c_contiguous
        assert np.nanmax(np.abs(rows)) <= 6
        np.testing.assert_array_equal(np.isnan(rows), np.isnan(table.scales[k].values.T))


def test_scalers_survive_json_bit_for_bit():
    table = compute_features(quiet_market(3000), BASIC, (1, 3))
    scalers = fit_scalers(table, np.arange(1200, 2500))
    again = Scalers.from_json(json.loads(json.dumps(scalers.to_json())))
    for k, rows in scalers.apply(table).items():
        np.testing.assert_array_equal(again.apply_scale(table.scales[k]), rows)


def test_a_fit_slice_before_the_first_coarse_bar_is_refused():
    known = np.array([-1, -1, 0], dtype=np.int32)
    with pytest.raises(NotEnoughHistory):
        fit_scalers(one_feature([1.0], last_closed=known), np.array([0, 1]))


def test_fitting_leaves_the_table_as_it_was():
    table = one_feature([3, 1, 2])
    before = dataclasses.replace(table.base, values=table.base.values.copy())
    fit_scalers(table, np.arange(3)).apply(table)
    np.testing.assert_array_equal(table.base.values, before.values)
