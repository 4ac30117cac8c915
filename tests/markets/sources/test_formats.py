import gzip
import io
import pickle
import subprocess
import sys
import zipfile

import pytest

from markets.sources.formats import (
    MAX_BYTES,
    MAX_JSON_BYTES,
    RefusedFile,
    SourceFormat,
    display_name,
    sniff,
)

CSV = b"timestamp,open,high,low,close,volume\n1704067200000,1,2,0.5,1.5,3\n"
PARQUET = b"PAR1" + bytes(40) + b"PAR1"
FEATHER = b"ARROW1\x00\x00" + bytes(40) + b"ARROW1"
JSON = b" \n[[1704067200000,1,2,0.5,1.5,3]]"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def sniffed(content, name, size=None):
    return sniff(content[:65536], content[-16:], len(content) if size is None else size, name)


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("candles.csv", CSV)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.tsv", "a.txt", "candles", "a.dat"])
def test_text_is_read_under_any_name_that_claims_nothing_else(name):
    assert sniffed(CSV, name) is SourceFormat.TEXT


def test_packed_text_and_parquet_are_recognised():
    assert sniffed(gzip.compress(CSV), "a.csv.gz") is SourceFormat.GZIP_TEXT
    assert sniffed(PARQUET, "a.parquet") is SourceFormat.PARQUET


@pytest.mark.parametrize("name", ["a.feather", "a.arrow", "a"])
def test_feather_is_recognised(name):
    assert sniffed(FEATHER, name) is SourceFormat.FEATHER


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_arrays_are_recognised_by_their_first_bracket(mark):
    assert sniffed(mark + JSON, "a.json") is SourceFormat.JSON


def test_json_has_a_smaller_limit():
    assert sniffed(JSON, "a.json", size=MAX_JSON_BYTES) is SourceFormat.JSON
    with pytest.raises(RefusedFile, match="as JSON") as refused:
        sniffed(JSON, "a.json", size=MAX_JSON_BYTES + 1)
    assert (refused.value.code, refused.value.status) == ("too_large", 413)


@pytest.mark.parametrize("content", [PARQUET[:-4], FEATHER[:-4]])
def test_columnar_file_without_its_foot_is_left_to_the_job(content):
    assert sniffed(content, "a") in (SourceFormat.PARQUET, SourceFormat.FEATHER)


@pytest.mark.parametrize("name", ["PAR1", "ARROW1"])
def test_text_that_begins_like_a_columnar_file_stays_text(name):
    assert sniffed(name.encode() + b"," + CSV, "a.csv") is SourceFormat.TEXT


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_text_with_a_byte_order_mark_is_left_to_the_job(prefix):
    assert sniffed(prefix + CSV, "a.csv") is SourceFormat.TEXT


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (CSV, "a.parquet"),
        (CSV, "a.feather"),
        (CSV, "a.json"),
        (CSV, "a.csv.gz"),
        (PARQUET, "a.csv"),
        (PARQUET, "a.feather"),
        (FEATHER, "a.parquet"),
        (JSON, "a.csv"),
        (gzip.compress(CSV), "a.csv"),
    ],
)
def test_content_under_the_name_of_another_format_is_a_mismatch(content, name):
    with pytest.raises(RefusedFile) as refused:
        sniffed(content, name)
    assert (refused.value.code, refused.value.status) == ("extension_mismatch", 400)


@pytest.mark.parametrize(
    "content",
    [
        PNG,
        zipped(),
        pickle.dumps({"open": [1.0, 2.0]}),
        b"\x89HDF\r\n\x1a\n" + bytes(20),
        gzip.compress(PNG),
        b"FEA1" + bytes(20),
        gzip.compress(JSON),
        b'{"a": 1}',
        b"<html></html>",
        b"%PDF-1.7\n",
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.zip", "a"])
def test_other_content_is_unsupported_and_the_accepted_types_are_listed(content, name):
    with pytest.raises(RefusedFile, match=r"Parquet.*Feather.*JSON") as refused:
        sniffed(content, name)
    assert (refused.value.code, refused.value.status) == ("unsupported_type", 415)


def test_empty_file_is_refused():
    with pytest.raises(RefusedFile) as refused:
        sniffed(b"", "a.csv")
    assert (refused.value.code, refused.value.status) == ("empty_file", 400)


def test_file_above_the_limit_is_refused_by_its_size_alone():
    assert sniffed(CSV, "a.csv", size=MAX_BYTES) is SourceFormat.TEXT
    with pytest.raises(RefusedFile) as refused:
        sniffed(CSV, "a.csv", size=MAX_BYTES + 1)
    assert (refused.value.code, refused.value.status) == ("too_large", 413)


def test_shown_name_has_no_control_or_bidirectional_characters():
    assert display_name("a\u202egpj.csv\x00\n") == "agpj.csv"
    assert len(display_name("x" * 500)) == 200


def test_the_check_of_an_upload_loads_no_heavy_package():
    code = (
        "import sys, markets.sources.formats; "
        "print([m for m in ('pandas','numpy','pyarrow','torch','django') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_reading_and_validating_loads_no_pandas():
    code = (
        "import sys, markets.sources.reading, markets.candles.validation, "
        "markets.candles.synthetic, markets.candles.aggregate; "
        "print([m for m in ('pandas','torch','django','scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_json_in_another_encoding_is_named_so():
    with pytest.raises(RefusedFile, match="UTF-16, expected UTF-8") as refused:
        sniffed(JSON.decode().encode("utf-16"), "a.json")
    assert (refused.value.code, refused.value.status) == ("not_utf8", 400)
