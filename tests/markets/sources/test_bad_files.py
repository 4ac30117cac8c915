"""The bad files of the import contract, each by its number there, from bytes to the answer."""

import gzip
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest

from markets.candles.errors import InvalidCandles
from markets.candles.frame import candles_sha256
from tests.markets.sources.candle_files import (
    FIRST_SECOND,
    HEADER,
    PNG,
    ROWS,
    archive,
    gzip_bomb,
    imported,
    notice_codes,
    packed,
    plain_rows,
    shifted,
    table,
    text_of,
    with_cell,
    written,
)

WRITERS = {"parquet": pq.write_table, "feather": pa_feather.write_feather}


def refusal(tmp_path, content, name="candles.csv", **fields):
    with pytest.raises(InvalidCandles) as refused:
        imported(written(tmp_path, content, name), **fields)
    return refused.value


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        ("", "a.csv", "empty_file"),
        ("", "a.json", "empty_file"),
        (HEADER + "\n", "a.csv", "no_rows"),
        (HEADER, "a.csv", "no_rows"),
        ("[]", "a.json", "no_rows"),
        (packed(pq.write_table, table(0)), "a.parquet", "no_rows"),
        (packed(pa_feather.write_feather, table(0)), "a.feather", "no_rows"),
        (gzip.compress(HEADER.encode()), "a.csv.gz", "no_rows"),
    ],
)
def test_b32_file_without_rows(tmp_path, content, name, code):
    assert refusal(tmp_path, content, name).code == code


BOMB = """
import resource, sys
from pathlib import Path
from markets.candles.errors import InvalidCandles
from markets.sources.reading import read_source
from markets.specs import ImportSpec
import pyarrow.csv, pyarrow.parquet

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before = peak()
try:
    read_source(Path(sys.argv[1]), "candles.csv.gz", ImportSpec(symbol="BTC/USDT"))
except InvalidCandles as refused:
    print(refused.code, peak() - before)
"""


@pytest.mark.parametrize(
    "line",
    [
        b"1,2,3,4,5,6,",
        pytest.param(b"1704067200000,1,2,0.5,1.5,3\n", marks=pytest.mark.slow),
        pytest.param(b"\n", marks=pytest.mark.slow),
    ],
)
def test_b34_bomb_is_refused_within_the_memory_of_a_worker(tmp_path, line):
    path = written(tmp_path, gzip_bomb(line), "bomb.csv.gz")
    assert path.stat().st_size < 3 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    code, growth_mib = done.stdout.split()
    assert code == "too_large"
    assert int(growth_mib) < 500


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("extra", [[[1.0]] * 6, [b"x"] * 6, [{"a": 1}] * 6])
def test_b35_nested_or_binary_columns(tmp_path, form, extra):
    content = packed(WRITERS[form], table(extra=pa.array(extra)))
    assert refusal(tmp_path, content, f"a.{form}").code == "unsupported_columns"


@pytest.mark.parametrize("form", WRITERS)
def test_b35_name_of_a_column_that_no_page_can_show(tmp_path, form):
    content = packed(WRITERS[form], table(**{"odd\x00name": [1.0] * 6}))
    refused = refusal(tmp_path, content, f"a.{form}")
    assert (refused.code, "column 7" in refused.message) == ("unsupported_columns", True)


@pytest.mark.parametrize("form", WRITERS)
def test_b35_cell_that_no_page_can_show_is_made_printable(tmp_path, form):
    named = written(tmp_path, packed(WRITERS[form], table(symbol=["E\x00"] * 6)), f"a.{form}")
    (notice,) = imported(named)[1]["notices"]
    assert "The file says E\ufffd" in notice["message"]
    times = packed(WRITERS[form], table(timestamp=["2024\x00"] * 6))
    assert "\x00" not in refusal(tmp_path, times, f"a.{form}").message


@pytest.mark.parametrize("form", WRITERS)
def test_b35_cut_off_footer(tmp_path, form):
    content = packed(WRITERS[form], table(ROWS))
    assert refusal(tmp_path, content[:-20], f"a.{form}").code == "damaged_file"


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.json", "a.csv.gz"])
def test_b35_text_under_another_name(tmp_path, name):
    assert refusal(tmp_path, text_of(plain_rows()), name).code == "extension_mismatch"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PNG, "a.csv"),
        (archive("candles.csv"), "a.zip"),
        (archive("xl/workbook.xml"), "a.xlsx"),
        (archive("data.pkl"), "a.pt"),
        (pickle.dumps({"open": [1.0]}), "a.pkl"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "a.h5"),
        (archive("candles.csv"), "a.csv"),
        (gzip.compress(archive("candles.csv")), "a.csv.gz"),
    ],
)
def test_b36_other_types(tmp_path, content, name):
    assert refusal(tmp_path, content, name).code == "unsupported_type"


def test_b37_all_forms_of_text_at_once(tmp_path):
    plain = text_of(plain_rows())
    expected = candles_sha256(imported(written(tmp_path, plain))[0])
    other = "\ufeff" + plain.replace(",", ";").replace("\n", "\r\n")
    candles, report = imported(written(tmp_path, other))
    assert candles_sha256(candles) == expected
    assert {"bom_removed", "crlf_line_ends", "delimiter"} <= notice_codes(report)


