"""The real files of the development data give the figures that the import contract states."""

import pytest

from markets.candles.errors import InvalidCandles
from markets.candles.frame import candles_sha256
from tests.markets.sources.candle_files import imported, notice_codes

FILES = [
    ("binance_BTCUSDT_5m.parquet", "5m", 157_232, 2, 304, 14, 80, "74b7417431a3"),
    ("binance_ETHUSDT_5m.parquet", "5m", 157_232, 2, 304, 14, 77, "1904c3593311"),
    ("binance_SOLUSDT_5m.parquet", "5m", 52_416, 0, 0, 0, 13, "4cb72b647fa5"),
    ("binance_XRPUSDT_5m.parquet", "5m", 52_416, 0, 0, 0, 30, "47c7f84c517d"),
    ("binance_DOGEUSDT_5m.parquet", "5m", 52_416, 0, 0, 0, 32, "9c4c9e53185e"),
    ("binance_ASRUSDT_5m.parquet", "5m", 52_416, 0, 0, 798, 86, "8f0b4fd6357a"),
    ("binance_BTCUSDT_15m.parquet", "15m", 17_472, 0, 0, 0, 3, "3e21b0e4ae27"),
    ("binance_ETHUSDT_15m.parquet", "15m", 17_472, 0, 0, 0, 3, "95228884f36d"),
    ("binance_BTCUSDT_1h.parquet", "1h", 4_368, 0, 0, 0, 0, "bc62f1a92de8"),
    ("binance_ETHUSDT_1h.parquet", "1h", 4_368, 0, 0, 0, 1, "2ffdd6a70169"),
    ("binance_BTCUSDT_1h_2017_2024.parquet", "1h", 58_419, 28, 128, 4, 64, "50a4cc311150"),
    ("binanceusdm_BTCUSDT_perp_5m.parquet", "5m", 17_568, 0, 0, 0, 7, "1d53946c8eec"),
    ("binanceusdm_ETHUSDT_perp_5m.parquet", "5m", 17_568, 0, 0, 0, 4, "903b143fc490"),
    ("ftx_BTCPERP_1m.parquet", "1m", 45_031, 0, 0, 0, 12, "688a473fe501"),
    ("raw/binance_klines_BTCUSDT-1h-2023-01.csv", "1h", 744, 0, 0, 0, 2, "7420ace9ac8b"),
    (
        "raw/binance_klines_noheader_ADABTC-1m-2021-11-27.csv",
        *("1m", 10, 0, 0, 0, 0, "e9a134330bb7"),
    ),
    ("raw/cryptodatadownload_Coinbase_BTCUSD_1h.csv", "1h", 20_111, 0, 0, 28, 17, "e990219c94fe"),
    ("raw/freqtrade_ETH_USDT-1h.json", "1h", 5_482, 6, 11, 2, 0, "8315439cfbb1"),
    ("raw/freqtrade_BTC_USDT-1h.feather", "1h", 8_998, 1, 1, 1, 9, "dd3433343f0f"),
    ("raw/cryptodatadownload_v2_BTC_USD-Hourly.csv", "1h", 33_259, 0, 0, 5, 25, "9864bd76fadc"),
]


@pytest.mark.parametrize(
    ("name", "timeframe", "rows", "gaps", "missing", "zero", "outliers", "sha256"),
    FILES,
    ids=[row[0] for row in FILES],
)
def test_file_gives_its_stated_figures(
    data_folder, name, timeframe, rows, gaps, missing, zero, outliers, sha256
):
    candles, report = imported(data_folder / name, symbol="BTC/USD")
    assert candles_sha256(candles)[:12] == sha256
    assert (report["timeframe"], len(candles)) == (timeframe, rows)
    assert (report["gap_count"], report["missing_bars"]) == (gaps, missing)
    assert (report["zero_volume_bars"], report["outlier_count"]) == (zero, outliers)


def test_bitcoin_holes_are_where_they_are_stated(data_folder):
    _, report = imported(data_folder / "binance_BTCUSDT_5m.parquet")
    assert report["gaps"] == [
        {"after": "2023-03-24T12:35:00Z", "missing_bars": 16},
        {"after": "2023-12-30T23:55:00Z", "missing_bars": 288},
    ]


def test_one_hour_is_absent_from_the_feather_file(data_folder):
    _, report = imported(data_folder / "raw/freqtrade_BTC_USDT-1h.feather")
    assert report["gaps"] == [{"after": "2023-03-24T12:00:00Z", "missing_bars": 1}]


def test_illiquid_token_has_its_flat_bars(data_folder):
    assert imported(data_folder / "binance_ASRUSDT_5m.parquet")[1]["flat_bars"] == 2_809


def test_old_hourly_file_has_its_notices_and_range(data_folder):
    path = data_folder / "raw/cryptodatadownload_Coinbase_BTCUSD_1h.csv"
    _, report = imported(path, symbol="BTC/USD")
    assert {"banner_skipped", "sorted"} <= notice_codes(report)
    assert report["first_at"] == "2017-07-01T11:00:00Z"
    assert report["last_at"] == "2019-10-17T09:00:00Z"


def test_swapped_volumes_are_counted(data_folder):
    path = data_folder / "raw/cryptodatadownload_v2_BTC_USD-Hourly.csv"
    _, report = imported(path, symbol="BTC/USD")
    counts = {notice["code"]: notice["count"] for notice in report["notices"]}
    assert counts["volume_unit_switched"] == 20_143
    assert "sorted" in counts


@pytest.mark.parametrize(
    "name",
    ["freqtrade_public_trades_list.csv", "tardis_binance-futures_book_snapshot_5_BTCUSDT.csv"],
)
def test_files_without_candles_are_refused(data_folder, name):
    with pytest.raises(InvalidCandles, match="open, high, low, close") as refused:
        imported(data_folder / "raw" / name)
    assert refused.value.code == "columns_not_found"
