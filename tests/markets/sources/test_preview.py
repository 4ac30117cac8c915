import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest

from markets.sources import preview as preview_module
from markets.sources.preview import preview_source
from tests.markets.sources.candle_files import (
    FIRST_SECOND,
    HEADER,
    NOW_NS,
    plain_rows,
    spec_of,
    text_of,
    written,
)


def previewed(path, rows=20, **fields):
    return preview_source(path, path.name, spec_of(**fields), now_ns=NOW_NS, rows=rows)


def codes(preview):
    return [problem.code for problem in preview.problems]


def text(tmp_path, content, name="candles.csv", **fields):
    return previewed(written(tmp_path, content, name), **fields)


def table(count):
    index = np.arange(count)
    return pa.table(
        {
            "date": pa.array((FIRST_SECOND + 300 * index) * 1000, pa.timestamp("ms", tz="UTC")),
            "open": 100.5 + index,
            "high": 102.0 + index,
            "low": 99.0 + index,
            "close": 101.0 + index,
            "volume": index + 0.25,
        }
    )


def test_head_of_a_good_file_tells_what_was_detected(tmp_path):
    rows = [f"{row},7" for row in plain_rows(30)]
    seen = text(tmp_path, text_of(rows, HEADER + ",trades").replace(",", ";"))
    assert (seen.format, seen.timeframe, seen.order) == ("csv", "5m", "ascending")
    assert seen.settings is not None
    assert (seen.settings.delimiter, seen.settings.timestamp_unit) == (";", "ms")
    assert seen.settings.used["close"] == "close"
    assert seen.settings.ignored == ("trades",)
    assert (len(seen.rows), seen.rows_read, seen.is_whole) == (20, 30, True)
    assert seen.rows[1].time == "2024-01-01T00:05:00Z"
    assert (seen.rows[1].line, seen.rows[1].open, seen.rows[1].volume) == (3, 101.5, 1.25)
    assert seen.problems == ()
    assert seen.header == (*HEADER.split(","), "trades")
    assert len(seen.sample) == 5


def test_every_format_gives_the_same_rows(tmp_path):
    arrays = [
        [(FIRST_SECOND + 300 * i) * 1000, 100.5 + i, 102 + i, 99 + i, 101 + i, i + 0.25]
        for i in range(6)
    ]
    pq.write_table(table(6), tmp_path / "a.parquet")
    pa_feather.write_feather(table(6), tmp_path / "a.feather")
    seen = [
        text(tmp_path, text_of(plain_rows())),
        text(tmp_path, gzip.compress(text_of(plain_rows()).encode()), "a.csv.gz"),
        text(tmp_path, json.dumps(arrays), "a.json"),
        previewed(tmp_path / "a.parquet"),
        previewed(tmp_path / "a.feather"),
    ]
    assert [s.format for s in seen] == ["csv", "csv.gz", "json", "parquet", "feather"]
    for other in seen:
        values = [(row.time, row.open, row.close, row.volume) for row in other.rows]
        assert values == [(r.time, r.open, r.close, r.volume) for r in seen[0].rows]
        assert (other.timeframe, other.problems) == ("5m", ())


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.json", "a.parquet", "a.feather"])
def test_only_the_head_is_read(tmp_path, monkeypatch, name):
    monkeypatch.setattr(preview_module, "HEAD_LINES", 10)
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(table(50), path)
    elif name.endswith("feather"):
        pa_feather.write_feather(table(50), path, chunksize=8)
    elif name.endswith("json"):
        rows = [[json.loads(cell) for cell in row.split(",")] for row in plain_rows(50)]
        path.write_text(json.dumps(rows))
    else:
        content = (text_of(plain_rows(50)) + "nonsense\n").encode()
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    seen = previewed(path)
    assert seen.rows_read in (9, 10)
    assert (seen.is_whole, seen.problems) == (False, ())


def test_line_that_cannot_be_read_is_named_and_the_rows_before_it_are_shown(tmp_path):
    rows = plain_rows(12)
    rows[7] = rows[7].replace(",109", ",1_09")
    seen = text(tmp_path, text_of(rows))
    assert (codes(seen), seen.problems[0].line) == (["bad_number"], 9)
    assert [row.line for row in seen.rows] == list(range(2, 9))
    assert (seen.is_refused, seen.is_whole) == (True, False)


def test_row_that_cannot_be_read_in_arrays_is_named_too(tmp_path):
    rows = [[json.loads(cell) for cell in row.split(",")] for row in plain_rows(8)]
    rows[4][2] = "x"
    seen = text(tmp_path, json.dumps(rows), "a.json")
    assert (codes(seen), seen.problems[0].line, len(seen.rows)) == (["bad_number"], 5, 4)


def test_first_row_that_cannot_be_read_leaves_settings_but_no_rows(tmp_path):
    seen = text(tmp_path, text_of(plain_rows()).replace(".", ",").replace(",", ";"))
    assert codes(seen) == ["field_count"]
    assert (seen.rows, seen.problems[0].line) == ((), 2)
    assert seen.settings is not None


def test_every_rule_that_rows_break_is_listed(tmp_path):
    rows = [row.split(",") for row in plain_rows(40)]
    rows[3][4], rows[5][5], rows[7][2], rows[9][1] = "0", "-1", "50", ""
    seen = text(tmp_path, text_of([",".join(row) for row in rows]))
    assert codes(seen) == ["bad_value", "bad_price", "negative_volume", "ohlc_violation"]
    assert [problem.line for problem in seen.problems] == [11, 5, 7, 9]
    assert seen.is_refused
    assert seen.rows[9].open is None


