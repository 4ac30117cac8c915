import dataclasses
import json

import numpy as np
import pytest

from markets.features.certificate import (
    altered_after,
    bars_with_all_features,
    certify_features,
    chosen_bars,
)
from markets.features.compute import compute_features
from markets.features.registry import FEATURE_SETS
from tests.markets.features.market import quiet_market, without

BASIC = FEATURE_SETS["basic-15"]
SCALES = (1, 3, 6, 12)


def failed(report):
    assert not report["passed"]
    return [entry for entry in report["features"] + report["maps"] if entry["verdict"] == "failed"]


def certify_mutant(change, *, candles=None):
    candles = quiet_market(3000) if candles is None else candles

    def mutant(some, names, scales):
        return change(some, compute_features(some, names, scales))

    table = mutant(candles, ("ret_1", "rv_48"), (1, 3))
    return certify_features(candles, table, bars=5, compute=mutant)


def with_values(table, factor, values):
    scales = table.scales | {factor: dataclasses.replace(table.scales[factor], values=values)}
    return dataclasses.replace(table, scales=scales)


def test_every_feature_on_every_scale_passes():
    candles = without(quiet_market(5600), 4000, 4016)
    report = certify_features(candles, compute_features(candles, BASIC, SCALES), bars=12)
    assert report["passed"], failed(report)
    assert len(report["features"]) == 60
    assert {entry["bars_tested"] for entry in report["features"]} == {12}
    assert json.loads(json.dumps(report)) == report


def test_a_shifted_feature_is_caught():
    report = certify_mutant(lambda _, t: with_values(t, 1, np.roll(t.base.values, -1, axis=1)))
    assert {(entry["feature"], entry["scale"]) for entry in failed(report)} == {
        ("ret_1", 1),
        ("rv_48", 1),
    }


def test_a_centred_mean_is_caught():
    def centred(_, table):
        kernel = np.ones(21) / 21
        rows = [np.convolve(np.nan_to_num(row), kernel, "same") for row in table.base.values]
        return with_values(table, 1, np.array(rows, dtype=np.float32))

    assert failed(certify_mutant(centred))


def test_a_z_score_over_the_whole_series_is_caught():
    def whole(_, table):
        values = table.scales[3].values
        centre = np.nanmean(values, axis=1, keepdims=True)
        return with_values(table, 3, (values - centre) / np.nanstd(values, axis=1, keepdims=True))

    assert {entry["scale"] for entry in failed(certify_mutant(whole))} == {3}


def test_a_coarse_bar_joined_at_its_open_is_caught():
    def joined(candles, table):
        coarse = table.scales[3]
        known = np.searchsorted(coarse.open_time, candles.time, side="right") - 1
        changed = dataclasses.replace(coarse, last_closed=known.astype(np.int32))
        return dataclasses.replace(table, scales=table.scales | {3: changed})

    reasons = [entry["reason"] for entry in failed(certify_mutant(joined))]
    assert "a coarse bar is known before it closes" in reasons


def test_a_filled_gap_is_caught():
    whole = quiet_market(3000)
    candles = without(whole, 1500, 1510)

    def filled(some, _):
        last = int(np.searchsorted(whole.time, some.time[-1])) + 1
        return compute_features(whole.slice(0, last), ("ret_1", "rv_48"), (1, 3))

    assert failed(certify_mutant(filled, candles=candles))


def test_altering_leaves_the_past_and_the_shape_of_candles_alone():
    candles = quiet_market(100)
    shaken = altered_after(candles, 60, 1)
    np.testing.assert_array_equal(shaken.close[:61], candles.close[:61])
    assert np.all(shaken.close[61:] != candles.close[61:])
    assert np.all((shaken.low <= shaken.close) & (shaken.close <= shaken.high))


def test_bars_are_chosen_where_all_features_are_known_and_a_future_is_left():
    table = compute_features(quiet_market(1500), ("rsi_14", "tod_sin"), (1, 3))
    known = bars_with_all_features(table)
    assert np.flatnonzero(known)[0] == pytest.approx(200 * 3, abs=3)
    chosen = chosen_bars(known, 30, 0)
    assert len(set(chosen)) == 30
    assert known[chosen].all() and chosen.max() < 1499
    assert chosen_bars(np.array([False, True, True]), 30, 0).tolist() == [1]


def test_nothing_tested_is_nothing_passed():
    candles = quiet_market(300)
    report = certify_features(candles, compute_features(candles, ("rsi_14",), (1, 3)))
    assert (report["passed"], report["bars_tested"]) == (False, 0)
