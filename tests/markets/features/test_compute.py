import numpy as np
import pytest
import talib

from markets.candles.frame import read_candles
from markets.features.compute import FUNCTIONS, compute_features
from markets.features.registry import FEATURE_SETS, FEATURES
from markets.features.splice import splice_prices
from tests.markets.features.market import flat_market, quiet_market, with_prices, without
from tests.oracles.features import plain_features

BASIC = FEATURE_SETS["basic-15"]
SCALES = (1, 3, 6, 12)


def by_name(candles, scales=(1,)):
    table = compute_features(candles, BASIC, scales)
    return dict(zip(BASIC, table.base.values, strict=True))


def assert_equal_to_oracle(candles):
    computed, plain = by_name(candles), plain_features(candles)
    for name in BASIC:
        np.testing.assert_allclose(computed[name], plain[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_every_registered_feature_has_a_function_and_the_other_way_round():
    assert set(FUNCTIONS) == set(FEATURES)


def test_features_equal_the_plain_version_across_a_gap_and_dead_volume():
    candles = without(quiet_market(1300), 600, 640)
    candles.volume[650:1000] = 0.0
    assert_equal_to_oracle(candles)


@pytest.mark.parametrize("start", [0, 22_900])
def test_features_equal_the_plain_version_on_real_candles(data_folder, start):
    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5)
    assert_equal_to_oracle(candles.slice(start, start + 1300))


def test_golden_rows_of_the_bitcoin_file(data_folder):
    computed = by_name(read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5))
    golden = {
        "rsi_14": (0.163213, -0.561984, 0.009362),
        "adx_14": (0.293198, 0.205820, 0.363036),
        "ret_12": (0.064702, -1.305767, 0.178021),
    }
    for name, expected in golden.items():
        found = computed[name][[8928, 23_768, 125_984]]
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)


def test_features_are_nan_in_the_warm_up_and_finite_after_it_on_every_scale():
    table = compute_features(without(quiet_market(6000), 2000, 2030), BASIC, SCALES)
    for factor, scale in table.scales.items():
        for name, values in zip(BASIC, scale.values, strict=True):
            warm_up = FEATURES[name].warm_up
            assert np.isnan(values[:warm_up]).all(), (factor, name)
            assert np.isfinite(values[warm_up:]).all(), (factor, name)


@pytest.mark.parametrize(
    ("file", "minutes"),
    [("binance_ASRUSDT_5m", 5), ("binance_BTCUSDT_15m", 15), ("binance_BTCUSDT_1h_2017_2024", 60)],
)
def test_features_of_real_files_are_finite_after_the_warm_up(data_folder, file, minutes):
    table = compute_features(
        read_candles(data_folder / f"{file}.parquet", minutes), BASIC, (1, 3, 6, 12)
    )
    for scale in table.scales.values():
        for name, values in zip(BASIC, scale.values, strict=True):
            warm_up = FEATURES[name].warm_up
            assert np.isfinite(values[warm_up:]).all(), (scale.factor, name)


def dead_over_gaps():
    candles = without(flat_market(760), 400, 431)
    jump = np.where(np.arange(len(candles)) >= 400, 1 / 3, 1.0)
    return without(with_prices(candles, jump), 500, 511)


