import json

import numpy as np
import pytest

from markets.features.compute import compute_features
from markets.features.registry import FEATURES
from markets.features.summary import (
    HISTOGRAM_BINS,
    average_ranks,
    correlations,
    strongest_pairs,
    summarize_scale,
)
from markets.features.table import FeatureTable, ScaleFeatures
from tests.markets.features.market import quiet_market

ALL = tuple(FEATURES)


def scale_of(*rows):
    values = np.array(rows, dtype=np.float32)
    bars = np.arange(values.shape[1], dtype=np.int64)
    return ScaleFeatures(1, values, bars, bars + 1, bars < 0, bars.astype(np.int32))


def figures(*row):
    return summarize_scale(("one",), scale_of(row))["features"][0]


def test_figures_of_a_few_values_are_those_computed_by_hand():
    found = figures(np.nan, 1, 2, 3, 4)
    assert (found["count"], found["missing_share"]) == (4, pytest.approx(0.2))
    assert (found["mean"], found["q50"], found["min"], found["max"]) == (2.5, 2.5, 1, 4)
    assert found["sd"] == pytest.approx(np.sqrt(1.25), rel=1e-5)


def test_every_known_value_is_in_the_histogram():
    values = np.random.default_rng(0).standard_cauchy(5000)
    histogram = figures(*values)["histogram"]
    assert len(histogram["counts"]) == HISTOGRAM_BINS
    assert sum(histogram["counts"]) == 5000
    assert histogram["from"] > values.min() and histogram["to"] < values.max()


def test_a_constant_feature_has_a_histogram_around_its_value():
    histogram = figures(2, 2, 2)["histogram"]
    assert histogram["from"] < 2 < histogram["to"]
    assert sum(histogram["counts"]) == 3


def test_a_feature_without_any_value_has_none():
    found = figures(np.nan, np.nan)
    assert (found["count"], found["missing_share"], found["mean"]) == (0, 1.0, None)


def test_equal_values_share_the_mean_of_their_ranks():
    assert average_ranks(np.array([5, 1, 5, 9])).tolist() == [2.5, 1, 2.5, 4]


def test_correlation_is_that_of_the_ranks():
    rows = np.random.default_rng(1).normal(size=(3, 400))
    rows[1] = np.exp(rows[0])
    found = correlations(FeatureTable(("a", "b", "c"), {1: scale_of(*rows)}))
    assert found["matrix"][0][:2] == [1.0, 1.0]
    expected = np.corrcoef(average_ranks(rows[0]), average_ranks(rows[2]))[0, 1]
    assert found["matrix"][0][2] == pytest.approx(expected, abs=1e-4)


def test_a_constant_feature_is_correlated_with_nothing():
    found = correlations(FeatureTable(("a", "b"), {1: scale_of([1, 2, 3], [7, 7, 7])}))
    assert found["matrix"] == [[1.0, 0.0], [0.0, 0.0]]


def test_the_strongest_pairs_come_first():
    matrix = [[1, 0.2, -0.9], [0.2, 1, 0.5], [-0.9, 0.5, 1]]
    pairs = strongest_pairs({"names": ["a", "b", "c"], "matrix": matrix}, 2)
    assert pairs == [("a", "c", -0.9), ("b", "c", 0.5)]


def test_all_features_have_finite_figures_in_plain_json():
    table = compute_features(quiet_market(3000), ALL, (1,))
    found = {"scale": summarize_scale(ALL, table.base), "correlation": correlations(table)}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [entry["feature"] for entry in found["scale"]["features"]] == list(ALL)
    assert np.shape(found["correlation"]["matrix"]) == (67, 67)


def test_a_history_without_a_whole_warm_up_has_no_correlation():
    found = correlations(compute_features(quiet_market(300), ALL, (1,)))
    assert found["rows"] == 0
    assert not np.any(found["matrix"])