def test_rows_to_be_dropped_are_no_refusal(tmp_path):
    rows = plain_rows(40)
    rows[3] = rows[3].replace(",104,", ",0,")
    seen = text(tmp_path, text_of(rows), on_violation="drop")
    assert (codes(seen), seen.is_refused) == (["bad_price"], False)


def test_missing_columns_come_with_header_sample_and_a_guess(tmp_path):
    content = text_of(plain_rows(), "When,Open,High,Low,Last,Vol")
    seen = text(tmp_path, content)
    assert (codes(seen), seen.settings, seen.rows) == (["columns_not_found"], None, ())
    assert seen.header == ("When", "Open", "High", "Low", "Last", "Vol")
    assert seen.sample[0] == ("1704067200000", "100.5", "102", "99", "101", "0.25")
    assert seen.guess == {"open": "Open", "high": "High", "low": "Low", "volume": "Vol"}
    mapped = text(
        tmp_path, content, column_map={**seen.guess, "timestamp": "When", "close": "Last"}
    )
    assert (mapped.problems, len(mapped.rows)) == ((), 6)


def test_rows_without_header_are_guessed_by_position(tmp_path):
    seen = text(tmp_path, "\n".join(f"{row},8,9" for row in plain_rows()))
    assert codes(seen) == ["columns_not_found"]
    assert (seen.header, seen.guess["timestamp"], seen.guess["volume"]) == ((), "#1", "#6")
    assert text(tmp_path, "\n".join(plain_rows())).guess["close"] == "#5"


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "a.csv", "empty_file"),
        (b"PK\x03\x04" + bytes(40), "a.zip", "unsupported_type"),
        (b"PAR1" + bytes(40), "a.parquet", "damaged_file"),
        (b"ARROW1\0\0" + bytes(40) + b"ARROW1", "a.feather", "damaged_file"),
        (b"[[1,2", "a.json", "damaged_file"),
        (gzip.compress(text_of(plain_rows(500)).encode())[:-40], "a.csv.gz", "damaged_file"),
        (b"a,b,c\n1,2,\xe9\n", "a.csv", "not_utf8"),
        (HEADER.encode() + b"\n", "a.csv", "no_rows"),
        (b"[]", "a.json", "no_rows"),
    ],
)
def test_file_that_cannot_be_read_at_all_gives_its_reason(tmp_path, content, name, code):
    seen = text(tmp_path, content, name)
    assert (codes(seen), seen.rows, seen.is_refused) == ([code], (), True)


def test_wrong_claims_are_problems(tmp_path):
    content = text_of(plain_rows())
    assert codes(text(tmp_path, content, timeframe="1h")) == ["timeframe_mismatch"]
    assert codes(text(tmp_path, content, timestamp_unit="s")) == ["timestamp_out_of_range"]
    assert codes(text(tmp_path, content, timestamp_unit="text")) == ["bad_timestamp"]


def test_preview_is_json_data(tmp_path):
    rows = plain_rows(8)
    rows[2] = rows[2].replace(",104,", ",NaN,")
    found = text(tmp_path, text_of(rows)).to_json()
    assert json.loads(json.dumps(found, allow_nan=False))["is_refused"] is True


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("freqtrade_public_trades_list.csv", "columns_not_found"),
        ("tardis_binance-futures_book_snapshot_5_BTCUSDT.csv", "columns_not_found"),
        ("cryptodatadownload_v2_BTC_USD-Hourly.csv", None),
        ("cryptodatadownload_Coinbase_BTCUSD_1h.csv", None),
        ("freqtrade_BTC_USDT-1h.feather", None),
        ("freqtrade_ETH_USDT-1h.json", None),
        ("binance_klines_noheader_ADABTC-1m-2021-11-27.csv", None),
    ],
)
def test_real_files_are_understood_from_their_head(data_folder, name, code):
    seen = previewed(data_folder / "raw" / name, symbol="BTC/USD")
    assert codes(seen) == ([code] if code else [])
    assert bool(seen.rows) is (code is None)


def test_a_header_without_a_known_name_is_guessed_by_position(tmp_path):
    content = text_of(plain_rows(), "Zeit,Auf,Hoch,Tief,Zu,Menge")
    assert text(tmp_path, content).guess == {
        role: f"#{place}" for place, role in enumerate(HEADER.split(","), 1)
    }
    assert text(tmp_path, text_of(["1,2,3"] * 8, "a,b,c")).guess == {}


@pytest.mark.parametrize("cell", ["\0", "\ud800", "\x1b"])
@pytest.mark.parametrize("column", [0, 1, 11])
def test_what_a_preview_repeats_of_a_file_can_be_stored(tmp_path, cell, column):
    row = [1704067200000, "1", "2", "0.5", "1", "3", 1704067499999, "3", 1, "1", "1", "x"]
    row[column] = cell
    path = written(tmp_path, json.dumps([row] * 3), "candles.json")
    stored = json.dumps(preview_source(path, path.name, spec_of(), now_ns=NOW_NS).to_json())
    assert json.dumps(cell)[1:-1] not in stored
    assert "\\ufffd" in stored
