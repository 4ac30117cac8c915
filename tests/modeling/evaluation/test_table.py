"""Prediction tables of one and of several instruments: file, checksum, rows of one."""

import numpy as np
import pytest

from modeling.evaluation.table import (
    COLUMNS,
    INSTRUMENT,
    instruments_in,
    joined,
    of_instrument,
    predictions_sha256,
    read_predictions,
    write_predictions,
)

ROWS = 5
BAR = 300_000_000_000


def table(seed):
    random = np.random.default_rng(seed)
    found = {name: random.random(ROWS) for name in COLUMNS}
    opens = BAR * np.arange(ROWS, dtype=np.int64)
    whole = {name: np.arange(ROWS) for name in ("fold", "seed", "realised_regime", "realised_risk")}
    return found | whole | {"open_at": opens, "known_at": opens + BAR}


def named(name, seed):
    return {INSTRUMENT: np.full(ROWS, name, dtype=object), **table(seed)}


@pytest.fixture
def pooled():
    return joined([named("BTC", 1), named("ETH", 2)])


def test_rows_of_one_instrument_come_before_those_of_the_next():
    blocks = [joined([named("BTC", k), named("ETH", k + 9)]) for k in (1, 2)]
    found = joined(blocks)
    assert found[INSTRUMENT].tolist() == ["BTC"] * 2 * ROWS + ["ETH"] * 2 * ROWS
    np.testing.assert_array_equal(of_instrument(found, "ETH")["action"][:ROWS], table(10)["action"])


def test_file_of_several_instruments_is_read_as_it_was_written(tmp_path, pooled):
    path = tmp_path / "pooled.parquet"
    write_predictions(path, pooled, "")
    found = read_predictions(path)
    assert instruments_in(found) == ("BTC", "ETH")
    for name in (INSTRUMENT, *COLUMNS):
        np.testing.assert_array_equal(found[name], pooled[name])


def test_file_of_one_instrument_has_a_name_and_its_table_none(tmp_path):
    path = tmp_path / "one.parquet"
    write_predictions(path, table(1), "BTC")
    found = read_predictions(path)
    assert instruments_in(found) == ()
    assert of_instrument(found, "BTC")["action"].tolist() == table(1)["action"].tolist()


def test_file_of_a_pool_with_rows_of_one_alone_keeps_its_name(tmp_path):
    path, rows = tmp_path / "left.parquet", named("ETH", 2)
    write_predictions(path, rows, "BTC")
    found = read_predictions(path)
    assert instruments_in(found) == ("ETH",)
    assert not len(of_instrument(found, "BTC")["open_at"])
    assert predictions_sha256(found) == predictions_sha256(rows)


def test_checksum_of_several_depends_on_names_and_order_and_that_of_one_does_not(pooled):
    assert predictions_sha256(table(1)) == predictions_sha256(of_instrument(pooled, "BTC"))
    renamed = {**pooled, INSTRUMENT: np.where(pooled[INSTRUMENT] == "BTC", "SOL", "ETH")}
    swapped = joined([named("BTC", 2), named("ETH", 1)])
    digests = {predictions_sha256(each) for each in (pooled, renamed, swapped, table(1))}
    assert len(digests) == 4
