import numpy as np
import pytest

from markets.candles import report as report_of
from markets.candles.frame import Candles
from markets.candles.report import candle_quality

FIRST_NS = 1_704_067_200_000_000_000
STEP_NS = 300_000_000_000


def candles_at(bars, close=None):
    bars = np.asarray(bars)
    close = np.full(len(bars), 100.0) if close is None else np.asarray(close, dtype=float)
    return Candles(
        5, FIRST_NS + STEP_NS * bars, close, close + 1, close - 1, close, np.ones(len(bars))
    )


def test_gaps_name_the_bar_before_and_what_is_missing():
    report = candle_quality(candles_at([0, 1, 4, 5, 7]))
    assert report["gap_count"] == 2
    assert report["missing_bars"] == 3
    assert report["missing_share"] == pytest.approx(3 / 8)
    assert report["gaps"] == [
        {"after": "2024-01-01T00:05:00Z", "missing_bars": 2},
        {"after": "2024-01-01T00:25:00Z", "missing_bars": 1},
    ]
    assert report["first_at"] == "2024-01-01T00:00:00Z"
    assert report["last_at"] == "2024-01-01T00:35:00Z"


def test_fifty_largest_gaps_come_first_and_the_list_stays_whole():
    bars = np.cumsum(1 + np.arange(60) % 7)
    report = candle_quality(candles_at(bars))
    sizes = [gap["missing_bars"] for gap in report["largest_gaps"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 50
    assert len(report["gaps"]) == report["gap_count"] == 51


def test_of_very_many_gaps_the_longest_are_listed_in_order_of_time_and_all_are_counted(monkeypatch):
    monkeypatch.setattr(report_of, "GAPS_LISTED", 3)
    report = candle_quality(candles_at([0, 2, 6, 8, 11, 13, 18]))
    assert [gap["missing_bars"] for gap in report["gaps"]] == [3, 2, 4]
    assert (report["gap_count"], report["missing_bars"]) == (6, 12)


def test_flat_bars_and_their_longest_run_stop_at_a_gap():
    candles = candles_at([0, 1, 2, 3, 6, 7, 8, 9])
    for bar in (1, 2, 3, 4, 5, 7):
        candles.high[bar] = candles.low[bar] = 100.0
    report = candle_quality(candles)
    assert report["flat_bars"] == 6
    assert report["longest_flat_run"] == 3


def test_outliers_are_moves_of_25_medians_between_adjacent_bars():
    close = [100, 100.1, 100, 100.1, 100, 103, 103.1, 90, 90.1, 90]
    report = candle_quality(candles_at([0, 1, 2, 3, 4, 5, 6, 10, 11, 12], close))
    assert report["outlier_count"] == 1
    assert report["outliers"] == [
        {"at": "2024-01-01T00:25:00Z", "log_return": pytest.approx(np.log(1.03))}
    ]


def test_price_that_never_moves_has_no_outlier():
    assert candle_quality(candles_at(range(5)))["outliers"] == []


def test_ranges_and_empty_bars_are_counted():
    candles = candles_at(range(4), [100, 110, 90, 100])
    candles.volume[2] = 0.0
    report = candle_quality(candles)
    assert report["price_range"] == [89.0, 111.0]
    assert report["volume_range"] == [0.0, 1.0]
    assert report["zero_volume_bars"] == 1
    assert report["longest_flat_run"] == 0


def test_single_candle_has_a_report():
    assert candle_quality(candles_at([0]))["gap_count"] == 0