@pytest.mark.parametrize("candles", [flat_market(700), dead_over_gaps()], ids=["whole", "gaps"])
def test_a_flat_market_without_volume_gives_floors_and_zeros(candles):
    values = by_name(candles)
    at_end = {name: float(column[-1]) for name, column in values.items()}
    floor = np.log(1e-6)
    assert at_end["rv_48"] == pytest.approx(floor)
    assert at_end["natr_14"] == pytest.approx(floor)
    assert at_end["bb_width_20"] == pytest.approx(floor)
    still = ("rsi_14", "macd_line", "macd_hist", "bb_pctb_20", "stoch_k_14", "adx_14")
    for name in (*still, "volume_z_48", "ret_1", "ret_12", "ret_48"):
        np.testing.assert_allclose(
            values[name][FEATURES[name].warm_up :], 0, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("factor", [1000.0, 1e-7])
def test_multiplied_prices_and_volumes_change_nothing(factor):
    candles = quiet_market(1500)
    moved = with_prices(candles, factor)
    moved.volume[:] *= 1000
    before, after = by_name(candles), by_name(moved)
    for name in BASIC:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_jump_over_a_gap_is_no_move():
    candles = without(quiet_market(4000), 2000, 2005)
    jump = np.where(np.arange(len(candles)) >= 2000, 1.1, 1.0)
    before = compute_features(candles, BASIC, SCALES)
    after = compute_features(with_prices(candles, jump), BASIC, SCALES)
    for k in SCALES:
        # A last place in float64 may round to the neighbouring float32.
        np.testing.assert_allclose(after.scales[k].values, before.scales[k].values, 3e-7, 1e-9)


def test_splicing_closes_each_gap_and_starts_at_one_hundred():
    candles = without(quiet_market(300), 100, 120)
    spliced = splice_prices(candles)
    assert spliced.close[0] == pytest.approx(100)
    assert spliced.open[100] == pytest.approx(spliced.close[99])
    assert candles.open[100] != pytest.approx(candles.close[99])


def test_a_later_start_agrees_after_the_warm_up():
    candles = quiet_market(3500)
    whole, later = by_name(candles), by_name(candles.slice(700, 3500))
    for name in BASIC:
        settled = slice(FEATURES[name].warm_up, None)
        scale = np.nanstd(whole[name])
        difference = np.abs(later[name][settled] - whole[name][700:][settled])
        assert difference.max() <= 1e-5 * max(scale, 0.1), name


def test_indicators_equal_ta_lib_where_it_has_them(data_folder):
    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5).slice(0, 20_000)
    s = splice_prices(candles)
    values = by_name(candles)
    atr = talib.ATR(s.high, s.low, s.close, 14)
    line, _, histogram = talib.MACD(s.close, 12, 26, 9)
    upper, _, lower = talib.BBANDS(s.close, 20, 2, 2)
    fast_k, _ = talib.STOCHF(s.high, s.low, s.close, 14, 3)
    expected = {
        "rsi_14": talib.RSI(s.close, 14) / 50 - 1,
        "macd_line": line / atr,
        "macd_hist": histogram / atr,
        "bb_pctb_20": (2 * s.close - upper - lower) / (upper - lower),
        "stoch_k_14": fast_k / 50 - 1,
        "adx_14": talib.ADX(s.high, s.low, s.close, 14) / 100,
        "natr_14": np.log(talib.NATR(s.high, s.low, s.close, 14) / 100),
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(values[name][400:], wanted[400:], 1e-6, 1e-6, err_msg=name)


def test_an_equal_up_and_down_move_has_no_direction():
    candles = quiet_market(400)
    step = np.arange(400) * 0.01
    candles.high[:], candles.low[:] = 100 + step, 100 - step
    candles.open[:] = candles.close[:] = 100.0
    # In binary a third of each price no longer moves up exactly as far as down.
    assert by_name(with_prices(candles, 1 / 3))["adx_14"][-1] == 0.0


def test_a_short_series_gives_only_warm_up():
    assert np.isnan(by_name(quiet_market(13))["stoch_k_14"]).all()
    assert compute_features(quiet_market(0), BASIC, SCALES).base.values.shape == (15, 0)


def test_an_unknown_name_is_refused():
    with pytest.raises(KeyError, match="rsi_15"):
        compute_features(quiet_market(10), ["rsi_15"], [1])


@pytest.mark.parametrize(
    ("file", "minutes"), [("binance_BTCUSDT_5m", 5), ("binance_BTCUSDT_1h_2017_2024", 60)]
)
def test_no_feature_is_constant_or_nearly_another(data_folder, file, minutes):
    candles = read_candles(data_folder / f"{file}.parquet", minutes)
    values = compute_features(candles, BASIC, (1,)).base.values[:, 400:]
    assert np.all(values.std(axis=1) > 0)
    correlation = np.abs(np.corrcoef(values))[~np.eye(len(BASIC), dtype=bool)]
    assert correlation.max() < 0.995
