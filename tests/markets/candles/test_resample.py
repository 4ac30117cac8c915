import numpy as np
import pytest

from markets.candles.frame import NS_PER_MINUTE, VALUE_COLUMNS, Candles, read_candles
from markets.candles.resample import resample_candles


def minute_candles(minutes):
    minutes = np.asarray(minutes)
    price = 100.0 + minutes
    return Candles(
        1, minutes * NS_PER_MINUTE, price, price + 0.5, price - 0.5, price + 0.25, minutes + 1.0
    )


def test_three_minutes_become_one_bar():
    coarse = resample_candles(minute_candles(range(6)), 3)
    assert coarse.timeframe_minutes == 3
    assert coarse.time.tolist() == [0, 3 * NS_PER_MINUTE]
    assert coarse.open.tolist() == [100.0, 103.0]
    assert coarse.high.tolist() == [102.5, 105.5]
    assert coarse.low.tolist() == [99.5, 102.5]
    assert coarse.close.tolist() == [102.25, 105.25]
    assert coarse.volume.tolist() == [6.0, 15.0]


def test_bins_start_at_midnight_and_incomplete_ones_are_left_out():
    coarse = resample_candles(minute_candles([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]), 3)
    assert (coarse.time // NS_PER_MINUTE).tolist() == [3, 9]


def test_removed_future_leaves_every_closed_coarse_bar_unchanged():
    whole = resample_candles(minute_candles(range(60)), 15)
    cut = resample_candles(minute_candles(range(47)), 15)
    assert len(cut) == 3
    for name in ("time", *VALUE_COLUMNS):
        assert np.array_equal(getattr(whole, name)[:3], getattr(cut, name))


def test_factor_one_keeps_the_candles():
    candles = minute_candles(range(5))
    assert np.array_equal(resample_candles(candles, 1).close, candles.close)


def test_no_complete_bin_gives_no_candles():
    assert len(resample_candles(minute_candles([1, 2]), 3)) == 0


def test_bar_that_does_not_divide_a_day_is_refused():
    with pytest.raises(ValueError, match="7 minutes does not divide"):
        resample_candles(minute_candles(range(9)), 7)


@pytest.mark.parametrize(("factor", "native"), [(3, "15m"), (12, "1h")])
def test_five_minute_bitcoin_resampled_equals_the_native_file(data_folder, factor, native):
    base = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5)
    expected = read_candles(data_folder / f"binance_BTCUSDT_{native}.parquet", 5 * factor)
    coarse = resample_candles(base, factor)
    first = int(np.searchsorted(coarse.time, expected.time[0]))
    coarse = coarse.slice(first, first + len(expected))
    for name in ("time", "open", "high", "low", "close"):
        assert np.array_equal(getattr(coarse, name), getattr(expected, name)), name
    np.testing.assert_allclose(coarse.volume, expected.volume, rtol=1e-9)
