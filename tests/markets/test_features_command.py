"""`manage.py features`: the list, and the values on a candle file without a database."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command

from markets.candles.frame import write_candles
from markets.candles.synthetic import synthetic_candles
from markets.features.compute import compute_features
from markets.features.registry import FEATURES


@pytest.fixture
def candles():
    return synthetic_candles(days=30, timeframe_minutes=60)


@pytest.fixture
def file(candles, tmp_path):
    path = tmp_path / "candles.parquet"
    write_candles(path, candles)
    return path


def run(capsys, *arguments):
    call_command("features", *map(str, arguments))
    return capsys.readouterr().out


def test_all_67_are_listed(capsys):
    assert len(run(capsys).splitlines()) == 67
    found = json.loads(run(capsys, "--json"))
    assert [row["name"] for row in found["features"]] == list(FEATURES)


def test_a_candle_file_becomes_a_file_of_all_features(capsys, file, candles, tmp_path):
    out = tmp_path / "features.parquet"
    found = json.loads(run(capsys, "--data", file, "--out", out, "--json"))
    table = pq.read_table(out)
    assert (found["rows"], table.num_rows) == (720, 720)
    assert table.column_names == ["timestamp", *FEATURES]
    expected = compute_features(candles, ("ret_1",), (1,)).base.values[0]
    np.testing.assert_array_equal(table["ret_1"].to_numpy(), expected)
    assert str(table.schema.field("timestamp").type) == "timestamp[ns, tz=UTC]"


def test_a_scale_and_names_can_be_chosen(capsys, file, tmp_path):
    out = tmp_path / "features.parquet"
    run(capsys, "--data", file, "--out", out, "--scale", 12, "--names", "ret_1,clv")
    table = pq.read_table(out)
    assert table.column_names == ["timestamp", "ret_1", "clv"]
    assert table.num_rows == 60


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--data", "absent.csv", "--out", "x.parquet"], "cannot be read"),
        (["--data", "absent.csv"], "go together"),
        (["--data", "absent.csv", "--out", "x.csv"], "expected a name in .parquet"),
        (["--names", "rsi14"], 'did you mean "rsi_14"?'),
    ],
)
def test_bad_input_is_one_line(arguments, text):
    with pytest.raises(CommandError, match=r"(?s)^[^\n]+$") as caught:
        call_command("features", *arguments)
    assert text in str(caught.value)


def test_a_scale_that_does_not_divide_a_day_is_refused(file, tmp_path):
    with pytest.raises(CommandError, match="must divide a UTC day"):
        call_command("features", f"--data={file}", f"--out={tmp_path / 'x.parquet'}", "--scale=5")


def test_a_broken_file_names_its_code(tmp_path):
    path = tmp_path / "candles.csv"
    path.write_text("timestamp,open\n1,2\n")
    with pytest.raises(CommandError, match=r"^[a-z_]+: "):
        call_command("features", f"--data={path}", f"--out={tmp_path / 'x.parquet'}")
