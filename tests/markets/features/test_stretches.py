import dataclasses

import numpy as np
import pytest

from markets.candles.frame import read_candles
from markets.features import stretches
from markets.features.compute import compute_features
from markets.features.registry import FEATURES, history_bars
from markets.features.stretches import certify_history
from tests.markets.features.market import quiet_market

ALL = tuple(FEATURES)
FEW = ("ret_1", "rv_48")


@pytest.fixture
def short_stretches(monkeypatch):
    """Stretches that a small market has ten of."""
    monkeypatch.setattr(stretches, "history_bars", lambda *_: 150)


def failed(report):
    return {(entry["feature"], entry["scale"]) for entry in report["features"] if entry["reason"]}


def test_a_long_history_passes_in_ten_stretches_and_as_a_whole(short_stretches):
    candles = quiet_market(4000)
    table = compute_features(candles, FEW, (1, 3))
    report = certify_history(candles, table, bars=40)
    assert report["passed"]
    assert (report["stretches"], report["stretch_bars"]) == (10, 300)
    assert report["bars_tested"] == 40 + stretches.WHOLE_BARS
    assert {entry["bars_tested"] for entry in report["features"]} == {44}


def test_a_leak_is_caught_in_the_stretches(short_stretches):
    def leaking(candles, names, scales):
        table = compute_features(candles, names, scales)
        early = np.roll(table.base.values, -1, axis=1)
        return dataclasses.replace(
            table, scales=table.scales | {1: dataclasses.replace(table.base, values=early)}
        )

    candles = quiet_market(4000)
    report = certify_history(candles, leaking(candles, FEW, (1, 3)), bars=20, compute=leaking)
    assert not report["passed"]
    assert failed(report) == {("ret_1", 1), ("rv_48", 1)}


def test_stored_values_that_are_not_those_of_the_code_are_caught(short_stretches):
    candles = quiet_market(4000)
    table = compute_features(candles, FEW, (1,))
    other = dataclasses.replace(table.base, values=table.base.values + np.float32(1))
    report = certify_history(candles, dataclasses.replace(table, scales={1: other}), bars=10)
    assert failed(report) == {("ret_1", 1), ("rv_48", 1)}


def test_a_short_history_is_checked_whole():
    candles = quiet_market(1000)
    report = certify_history(candles, compute_features(candles, FEW, (1, 3)), bars=5)
    assert (report["passed"], report["stretches"], report["bars_tested"]) == (True, 0, 5)


def test_a_scale_that_never_knows_all_features_is_named_and_not_tested():
    candles = quiet_market(3000)
    report = certify_history(candles, compute_features(candles, ALL, (1, 12)), bars=2)
    assert report["untested_scales"] == [12]
    assert {entry["scale"] for entry in report["features"]} == {1}
    assert report["passed"]


def test_a_history_too_short_for_every_scale_passes_nothing():
    candles = quiet_market(300)
    report = certify_history(candles, compute_features(candles, ALL, (1, 3)))
    assert (report["passed"], report["bars_tested"]) == (False, 0)
    assert report["untested_scales"] == [1, 3]


def test_history_is_what_the_largest_warm_up_needs():
    assert history_bars(5, (1,)) == 2017
    assert history_bars(5, (1, 12)) == 12 * 601


@pytest.mark.slow
def test_two_hundred_bars_of_two_years_pass(data_folder):
    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5)
    report = certify_history(candles, compute_features(candles, ALL, (1, 3, 6, 12)))
    assert report["passed"]
    assert report["bars_tested"] == 204