@pytest.mark.parametrize(
    "value", ["1_000", "0x10", "١٢٣", "１２", "$1.2", "1e", "1e+", "+-1", "1 2", "nan(1)"]
)
def test_b38_no_plain_number(tmp_path, value):
    refused = refusal(tmp_path, with_cell(4, value))
    assert (refused.code, refused.line) == ("bad_number", 4)
    assert "column close" in refused.message


def test_b38_decimal_comma(tmp_path):
    content = (
        with_cell(4, "1.5").replace(",", ";").replace("1.5\n", "1,5\n").replace(";1.5;", ";1,5;")
    )
    refused = refusal(tmp_path, content)
    assert (refused.code, refused.line) == ("bad_number", 4)
    assert "decimal comma" in refused.message


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (HEADER.replace("close", "last"), "columns_not_found"),
        (HEADER.replace("close", "open"), "duplicate_column"),
        (HEADER.replace("close", "Open "), "duplicate_column"),
    ],
)
def test_b39_columns(tmp_path, header, code):
    assert refusal(tmp_path, text_of(plain_rows(), header)).code == code


def test_b39_name_with_spaces_is_accepted(tmp_path):
    content = text_of(plain_rows(), HEADER.replace("close", " Close "))
    assert len(imported(written(tmp_path, content))[0]) == 6


@pytest.mark.parametrize("value", ["NaN", "inf", "-Infinity", "1e400", "", "nan"])
@pytest.mark.parametrize("column", [1, 5])
def test_b40_no_finite_value(tmp_path, value, column):
    content = with_cell(column, value)
    refused = refusal(tmp_path, content)
    assert (refused.code, refused.line) == ("bad_value", 4)
    candles, report = imported(written(tmp_path, content), on_violation="drop")
    assert report["dropped"] == [{"code": "bad_value", "count": 1, "lines": [4]}]
    assert len(candles) == ROWS - 1


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        (1, "0", "bad_price"),
        (2, "1", "ohlc_violation"),
        (4, "9999", "ohlc_violation"),
        (5, "-1", "negative_volume"),
    ],
)
def test_b41_broken_rule_with_the_first_five_lines(tmp_path, column, value, code):
    rows = [line.split(",") for line in plain_rows(ROWS)]
    for row in range(10, 18):
        rows[row][column] = value
    refused = refusal(tmp_path, text_of([",".join(cells) for cells in rows]))
    assert (refused.code, refused.count) == (code, 8)
    assert refused.lines == (12, 13, 14, 15, 16)


def test_b42_unsorted_rows(tmp_path):
    rows = plain_rows(ROWS)
    expected = candles_sha256(imported(written(tmp_path, text_of(rows)))[0])
    mixed = [rows[index] for index in np.random.default_rng(1).permutation(ROWS)]
    candles, report = imported(written(tmp_path, text_of(mixed)))
    assert candles_sha256(candles) == expected
    assert "sorted" in notice_codes(report)


def test_b43_every_unit_gives_one_checksum(tmp_path):
    found = {
        candles_sha256(imported(written(tmp_path, text_of(plain_rows(unit=unit))))[0])
        for unit in ("s", "ms", "us", "ns")
    }
    assert len(found) == 1


@pytest.mark.parametrize("units", [("s", "ms"), ("ms", "us"), ("us", "ns"), ("ns", "s")])
def test_b43_mixed_units(tmp_path, units):
    rows = [*plain_rows(ROWS, unit=units[0])[:100], *plain_rows(ROWS, unit=units[1])[100:]]
    refused = refusal(tmp_path, text_of(rows))
    assert (refused.code, refused.line) == ("mixed_timestamp_units", 102)


@pytest.mark.parametrize("first_second", [1_798_761_600, 0, 300])
def test_b44_next_year_and_1970(tmp_path, first_second):
    assert refusal(tmp_path, shifted(first_second)).code == "timestamp_out_of_range"


def test_b44_two_symbols(tmp_path):
    rows = [row for pair in zip(plain_rows(), plain_rows(), strict=True) for row in pair]
    named = [f"{row},{'AB'[index % 2]}USDT" for index, row in enumerate(rows)]
    assert refusal(tmp_path, text_of(named, HEADER + ",symbol")).code == "several_symbols"
    other = [row.replace(".25", ".75") if index % 2 else row for index, row in enumerate(rows)]
    assert refusal(tmp_path, text_of(other)).code == "conflicting_duplicate"


def test_b44_irregular_step(tmp_path):
    content = with_cell(0, str((FIRST_SECOND + 660) * 1000))
    refused = refusal(tmp_path, content)
    assert (refused.code, refused.line) == ("off_grid", 4)


PACKED = gzip.compress(text_of(plain_rows()).encode())


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (PACKED[:10], "damaged_file"),
        (PACKED[:-8] + bytes(8), "damaged_file"),
        (gzip.compress(b""), "no_rows"),
    ],
    ids=["head alone", "checksum", "nothing"],
)
def test_small_packed_file_without_text_is_named_for_what_it_is(tmp_path, content, code):
    assert refusal(tmp_path, content, "candles.csv.gz").code == code
