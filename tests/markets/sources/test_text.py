import gzip

import numpy as np
import pytest

from markets.candles.errors import InvalidCandles
from markets.candles.frame import candles_sha256
from markets.sources import text as text_module
from tests.markets.sources.candle_files import (
    HEADER,
    imported,
    notice_codes,
    plain_rows,
    text_of,
    written,
)


def refusal(tmp_path, content, **fields):
    with pytest.raises(InvalidCandles) as refused:
        imported(written(tmp_path, content), **fields)
    return refused.value


def sha256_of(tmp_path, content, name="candles.csv", **fields):
    candles, _ = imported(written(tmp_path, content, name), **fields)
    return candles_sha256(candles)


def with_cell(row, column, value, count=6):
    """The plain file with one cell changed; row counts from 1, so its line is row + 1."""
    rows = [line.split(",") for line in plain_rows(count)]
    rows[row - 1][column] = value
    return text_of([",".join(cells) for cells in rows])


def test_plain_file_gives_its_candles(tmp_path):
    candles, report = imported(written(tmp_path, text_of(plain_rows())))
    assert candles.timeframe_minutes == 5
    assert candles.time.tolist() == [(1_704_067_200 + 300 * i) * 10**9 for i in range(6)]
    assert candles.open.tolist() == [100.5, 101.5, 102.5, 103.5, 104.5, 105.5]
    assert candles.volume.tolist() == [0.25, 1.25, 2.25, 3.25, 4.25, 5.25]
    assert report["file"] == {
        "name": "candles.csv",
        "bytes": len(text_of(plain_rows())),
        "format": "csv",
        "layout": "plain",
        "delimiter": ",",
        "encoding": "utf-8",
    }
    assert report["timestamp"] == {"unit": "ms", "timezone": "UTC", "order": "ascending"}
    assert report["notices"] == []


@pytest.mark.parametrize(
    ("change", "notice"),
    [
        (lambda text: "\ufeff" + text, "bom_removed"),
        (lambda text: text.replace("\n", "\r\n"), "crlf_line_ends"),
        (lambda text: text.replace(",", ";"), "delimiter"),
        (lambda text: text.replace(",", "\t"), "delimiter"),
        (lambda text: text.replace(",", "|"), "delimiter"),
        (lambda text: text.removeprefix(HEADER + "\n"), "no_header"),
        (lambda text: "made by someone\n" + text, "banner_skipped"),
    ],
)
def test_other_form_of_the_same_rows_gives_the_same_checksum(tmp_path, change, notice):
    plain = text_of(plain_rows())
    candles, report = imported(written(tmp_path, change(plain)))
    assert candles_sha256(candles) == sha256_of(tmp_path, plain)
    assert notice in notice_codes(report)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.removesuffix("\n"),
        lambda text: text + "\n\n",
        lambda text: "\n" + text,
        lambda text: text.replace("101,", '"101",'),
        lambda text: text.replace(",102,", ",+102,"),
        lambda text: text.replace(",102,", ",1.02e2,"),
        lambda text: text.replace(",102,", ", 102 ,"),
        lambda text: text.replace("open", " Open "),
        lambda text: text.replace("1704067200000", "1704067200000.0"),
    ],
)
def test_harmless_spelling_gives_the_same_checksum(tmp_path, change):
    plain = text_of(plain_rows())
    assert change(plain) != plain
    assert sha256_of(tmp_path, change(plain)) == sha256_of(tmp_path, plain)


def quoted(text):
    return "\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quoted_fields_take_the_fast_way_to_the_same_checksum(tmp_path, monkeypatch, end):
    plain = text_of(plain_rows(50))
    expected = sha256_of(tmp_path, plain)
    monkeypatch.setattr(text_module, "_read_plain", lambda *_: 1 / 0)
    assert sha256_of(tmp_path, quoted(plain).replace("\n", end)) == expected


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ('"1"2', "unclosed_quote"),
        ('1"2"', "bad_number"),
        ('"1""2"', "bad_number"),
        ('"1,2"', "bad_number"),
        ('"', "unclosed_quote"),
        ('"1', "unclosed_quote"),
        ('""', "bad_value"),
    ],
)
def test_quote_that_encloses_no_whole_number_is_refused(tmp_path, cell, code):
    text = with_cell(3, 5, "CELL").replace("CELL", cell)
    refused = refusal(tmp_path, text)
    assert (refused.code, refused.line) == (code, 4)


def test_packed_file_gives_the_same_checksum(tmp_path):
    plain = text_of(plain_rows())
    packed = sha256_of(tmp_path, gzip.compress(plain.encode()), "candles.csv.gz")
    assert packed == sha256_of(tmp_path, plain)


def test_damaged_packed_file_is_refused(tmp_path):
    packed = gzip.compress(text_of(plain_rows(500)).encode())
    with pytest.raises(InvalidCandles) as refused:
        imported(written(tmp_path, packed[:-40], "candles.csv.gz"))
    assert refused.value.code == "damaged_file"


def test_packed_file_is_refused_when_it_unpacks_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InvalidCandles) as refused:
        imported(written(tmp_path, gzip.compress(text_of(plain_rows(100)).encode()), "c.csv.gz"))
    assert refused.value.code == "too_large"


