import json

import numpy as np
import pytest

from markets.candles.difference import diff_candles
from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles

MARKET = synthetic_candles(days=2, timeframe_minutes=60, seed=3)


def without(candles, *bars):
    keep = np.setdiff1d(np.arange(len(candles)), bars)
    names = ("time", "open", "high", "low", "close", "volume")
    return Candles(candles.timeframe_minutes, *(getattr(candles, name)[keep] for name in names))


def with_close(candles, bar, close):
    changed = without(candles)
    changed.close[bar] = close
    return changed


def test_longer_file_is_an_extension():
    found = diff_candles(MARKET.slice(5, 40), MARKET)
    assert found["added"] == {"before": 5, "inside": 0, "after": len(MARKET) - 40}
    assert found["overlap"] == {"bars": 35, "equal": 35, "changed": 0}
    assert found["is_extension"] is True
    assert found["first_changed_at"] is None


def test_filled_hole_is_added_inside():
    found = diff_candles(without(MARKET, 7, 8), MARKET)
    assert found["added"] == {"before": 0, "inside": 2, "after": 0}
    assert found["is_extension"] is True


def test_changed_bar_is_shown_with_both_values():
    found = diff_candles(MARKET.slice(0, 30), with_close(MARKET, 12, 5.0))
    assert found["overlap"] == {"bars": 30, "equal": 29, "changed": 1}
    assert found["changed_by_column"] == {"open": 0, "high": 0, "low": 0, "close": 1, "volume": 0}
    at = str(np.datetime64(int(MARKET.time[12]) // 10**9, "s")) + "Z"
    assert found["first_changed_at"] == at
    assert found["changes"] == [{"at": at, "close": [float(MARKET.close[12]), 5.0]}]
    assert found["is_extension"] is False


def test_vanished_bars_are_counted():
    found = diff_candles(MARKET, without(MARKET, 3, 20))
    assert found["removed_bars"] == 2
    at = str(np.datetime64(int(MARKET.time[3]) // 10**9, "s")) + "Z"
    assert found["first_removed_at"] == at
    assert found["is_extension"] is False


def test_at_most_twenty_changes_are_shown_and_all_are_counted():
    other = without(MARKET)
    other.volume[:] += 1.0
    found = diff_candles(MARKET, other)
    assert len(found["changes"]) == 20
    assert found["overlap"]["changed"] == len(MARKET)


def test_result_is_json_data():
    found = diff_candles(MARKET.slice(0, 30), with_close(MARKET, 12, 5.0))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_files_without_a_common_bar_have_no_overlap():
    found = diff_candles(MARKET.slice(0, 10), MARKET.slice(10, 20))
    assert found["overlap"] == {"bars": 0, "equal": 0, "changed": 0}
    assert (found["removed_bars"], found["added"]["after"]) == (10, 10)


def test_other_timeframe_cannot_be_compared():
    with pytest.raises(ValueError, match="60 with 5 minutes"):
        diff_candles(MARKET, synthetic_candles(days=1, timeframe_minutes=5, seed=3))
