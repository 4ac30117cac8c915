import json

import pytest

from markets.candles.errors import InvalidCandles
from markets.candles.frame import candles_sha256
from markets.sources import json_arrays
from tests.markets.sources.candle_files import (
    FIRST_SECOND,
    imported,
    notice_codes,
    plain_rows,
    text_of,
    written,
)


def arrays(count=6):
    return [
        [
            (FIRST_SECOND + 300 * index) * 1000,
            *(100.5 + index, 102 + index, 99 + index, 101 + index, index + 0.25),
        ]
        for index in range(count)
    ]


def file_of(tmp_path, rows, **options):
    content = rows if isinstance(rows, str | bytes) else json.dumps(rows, **options)
    return written(tmp_path, content, "candles.json")


def refusal(tmp_path, rows, **fields):
    with pytest.raises(InvalidCandles) as refused:
        imported(file_of(tmp_path, rows), **fields)
    return refused.value


def with_cell(row, column, value, count=6):
    """The plain rows with one cell changed; row counts from 1."""
    rows = arrays(count)
    rows[row - 1][column] = value
    return rows


@pytest.fixture
def expected(tmp_path):
    return candles_sha256(imported(written(tmp_path, text_of(plain_rows())))[0])


def binance(rows):
    return [[*row, row[0] + 299_999, "1.0", 7, "1.0", "1.0", "0"] for row in rows]


@pytest.mark.parametrize(
    "form",
    [
        lambda rows: json.dumps(rows),
        lambda rows: json.dumps(rows, separators=(",", ":")),
        lambda rows: "\n " + json.dumps(rows, indent=4) + "\r\n",
        lambda rows: json.dumps([[str(cell) for cell in row] for row in rows]),
        lambda rows: json.dumps([[row[0], *(str(cell) for cell in row[1:])] for row in rows]),
        lambda rows: "\ufeff" + json.dumps(rows),
        lambda rows: json.dumps(rows).replace("102,", "1.02e2,"),
        lambda rows: json.dumps([[row[0] // 1000, *row[1:]] for row in rows]),
        lambda rows: json.dumps([[float(row[0]), *row[1:]] for row in rows]),
    ],
)
def test_every_way_to_write_the_arrays_gives_the_checksum_of_the_text(tmp_path, expected, form):
    candles, report = imported(file_of(tmp_path, form(arrays())))
    assert candles_sha256(candles) == expected
    assert report["file"]["format"] == "json"
    assert notice_codes(report) <= {"bom_removed"}


def test_twelve_fields_are_the_klines_of_an_exchange(tmp_path, expected):
    candles, report = imported(file_of(tmp_path, binance(arrays())))
    assert candles_sha256(candles) == expected
    assert report["file"]["layout"] == "binance klines"
    assert report["columns"]["used"]["quote_volume"] == "quote_volume"


@pytest.mark.parametrize("form", [lambda cell: cell, repr])
def test_plain_numbers_and_texts_of_them_take_the_fast_way(tmp_path, monkeypatch, expected, form):
    monkeypatch.setattr(json_arrays, "batch_of_cells", lambda *_: 1 / 0)
    rows = [[form(cell) for cell in row] for row in arrays()]
    assert candles_sha256(imported(file_of(tmp_path, rows))[0]) == expected


def test_pieces_are_joined_and_rows_numbered_from_one(tmp_path, monkeypatch):
    monkeypatch.setattr(json_arrays, "CHUNK_BYTES", 1000)
    whole = candles_sha256(imported(file_of(tmp_path, arrays(400)))[0])
    pretty = candles_sha256(imported(file_of(tmp_path, arrays(400), indent=1))[0])
    plain = candles_sha256(imported(written(tmp_path, text_of(plain_rows(400))))[0])
    assert whole == pretty == plain
    refused = refusal(tmp_path, with_cell(351, 4, "x", count=400))
    assert (refused.code, refused.line) == ("bad_number", 351)


@pytest.mark.parametrize("value", ["1,5", "1_000", "0x10", "١٢", "$1.2", True, [1], {"a": 1}])
def test_what_is_no_number_is_named_with_row_and_column(tmp_path, value):
    refused = refusal(tmp_path, with_cell(3, 4, value))
    assert (refused.code, refused.line) == ("bad_number", 3)
    assert refused.message.startswith("Row 3, column close: found ")


@pytest.mark.parametrize("value", [None, "", "NaN", float("nan"), float("inf"), "1e400"])
def test_empty_or_infinite_value_is_a_violation_of_the_row(tmp_path, value):
    refused = refusal(tmp_path, with_cell(3, 2, value))
    assert (refused.code, refused.line, refused.count) == ("bad_value", 3, 1)


def test_overflowing_number_is_a_violation_of_the_row(tmp_path):
    text = json.dumps(arrays()).replace("102,", "1e400,")
    assert refusal(tmp_path, text).code == "bad_value"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "bad_timestamp"),
        (True, "bad_timestamp"),
        (-5, "bad_timestamp"),
        (10**25, "bad_timestamp"),
        ("01/02/2024", "ambiguous_date"),
        (1704067200000.5, "bad_number"),
    ],
)
def test_what_is_no_time_is_named(tmp_path, value, code):
    refused = refusal(tmp_path, with_cell(2, 0, value))
    assert (refused.code, refused.line) == (code, 2)