def test_both_parsers_read_the_same_from_many_chunks(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    rows = []
    for index, (price, up) in enumerate((rng.random((400, 2)) + [100, 0]).tolist()):
        time = (1_704_067_200 + 300 * index) * 1000
        rows.append(f"{time},{price!r},{price + up!r},{price * 0.9!r},{price!r},1e-3")
    plain = text_of(rows)
    expected = sha256_of(tmp_path, plain)
    monkeypatch.setattr(text_module, "CHUNK_BYTES", 1000)
    assert sha256_of(tmp_path, plain) == expected
    monkeypatch.setattr(text_module, "_read_fast", lambda *_: None)
    assert sha256_of(tmp_path, plain) == expected


def test_decimal_digits_are_rounded_correctly(tmp_path):
    long = "101.000000000000007105427357601001858711242675781250001"
    candles, _ = imported(written(tmp_path, with_cell(2, 1, long)))
    assert candles.open[1] == float(long)


def test_line_of_an_error_is_right_in_a_later_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "CHUNK_BYTES", 1000)
    refused = refusal(tmp_path, with_cell(350, 4, "x", count=400))
    assert (refused.code, refused.line) == ("bad_number", 351)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("68.07K", "Remove the suffix"),
        ("$1.2", "Remove the sign"),
        ("1_000", "thousands"),
        ("0x10", "Correct the cell"),
        ("١٢٣", "Correct the cell"),
        ("5.", "Correct the cell"),
        ("1 000", "thousands"),
        ("NA", "Correct the cell"),
        ("--1", "Correct the cell"),
    ],
)
def test_what_is_no_plain_number_is_named_with_line_and_column(tmp_path, value, hint):
    refused = refusal(tmp_path, with_cell(3, 5, value))
    assert (refused.code, refused.line) == ("bad_number", 4)
    assert refused.message.startswith(f"Line 4, column volume: found `{value}`, expected a number.")
    assert hint in refused.message


def test_decimal_comma_is_named(tmp_path):
    text = text_of(plain_rows()).replace(",", ";").replace(".", ",")
    refused = refusal(tmp_path, text)
    assert (refused.code, refused.line) == ("bad_number", 2)
    assert "decimal comma" in refused.message


@pytest.mark.parametrize("value", ["", "NaN", "inf", "-inf", "Infinity", "1e400"])
def test_empty_or_infinite_value_is_a_violation_of_the_row(tmp_path, value):
    refused = refusal(tmp_path, with_cell(3, 2, value))
    assert (refused.code, refused.line, refused.count) == ("bad_value", 4, 1)


@pytest.mark.parametrize(("cells", "found"), [(["9"], 7), ([], 5)])
def test_row_with_another_count_of_fields_is_named(tmp_path, cells, found):
    rows = plain_rows()
    rows[2] = ",".join(rows[2].split(",")[:5] + (["1"] if cells else []) + cells)
    refused = refusal(tmp_path, text_of(rows))
    assert (refused.code, refused.line) == ("field_count", 4)
    assert f"Line 4 has {found} fields, expected 6" in refused.message


def test_surplus_field_in_every_row_is_not_taken_for_a_banner(tmp_path):
    refused = refusal(tmp_path, text_of([row + "," for row in plain_rows()]))
    assert (refused.code, refused.line) == ("field_count", 2)


def test_blank_lines_do_not_move_the_line_of_an_error(tmp_path):
    text = with_cell(3, 4, "x").replace("\n", "\n\n", 1)
    assert refusal(tmp_path, text).line == 5


def test_open_quote_is_named(tmp_path):
    refused = refusal(tmp_path, with_cell(4, 3, '"99'))
    assert (refused.code, refused.line) == ("unclosed_quote", 5)


@pytest.mark.parametrize("length", [257, 5000])
def test_long_field_is_refused(tmp_path, length):
    refused = refusal(tmp_path, with_cell(2, 5, "1" * length))
    assert (refused.code, refused.line) == ("field_too_long", 3)


def test_field_of_256_bytes_is_read(tmp_path):
    candles, _ = imported(written(tmp_path, with_cell(2, 5, "0." + "1" * 254)))
    assert candles.volume[1] == pytest.approx(1 / 9)


def test_long_line_is_refused(tmp_path):
    refused = refusal(tmp_path, with_cell(2, 5, "1" * 20_000))
    assert (refused.code, refused.line) == ("line_too_long", 3)


def test_too_many_columns_are_refused(tmp_path):
    names = ",".join(f"c{index}" for index in range(59))
    assert refusal(tmp_path, f"{HEADER},{names}\n").code == "too_many_columns"


@pytest.mark.parametrize(
    ("content", "byte"),
    [
        (text_of(plain_rows()).encode() + b"\xe9\n", len(text_of(plain_rows()))),
        ("\ufeffab".encode("utf-16-le"), 0),
        (HEADER.encode() + b"\n" + b"1" * 70_000 + b"\0", len(HEADER) + 70_001),
    ],
)
def test_other_encoding_is_named_with_the_byte(tmp_path, content, byte):
    refused = refusal(tmp_path, content)
    assert refused.code == "not_utf8"
    assert f"at byte {byte}." in refused.message


def test_header_alone_has_no_rows(tmp_path):
    assert refusal(tmp_path, HEADER + "\n").code == "no_rows"
    assert refusal(tmp_path, "\n\n\n").code == "no_rows"


def test_lone_carriage_return_is_no_line_end(tmp_path):
    refused = refusal(tmp_path, with_cell(2, 5, "1\r2"))
    assert (refused.code, refused.line) == ("bad_number", 3)


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("markets.sources.table.MAX_ROWS", 5)
    assert refusal(tmp_path, text_of(plain_rows(6))).code == "too_large"


def test_endless_blank_lines_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("markets.sources.table.MAX_ROWS", 10)
    assert refusal(tmp_path, text_of(plain_rows()) + "\n" * 30).code == "too_large"


def test_lines_that_end_in_carriage_returns_alone_are_named(tmp_path):
    refused = refusal(tmp_path, text_of(plain_rows()).replace("\n", "\r"))
    assert (refused.code, refused.message.partition(",")[0]) == (
        "line_ends",
        "Lines end in CR alone",
    )
