import dataclasses

import numpy as np
import pytest
import talib

from markets.candles.frame import Candles, read_candles
from markets.features.bars import Bars
from markets.features.compute import FUNCTIONS, compute_features
from markets.features.registry import FEATURES
from markets.features.splice import splice_prices
from tests.markets.features.market import flat_market, quiet_market, with_prices, without
from tests.oracles.features import plain_features

NAMES = tuple(FEATURES)
SCALES = (1, 3, 6, 12)
OUTAGE = 23_768
BARS = {1: 2400, 3: 800, 6: 750, 12: 700}
"""Bars of each timescale that are compared: all warm-ups and a bit."""


def by_name(candles, scales=(1,)):
    table = compute_features(candles, NAMES, scales)
    return dict(zip(NAMES, table.base.values, strict=True))


def assert_equal_to_oracle(candles, factor=1):
    scale = compute_features(candles, NAMES, (factor,)).scales[factor]
    plain = plain_features(candles, factor)
    for name, computed in zip(NAMES, scale.values, strict=True):
        np.testing.assert_allclose(computed, plain[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_every_registered_feature_has_a_function_and_the_other_way_round():
    assert set(FUNCTIONS) == set(FEATURES)


def test_features_equal_the_plain_version_across_a_gap_and_dead_volume():
    candles = without(quiet_market(3000), 600, 640)
    candles.volume[650:1000] = 0.0
    assert_equal_to_oracle(candles)


def test_features_equal_the_plain_version_when_bars_of_days_before_are_missing():
    candles = without(quiet_market(3200), 300, 1800)
    assert_equal_to_oracle(candles)


@pytest.mark.parametrize("factor", SCALES)
@pytest.mark.parametrize("market", ["bitcoin", "outage", "illiquid"])
def test_features_equal_the_plain_version_on_real_candles(data_folder, market, factor):
    bars = BARS[factor] * factor
    file = "binance_ASRUSDT_5m" if market == "illiquid" else "binance_BTCUSDT_5m"
    start = OUTAGE - bars * 7 // 8 if market == "outage" else 0
    candles = read_candles(data_folder / f"{file}.parquet", 5).slice(start, start + bars)
    assert candles.gap_before.any() == (market == "outage")
    assert_equal_to_oracle(candles, factor)


@pytest.mark.slow
@pytest.mark.parametrize("factor", SCALES)
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ASRUSDT"])
def test_features_equal_the_plain_version_on_whole_files(data_folder, symbol, factor):
    assert_equal_to_oracle(read_candles(data_folder / f"binance_{symbol}_5m.parquet", 5), factor)


def test_golden_rows_of_the_bitcoin_file(data_folder):
    golden = {
        "rsi_14": (0.163213, -0.561984, 0.009362),
        "adx_14": (0.293198, 0.205820, 0.363036),
        "vwap_dev_288": (0.327578, -0.283294, 0.037355),
        "volume_tod": (0.069041, 0.398115, -0.304709),
        "amihud_48": (1.867588, 1.324406, -0.352196),
        "spread_cs_48": (0.294327, 0.308049, 0.319318),
        "yang_zhang_288": (-6.720086, -6.228141, -6.536511),
        "pivot_dev": (0.131867, -0.116648, 0.129777),
        "swing_res": (3.623285, 6.020642, 2.167169),
        "ret_12": (0.064702, -1.305767, 0.178021),
    }
    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5)
    computed = compute_features(candles, tuple(golden), (1,)).base.values
    found = dict(zip(golden, computed[:, [8928, OUTAGE, 125_984]], strict=True))
    for name, expected in golden.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


def assert_known_from_the_warm_up_on(candles, scales=SCALES):
    for factor, scale in compute_features(candles, NAMES, scales).scales.items():
        for name, values in zip(NAMES, scale.values, strict=True):
            warm_up = FEATURES[name].warm_up_bars(candles.timeframe_minutes * factor)
            assert np.isnan(values[:warm_up]).all(), (factor, name)
            assert np.isfinite(values[warm_up:]).all(), (factor, name)


def test_features_are_nan_in_the_warm_up_and_finite_after_it_on_every_scale():
    assert_known_from_the_warm_up_on(without(quiet_market(9000), 2000, 2030))


@pytest.mark.parametrize(
    ("file", "minutes", "start", "stop"),
    [
        ("binance_BTCUSDT_5m", 5, 0, 20_000),
        ("binance_BTCUSDT_5m", 5, OUTAGE - 6000, OUTAGE + 6000),
        ("binance_ASRUSDT_5m", 5, 0, 20_000),
        ("binance_BTCUSDT_15m", 15, 0, None),
        ("binance_BTCUSDT_1h_2017_2024", 60, 0, None),
    ],
)
def test_features_of_real_files_are_finite_after_the_warm_up(
    data_folder, file, minutes, start, stop
):
    candles = read_candles(data_folder / f"{file}.parquet", minutes)
    assert_known_from_the_warm_up_on(candles.slice(start, stop or len(candles)))


@pytest.mark.parametrize("days", [1, 2])
def test_features_of_bars_of_a_day_are_finite_after_the_warm_up(days):
    time = np.arange(700, dtype=np.int64) * 86_400_000_000_000 // days
    plain = quiet_market(700)
    values = (plain.open, plain.high, plain.low, plain.close, plain.volume)
    assert_known_from_the_warm_up_on(Candles(1440 // days, time, *values), (1,))


def dead_over_gaps():
    candles = without(flat_market(3000), 900, 931)
    jump = np.where(np.arange(len(candles)) >= 900, 1 / 3, 1.0)
    return without(with_prices(candles, jump), 1400, 1411)


def awkward_price():
    # A price whose sums round, so that a mean of equal prices is not exactly that price.
    return with_prices(flat_market(2500), 0.1 / 17)


AT_FLOOR = {"rv_12", "rv_48", "rv_288", "parkinson_12", "garman_klass_48", "yang_zhang_288"}
AT_FLOOR |= {"natr_14", "bb_width_20"}


@pytest.mark.parametrize(
    "candles",
    [flat_market(2500), dead_over_gaps(), awkward_price()],
    ids=["whole", "gaps", "awkward"],
)
def test_a_flat_market_without_volume_gives_floors_and_zeros(candles):
    for name, values in by_name(candles).items():
        feature = FEATURES[name]
        expected = np.log(1e-6) if name in AT_FLOOR else 0.0
        if feature.family == "time":
            continue
        known = values[feature.warm_up_bars(5) :]
        np.testing.assert_allclose(known, expected, atol=2e-6, err_msg=name)


def test_a_market_that_comes_to_a_halt_keeps_finite_values():
    candles = quiet_market(3600)
    for values in (candles.open, candles.high, candles.low, candles.close):
        values[2500:] = candles.close[2499]
    candles.volume[2500:] = 0.0
    assert_known_from_the_warm_up_on(candles, (1,))
    assert_equal_to_oracle(candles)


@pytest.mark.parametrize("factor", [1000.0, 1e-7])
@pytest.mark.parametrize("market", ["synthetic", "illiquid"])
def test_multiplied_prices_and_volumes_change_nothing(request, market, factor):
    candles = without(quiet_market(2600), 1000, 1010)
    if market == "illiquid":
        folder = request.getfixturevalue("data_folder")
        candles = read_candles(folder / "binance_ASRUSDT_5m.parquet", 5).slice(0, 6000)
    moved = dataclasses.replace(with_prices(candles, factor), volume=candles.volume * 1000)
    before, after = by_name(candles), by_name(moved)
    for name in NAMES:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_beginning_of_a_series_has_the_values_of_the_whole():
    candles = without(quiet_market(9000), 6000, 6100)
    whole = compute_features(candles, NAMES, SCALES)
    for bars in (2500, 7000, len(candles) - 777):
        part = compute_features(candles.slice(0, bars), NAMES, SCALES)
        for k in SCALES:
            known = part.scales[k].values
            np.testing.assert_array_equal(known, whole.scales[k].values[:, : known.shape[1]])


def test_a_jump_over_a_gap_is_no_move():
    candles = without(quiet_market(9000), 5000, 5005)
    jump = np.where(np.arange(len(candles)) >= 5000, 1.1, 1.0)
    before = compute_features(candles, NAMES, SCALES)
    after = compute_features(with_prices(candles, jump), NAMES, SCALES)
    for k in SCALES:
        # A last place in float64 may round to the neighbouring float32.
        np.testing.assert_allclose(after.scales[k].values, before.scales[k].values, 3e-7, 1e-9)


def test_splicing_closes_each_gap_and_starts_at_one_hundred():
    candles = without(quiet_market(300), 100, 120)
    spliced = splice_prices(candles)
    assert spliced.close[0] == pytest.approx(100)
    assert spliced.open[100] == pytest.approx(spliced.close[99])
    assert candles.open[100] != pytest.approx(candles.close[99])


def assert_later_start_agrees(candles, later):
    whole, started = by_name(candles), by_name(candles.slice(later, len(candles)))
    for name in NAMES:
        settled = slice(FEATURES[name].warm_up_bars(candles.timeframe_minutes), None)
        difference = np.abs(started[name][settled] - whole[name][later:][settled])
        assert difference.max() <= 1e-5 * max(np.nanstd(whole[name]), 0.1), name


def test_a_later_start_agrees_after_the_warm_up():
    assert_later_start_agrees(quiet_market(4500), 700)


@pytest.mark.parametrize("file", ["binance_BTCUSDT_5m", "binance_ASRUSDT_5m"])
def test_a_later_start_agrees_after_the_warm_up_on_real_candles(data_folder, file):
    candles = read_candles(data_folder / f"{file}.parquet", 5)
    assert_later_start_agrees(candles.slice(19_000, 31_000), 3001)


def test_indicators_equal_ta_lib_where_it_has_them(data_folder):
    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5).slice(0, 20_000)
    s = splice_prices(candles)
    atr = talib.ATR(s.high, s.low, s.close, 14)
    line, signal, histogram = talib.MACD(s.close, 12, 26, 9)
    upper, _, lower = talib.BBANDS(s.close, 20, 2, 2)
    fast_k, fast_d = talib.STOCHF(s.high, s.low, s.close, 14, 3)
    plus, minus = (f(s.high, s.low, s.close, 14) for f in (talib.PLUS_DI, talib.MINUS_DI))
    expected = {
        "rsi_14": talib.RSI(s.close, 14) / 50 - 1,
        "rsi_42": talib.RSI(s.close, 42) / 50 - 1,
        "macd_signal": signal / atr,
        "stoch_d_14": fast_d / 50 - 1,
        "cci_20": talib.CCI(s.high, s.low, s.close, 20) / 100,
        "di_diff_14": (plus - minus) / 100,
        "macd_line": line / atr,
        "macd_hist": histogram / atr,
        "bb_pctb_20": (2 * s.close - upper - lower) / (upper - lower),
        "stoch_k_14": fast_k / 50 - 1,
        "adx_14": talib.ADX(s.high, s.low, s.close, 14) / 100,
        "natr_14": np.log(talib.NATR(s.high, s.low, s.close, 14) / 100),
    }
    bars = Bars(candles)
    for name, wanted in expected.items():
        found = FUNCTIONS[name](bars)
        np.testing.assert_allclose(found[400:], wanted[400:], rtol=0, atol=1e-9, err_msg=name)


def test_money_flow_equals_ta_lib_outside_ties(data_folder):
    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5).slice(0, 20_000)
    s = splice_prices(candles)
    typical = (s.high + s.low + s.close) / 3
    tie = np.abs(np.diff(typical, prepend=0.0)) <= 1e-12 * typical
    near = np.convolve(tie, np.ones(15))[: len(candles)] > 0
    wanted = talib.MFI(s.high, s.low, s.close, s.volume, 14) / 50 - 1
    difference = np.abs(FUNCTIONS["mfi_14"](Bars(candles)) - wanted)[400:][~near[400:]]
    assert difference.size > 15_000
    assert difference.max() <= 1e-9


def test_an_equal_up_and_down_move_has_no_direction():
    candles = quiet_market(400)
    step = np.arange(400) * 0.01
    candles.high[:], candles.low[:] = 100 + step, 100 - step
    candles.open[:] = candles.close[:] = 100.0
    # In binary a third of each price no longer moves up exactly as far as down.
    values = by_name(with_prices(candles, 1 / 3))
    assert values["adx_14"][-1] == 0.0 and values["di_diff_14"][-1] == 0.0


def test_a_short_series_gives_only_warm_up():
    assert np.isnan(by_name(quiet_market(13))["stoch_k_14"]).all()
    assert compute_features(quiet_market(0), NAMES, SCALES).base.values.shape == (67, 0)


def test_an_unknown_name_is_refused():
    with pytest.raises(KeyError, match="rsi_15"):
        compute_features(quiet_market(10), ["rsi_15"], [1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "minutes"),
    [
        ("binance_BTCUSDT_5m", 5),
        ("binance_ASRUSDT_5m", 5),
        ("binance_BTCUSDT_15m", 15),
        ("binance_BTCUSDT_1h_2017_2024", 60),
    ],
)
def test_no_feature_is_constant_or_nearly_another(data_folder, file, minutes):
    candles = read_candles(data_folder / f"{file}.parquet", minutes)
    values = compute_features(candles, NAMES, (1,)).base.values[:, 2016:]
    assert np.all(values.std(axis=1) > 0)
    correlation = np.abs(np.corrcoef(values))[~np.eye(len(NAMES), dtype=bool)]
    assert correlation.max() < 0.995


def test_a_swing_high_is_known_five_bars_late_and_measured_in_ranges():
    high = np.full(400, 18.0)
    high[300] = 20.0
    candles = dataclasses.replace(flat_market(400), high=high)
    values, close = by_name(candles)["swing_res"], 17.0
    atr = talib.ATR(candles.high, candles.low, candles.close, 14)
    assert values[304] == pytest.approx((18.0 - close) / atr[304], rel=1e-6)
    assert values[305] == pytest.approx((20.0 - close) / atr[305], rel=1e-6)
    assert values[310] == pytest.approx((20.0 - close) / atr[310], rel=1e-6)
    assert values[311] == pytest.approx((18.0 - close) / atr[311], rel=1e-6)


def test_bars_since_the_high_count_from_the_latest_of_equals():
    high = np.full(700, 17.0)
    high[[300, 350]] = 18.0
    candles = dataclasses.replace(flat_market(700), high=high)
    values = by_name(candles)["bars_since_high_288"] * 287
    np.testing.assert_allclose(values[[340, 350, 360, 637, 638]], [40, 0, 10, 287, 0], atol=1e-4)


def test_the_day_before_is_the_latest_earlier_one_with_bars():
    candles = without(flat_market(288 * 6), 288, 288 * 4)
    candles.high[100], candles.low[200], candles.close[287] = 20.0, 15.0, 16.0
    candles.open[288:] = candles.high[288:] = candles.low[288:] = candles.close[288:] = 16.0
    found = by_name(candles)["pivot_dev"][[570, 576]]
    # The day between has no bars at all; its successor looks at the first day, the last at itself.
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.0, abs=1e-6)
    first_day = FUNCTIONS["pivot_dev"](Bars(candles))[300]
    assert first_day == pytest.approx((16.0 - (20.0 + 15.0 + 16.0) / 3) / 5.0)


def test_the_usual_volume_is_the_median_of_the_days_that_exist():
    candles = flat_market(288 * 8)
    candles.volume[:] = 5.0
    last = 288 * 7 + 50
    candles.volume[[last - 288 * day for day in range(1, 8)]] = [1.0, 9.0, 4.0, 2.0, 8.0, 3.0, 7.0]
    candles.volume[last] = 6.0
    mean = candles.volume[last - 287 : last + 1].mean()
    expected = np.log((6.0 + 0.001 * mean) / (4.0 + 0.001 * mean))
    assert by_name(candles)["volume_tod"][last] == pytest.approx(expected, abs=1e-6)
    gone = without(candles, last - 288 * 2, last - 288 * 2 + 1)
    expected = np.log((6.0 + 0.001 * mean) / (3.5 + 0.001 * mean))
    assert by_name(gone)["volume_tod"][last - 1] == pytest.approx(expected, abs=1e-4)
