import struct

import numpy as np
import pyarrow as pa
import pyarrow.feather as pa_feather
import pytest

from markets.candles.errors import InvalidCandles
from markets.candles.frame import candles_sha256
from markets.sources import columnar, feather
from tests.markets.sources.candle_files import imported, plain_rows, text_of, written

FIRST_MS = 1_704_067_200_000


def columns_of(count=6):
    index = np.arange(count)
    return {
        "date": pa.array(FIRST_MS + 300_000 * index, pa.timestamp("ms", tz="UTC")),
        "open": 100.5 + index,
        "high": 102.0 + index,
        "low": 99.0 + index,
        "close": 101.0 + index,
        "volume": index + 0.25,
    }


def feather_of(tmp_path, columns, name="candles.feather", **options):
    path = tmp_path / name
    pa_feather.write_feather(pa.table(columns), path, **options)
    return path


def refusal(path, **fields):
    with pytest.raises(InvalidCandles) as refused:
        imported(path, **fields)
    return refused.value


@pytest.fixture
def expected(tmp_path):
    return candles_sha256(imported(written(tmp_path, text_of(plain_rows())))[0])


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
@pytest.mark.parametrize("name", ["candles.feather", "candles.arrow"])
def test_feather_gives_the_checksum_of_the_text(tmp_path, expected, name, compression):
    candles, report = imported(
        feather_of(tmp_path, columns_of(), name=name, compression=compression)
    )
    assert candles_sha256(candles) == expected
    assert report["file"]["format"] == "feather"
    assert report["columns"]["used"]["timestamp"] == "date"


def test_record_batches_are_joined_and_rows_numbered_from_one(tmp_path, expected):
    path = feather_of(tmp_path, columns_of(), chunksize=2)
    assert candles_sha256(imported(path)[0]) == expected
    columns = columns_of()
    columns["close"][4] = 0.0
    refused = refusal(feather_of(tmp_path, columns, chunksize=2))
    assert (refused.code, refused.line) == ("bad_price", 5)


def test_unused_columns_are_left_packed(tmp_path, expected):
    extra = {"note": pa.array(["a"] * 6), "kind": pa.array(["x"] * 6).dictionary_encode()}
    path = feather_of(tmp_path, {"kind": extra["kind"], **columns_of(), "note": extra["note"]})
    candles, report = imported(path)
    assert candles_sha256(candles) == expected
    assert report["columns"]["ignored"] == ["kind", "note"]


def test_texts_of_times_are_read_as_in_text(tmp_path, expected):
    columns = columns_of()
    columns["date"] = pa.array([v.isoformat() for v in columns["date"].to_pylist()])
    assert candles_sha256(imported(feather_of(tmp_path, columns))[0]) == expected


@pytest.mark.parametrize("extra", [pa.array([[1.0]] * 6), pa.array([b"x"] * 6)])
def test_nested_or_binary_column_is_refused_even_when_unused(tmp_path, extra):
    refused = refusal(feather_of(tmp_path, columns_of() | {"extra": extra}))
    assert refused.code == "unsupported_columns"


@pytest.mark.parametrize("cut", [1, 7, 40, 400])
def test_cut_off_file_is_damaged(tmp_path, cut):
    path = feather_of(tmp_path, columns_of(500))
    path.write_bytes(path.read_bytes()[:-cut])
    assert refusal(path).code == "damaged_file"


@pytest.mark.parametrize("seed", range(60))
def test_overwritten_bytes_never_escape_as_another_error(tmp_path, seed):
    path = feather_of(tmp_path, columns_of(50), chunksize=20)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    # The magic at both ends stays, so that the file is taken for Feather.
    for place in rng.integers(8, len(content) - 6, size=4):
        content[place] = rng.integers(256)
    path.write_bytes(bytes(content))
    try:
        imported(path)
    except InvalidCandles as refused:
        assert refused.message


def test_rows_and_cells_are_counted_before_anything_is_unpacked(tmp_path, monkeypatch):
    path = feather_of(tmp_path, columns_of())
    monkeypatch.setattr(feather, "_gather", lambda *_: 1 / 0)
    monkeypatch.setattr(columnar, "MAX_CELLS_BYTES", 6 * 6 * 8 - 1)
    assert refusal(path).code == "too_large"
    monkeypatch.setattr("markets.sources.table.MAX_ROWS", 5)
    assert refusal(path).code == "too_large"


def test_packed_buffer_that_claims_gigabytes_is_refused_unread(tmp_path, monkeypatch):
    columns = columns_of(2000) | {"open": np.full(2000, 100.5)}
    path = feather_of(tmp_path, columns, compression="zstd")
    content = path.read_bytes()
    honest = struct.pack("<q", 2000 * 8)
    assert honest in content
    monkeypatch.setattr(feather, "_gather", lambda *_: 1 / 0)
    for claim in (2**31 + 1, 2**62):
        path.write_bytes(content.replace(honest, struct.pack("<q", claim)))
        assert refusal(path).code == "too_large"
    path.write_bytes(content.replace(honest, struct.pack("<q", -5)))
    assert refusal(path).code == "damaged_file"


def test_missing_columns_are_named(tmp_path):
    columns = columns_of()
    del columns["close"]
    assert "Missing: close." in refusal(feather_of(tmp_path, columns)).message


def test_file_without_batches_has_no_rows(tmp_path):
    assert refusal(feather_of(tmp_path, columns_of(0))).code == "no_rows"
