import dataclasses
import json

import numpy as np
import pytest

from markets.candles.frame import read_candles
from markets.features.certificate import (
    altered_after,
    bars_with_all_features,
    certify_features,
    chosen_bars,
)
from markets.features.compute import compute_features
from markets.features.registry import FEATURES
from tests.markets.features.market import quiet_market, without

ALL = tuple(FEATURES)
DAY_NS = 86_400_000_000_000
SCALES = (1, 3, 6, 12)


def failed(report):
    assert not report["passed"]
    return [entry for entry in report["features"] + report["maps"] if entry["verdict"] == "failed"]


def certify_mutant(change, *, candles=None, names=("ret_1", "rv_48")):
    candles = quiet_market(3000) if candles is None else candles

    def mutant(some, names, scales):
        return change(some, compute_features(some, names, scales))

    table = mutant(candles, names, (1, 3))
    return certify_features(candles, table, bars=5, compute=mutant)


def with_values(table, factor, values):
    scales = table.scales | {factor: dataclasses.replace(table.scales[factor], values=values)}
    return dataclasses.replace(table, scales=scales)


def caught(report):
    return {(entry["feature"], entry["scale"]) for entry in failed(report) if "feature" in entry}


def with_feature(table, name, values):
    changed = table.base.values.copy()
    changed[table.names.index(name)] = values
    return with_values(table, 1, changed)


def test_every_feature_on_every_scale_passes():
    candles = without(quiet_market(8000), 5000, 5016)
    report = certify_features(candles, compute_features(candles, ALL, SCALES), bars=8)
    assert report["passed"], failed(report)
    assert len(report["features"]) == 4 * 67
    assert {entry["bars_tested"] for entry in report["features"]} == {8}
    assert json.loads(json.dumps(report)) == report


@pytest.mark.slow
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ASRUSDT"])
def test_every_feature_passes_on_two_hundred_bars_of_real_candles(data_folder, symbol):
    start = 16_000 if symbol == "BTCUSDT" else 0  # over the outage
    whole = read_candles(data_folder / f"binance_{symbol}_5m.parquet", 5)
    candles = whole.slice(start, start + 9000)
    report = certify_features(candles, compute_features(candles, ALL, SCALES), bars=200)
    assert report["passed"], failed(report)
    assert report["bars_tested"] == 200


def test_a_shifted_feature_is_caught():
    report = certify_mutant(lambda _, t: with_values(t, 1, np.roll(t.base.values, -1, axis=1)))
    assert caught(report) == {("ret_1", 1), ("rv_48", 1)}


def test_a_centred_mean_is_caught():
    def centred(_, table):
        kernel = np.ones(21) / 21
        rows = [np.convolve(np.nan_to_num(row), kernel, "same") for row in table.base.values]
        return with_values(table, 1, np.array(rows, dtype=np.float32))

    assert caught(certify_mutant(centred)) == {("ret_1", 1), ("rv_48", 1)}


def test_a_z_score_over_the_whole_series_is_caught():
    def whole(_, table):
        values = table.scales[3].values
        centre = np.nanmean(values, axis=1, keepdims=True)
        return with_values(table, 3, (values - centre) / np.nanstd(values, axis=1, keepdims=True))

    assert caught(certify_mutant(whole)) == {("ret_1", 3), ("rv_48", 3)}


def test_a_pivot_of_the_current_day_is_caught():
    def current(some, table):
        day = some.time // DAY_NS
        starts = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
        high = np.maximum.reduceat(some.high, starts)
        low = np.minimum.reduceat(some.low, starts)
        today = np.searchsorted(starts, np.arange(len(some)), side="right") - 1
        place = (some.close - (high + low)[today] / 2) / (high - low)[today]
        return with_feature(table, "pivot_dev", place)

    assert caught(certify_mutant(current, names=("pivot_dev", "ret_1"))) == {("pivot_dev", 1)}


def test_a_swing_level_without_its_delay_is_caught():
    def early(some, table):
        values = table.base.values[table.names.index("swing_res")]
        return with_feature(table, "swing_res", np.r_[values[5:], np.zeros(5)])

    assert caught(certify_mutant(early, names=("ret_1", "swing_res"))) == {("swing_res", 1)}


def test_a_median_volume_that_knows_later_days_is_caught():
    def both_sides(some, table):
        at = dict(zip(some.time.tolist(), some.volume.tolist(), strict=True))
        days = [day for day in range(-7, 8) if day]
        usual = [
            np.median([at[t + day * DAY_NS] for day in days if t + day * DAY_NS in at])
            for t in some.time.tolist()
        ]
        return with_feature(table, "volume_tod", np.log(some.volume / usual))

    report = certify_mutant(both_sides, candles=quiet_market(7000), names=("ret_1", "volume_tod"))
    assert caught(report) == {("volume_tod", 1)}


def test_a_coarse_bar_joined_at_its_open_is_caught():
    def joined(candles, table):
        coarse = table.scales[3]
        known = np.searchsorted(coarse.open_time, candles.time, side="right") - 1
        changed = dataclasses.replace(coarse, last_closed=known.astype(np.int32))
        return dataclasses.replace(table, scales=table.scales | {3: changed})

    named = [(entry["scale"], entry["reason"]) for entry in failed(certify_mutant(joined))]
    assert (3, "a coarse bar is known before it closes") in named


def test_a_filled_gap_is_caught():
    whole = quiet_market(3000)
    candles = without(whole, 1500, 1510)

    def filled(some, _):
        last = int(np.searchsorted(whole.time, some.time[-1])) + 1
        return compute_features(whole.slice(0, last), ("ret_1", "rv_48"), (1, 3))

    named = [(e["scale"], e["reason"]) for e in failed(certify_mutant(filled, candles=candles))]
    assert (1, "the base bars are not the candles") in named


def test_a_coarse_bar_over_a_filled_gap_is_caught():
    whole = quiet_market(3000)
    candles = without(whole, 1500, 1510)

    def filled(some, table):
        last = int(np.searchsorted(whole.time, some.time[-1])) + 1
        coarse = compute_features(whole.slice(0, last), table.names, (3,)).scales[3]
        known = np.searchsorted(coarse.close_time, some.close_time, side="right") - 1
        coarse = dataclasses.replace(coarse, last_closed=known.astype(np.int32))
        return dataclasses.replace(table, scales=table.scales | {3: coarse})

    named = [(e["scale"], e["reason"]) for e in failed(certify_mutant(filled, candles=candles))]
    assert (3, "a coarse bar stands on a base bar that does not exist") in named


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