def test_time_that_has_lost_its_digits_is_refused(tmp_path):
    text = json.dumps(arrays()).replace("1704067500000", "1.70407E+12")
    assert refusal(tmp_path, text).code == "bad_number"


def test_row_of_another_length_is_named(tmp_path):
    rows = arrays()
    rows[3].append(1)
    refused = refusal(tmp_path, rows)
    assert (refused.code, refused.line) == ("field_count", 4)
    assert "Row 4 has 7 fields, expected 6" in refused.message


@pytest.mark.parametrize("count", [0, 5, 7, 8])
def test_other_length_of_all_rows_asks_for_a_map(tmp_path, count):
    rows = [(row * 2)[:count] for row in arrays()]
    refused = refusal(tmp_path, rows)
    assert refused.code == "columns_not_found"
    assert "column map" in refused.message


def test_column_map_reads_arrays_of_any_length(tmp_path, expected):
    rows = [["x", *row, "y"] for row in arrays()]
    names = ("timestamp", "open", "high", "low", "close", "volume")
    numbers = {role: f"#{index}" for index, role in enumerate(names, 2)}
    assert candles_sha256(imported(file_of(tmp_path, rows), column_map=numbers)[0]) == expected


@pytest.mark.parametrize("rows", [[{"open": 1}], [1, 2, 3], ["a"], [None]])
def test_rows_that_are_no_arrays_are_refused(tmp_path, rows):
    assert refusal(tmp_path, rows).code == "columns_not_found"


@pytest.mark.parametrize("text", ["[]", " [ \n ] "])
def test_empty_array_has_no_rows(tmp_path, text):
    assert refusal(tmp_path, text).code == "no_rows"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text[:-30],
        lambda text: text + "]",
        lambda text: text + "\n" + text,
        lambda text: text[:-1] + ",]",
        lambda text: text.replace("], [", "] [", 1),
        lambda text: text.replace("102,", "102 5,"),
        lambda text: text.replace("102,", "0102,"),
        lambda text: text.replace("102,", "'102',"),
        lambda text: "[" * 100_000,
        lambda text: "[" * 100_000 + "]" * 100_000,
        lambda text: "[[1,2" + ",[" * 50_000 + "]" * 50_002,
    ],
)
def test_what_is_no_array_of_rows_is_damaged(tmp_path, change):
    assert refusal(tmp_path, change(json.dumps(arrays()))).code in {
        "damaged_file",
        "columns_not_found",
    }


def test_row_of_a_fault_is_named(tmp_path):
    text = json.dumps(arrays()).replace("103.5", "103.5.5")
    refused = refusal(tmp_path, text)
    assert (refused.code, refused.line) == ("damaged_file", 4)


def test_long_field_and_long_row_are_refused(tmp_path, monkeypatch):
    refused = refusal(tmp_path, with_cell(3, 5, "1" * 300))
    assert (refused.code, refused.line) == ("field_too_long", 3)
    monkeypatch.setattr(json_arrays, "CHUNK_BYTES", 50_000)
    assert refusal(tmp_path, "[[" + "1," * 60_000 + "1]]").code == "line_too_long"


@pytest.mark.parametrize(
    ("content", "byte"),
    [
        (b'[["\xe9",1,2,3,4,5]]', 3),
        (b"[[1,2,3,4,5,6]" + b" " * 70_000 + b"\0]", 70_014),
        (b"\xef\xbb\xbf [[1,2,3,4,5,\xe9]]", 16),
    ],
)
def test_other_encoding_is_named_with_the_byte(tmp_path, content, byte):
    refused = refusal(tmp_path, content)
    assert refused.code == "not_utf8"
    assert f"at byte {byte}." in refused.message


def test_mixed_units_are_refused_with_the_row(tmp_path):
    refused = refusal(tmp_path, with_cell(4, 0, FIRST_SECOND + 900))
    assert (refused.code, refused.line) == ("mixed_timestamp_units", 4)


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("markets.sources.table.MAX_ROWS", 5)
    assert refusal(tmp_path, arrays(6)).code == "too_large"


@pytest.mark.parametrize(("column", "code"), [(0, "bad_timestamp"), (1, "bad_number")])
def test_half_of_a_surrogate_pair_is_a_bad_cell(tmp_path, column, code):
    rows = [[str(cell) for cell in row] for row in with_cell(2, column, "1\ud800")]
    assert refusal(tmp_path, rows).code == code
