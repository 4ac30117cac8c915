from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.feather import write_feather

from markets.candles.errors import InvalidCandles
from markets.candles.frame import candles_sha256, write_candles
from markets.sources import columnar
from tests.markets.sources.candle_files import imported, plain_rows, text_of, written

FIRST_MS = 1_704_067_200_000


def columns_of(count=6):
    index = np.arange(count)
    return {
        "timestamp": pa.array(FIRST_MS + 300_000 * index, pa.timestamp("ms", tz="UTC")),
        "open": 100.5 + index,
        "high": 102.0 + index,
        "low": 99.0 + index,
        "close": 101.0 + index,
        "volume": index + 0.25,
    }


def parquet(tmp_path, columns, **options):
    path = tmp_path / "candles.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


def refusal(path, **fields):
    with pytest.raises(InvalidCandles) as refused:
        imported(path, **fields)
    return refused.value


@pytest.fixture
def expected(tmp_path):
    return candles_sha256(imported(written(tmp_path, text_of(plain_rows())))[0])


def test_parquet_gives_the_checksum_of_the_text(tmp_path, expected):
    candles, report = imported(parquet(tmp_path, columns_of()))
    assert candles_sha256(candles) == expected
    assert report["file"]["format"] == "parquet"
    assert report["timestamp"]["unit"] == "timestamp"


def test_own_sealed_file_is_read_back(tmp_path, expected):
    candles, _ = imported(parquet(tmp_path, columns_of()))
    write_candles(tmp_path / "sealed.parquet", candles)
    assert candles_sha256(imported(tmp_path / "sealed.parquet")[0]) == expected


@pytest.mark.parametrize(
    "convert",
    [
        lambda t: t.cast(pa.timestamp("ns", tz="UTC")),
        lambda t: t.cast(pa.timestamp("us", tz="Asia/Tokyo")),
        lambda t: t.cast(pa.timestamp("ms")),
        lambda t: t.cast(pa.int64()),
        lambda t: t.cast(pa.int64()).cast(pa.float64()),
        lambda t: pa.array([f"{v.isoformat()}" for v in t.to_pylist()]),
        lambda t: pa.array([str(v) for v in t.cast(pa.int64()).to_pylist()]).dictionary_encode(),
    ],
)
def test_every_kind_of_time_column_gives_the_same_candles(tmp_path, expected, convert):
    columns = columns_of()
    columns["timestamp"] = convert(columns["timestamp"])
    assert candles_sha256(imported(parquet(tmp_path, columns))[0]) == expected


def test_dates_are_midnights(tmp_path):
    columns = columns_of(3) | {"timestamp": pa.array([date(2024, 1, day) for day in (1, 2, 3)])}
    assert imported(parquet(tmp_path, columns))[1]["timeframe"] == "1d"


def test_row_groups_are_joined_and_rows_numbered_from_one(tmp_path, expected):
    path = parquet(tmp_path, columns_of(), row_group_size=2)
    assert candles_sha256(imported(path)[0]) == expected
    columns = columns_of()
    columns["close"][4] = 0.0
    refused = refusal(parquet(tmp_path, columns, row_group_size=2))
    assert (refused.code, refused.line) == ("bad_price", 5)
    assert "Row 5" in refused.message


def test_null_is_a_bad_value(tmp_path):
    columns = columns_of()
    columns["close"] = pa.array([1.0, None, 1.0, 1.0, 1.0, 1.0])
    assert refusal(parquet(tmp_path, columns)).code == "bad_value"


def test_null_time_is_named(tmp_path):
    columns = columns_of(3)
    columns["timestamp"] = pa.array([FIRST_MS, None, FIRST_MS], pa.timestamp("ms"))
    refused = refusal(parquet(tmp_path, columns))
    assert (refused.code, refused.line) == ("bad_timestamp", 2)


@pytest.mark.parametrize(
    "extra",
    [
        pa.array([[1.0]] * 6),
        pa.array([b"x"] * 6),
        pa.array([{"a": 1}] * 6),
    ],
)
def test_nested_or_binary_column_is_refused_even_when_unused(tmp_path, extra):
    refused = refusal(parquet(tmp_path, columns_of() | {"extra": extra}))
    assert refused.code == "unsupported_columns"
    assert "extra" in refused.message


def test_text_where_numbers_belong_is_refused(tmp_path):
    columns = columns_of() | {"close": pa.array(["1"] * 6)}
    refused = refusal(parquet(tmp_path, columns))
    assert refused.code == "unsupported_columns"
    assert "close" in refused.message


@pytest.mark.parametrize("cut", [4, 40, 200])
def test_cut_off_file_is_damaged(tmp_path, cut):
    path = parquet(tmp_path, columns_of(500))
    path.write_bytes(path.read_bytes()[:-cut])
    assert refusal(path).code == "damaged_file"


def test_overwritten_pages_never_escape_as_another_error(tmp_path):
    path = parquet(tmp_path, columns_of(2000), compression="zstd")
    content = bytearray(path.read_bytes())
    content[4:3000] = b"\xff" * 2996
    path.write_bytes(bytes(content))
    assert refusal(path).code == "damaged_file"


def test_rows_and_cells_are_counted_in_the_footer(tmp_path, monkeypatch):
    path = parquet(tmp_path, columns_of())
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(columnar, "MAX_CELLS_BYTES", 6 * 6 * 8 - 1)
    assert refusal(path).code == "too_large"
    monkeypatch.setattr("markets.sources.table.MAX_ROWS", 5)
    assert refusal(path).code == "too_large"


def test_missing_columns_are_named(tmp_path):
    columns = columns_of()
    del columns["close"]
    assert "Missing: close." in refusal(parquet(tmp_path, columns)).message


def test_fractional_epoch_is_refused(tmp_path):
    columns = columns_of(3) | {"timestamp": np.array([1.704067200e12, 1.5, 2.0])}
    refused = refusal(parquet(tmp_path, columns))
    assert (refused.code, refused.line) == ("bad_number", 2)


def test_decimals_give_the_checksum_of_the_text(tmp_path, expected):
    opened = pa.array([Decimal("100.5") + index for index in range(6)], pa.decimal128(20, 5))
    assert (
        candles_sha256(imported(parquet(tmp_path, columns_of() | {"open": opened}))[0]) == expected
    )


def test_prices_in_a_dictionary_are_numbers(tmp_path, expected):
    prices = pa.array(100.5 + np.arange(6)).dictionary_encode()
    path = tmp_path / "candles.feather"
    write_feather(pa.table(columns_of() | {"open": prices}), path)
    assert candles_sha256(imported(path)[0]) == expected


@pytest.mark.parametrize(
    "column",
    [pa.array([b"x"] * 6).dictionary_encode(), pa.array([b"x"] * 6, pa.binary_view())],
    ids=["dictionary", "view"],
)
def test_binary_cells_are_refused_however_they_are_kept(tmp_path, column):
    path = tmp_path / "candles.feather"
    write_feather(pa.table(columns_of() | {"extra": column}), path)
    assert refusal(path).code == "unsupported_columns"
