import numpy as np
import pytest

from markets.features import cache as feature_cache
from markets.features import compute
from markets.features.compute import compute_features
from tests.markets.features.market import quiet_market

NAMES = ("rv_48", "ret_1")


@pytest.fixture
def counted(monkeypatch):
    calls = []
    plain = compute.compute_scale

    def counting(candles, names, factor):
        calls.append(factor)
        return plain(candles, names, factor)

    monkeypatch.setattr(compute, "compute_scale", counting)
    return calls


def assert_same(table, other):
    for k in table.scales:
        for name in feature_cache.ARRAYS:
            np.testing.assert_array_equal(
                getattr(table.scales[k], name), getattr(other.scales[k], name)
            )


def test_a_second_call_reads_what_the_first_wrote(tmp_path, counted):
    candles = quiet_market(800)
    first = compute_features(candles, NAMES, (1, 3), cache=tmp_path)
    second = compute_features(candles, NAMES, (1, 3), cache=tmp_path)
    assert counted == [1, 3]
    assert_same(second, first)
    assert_same(second, compute_features(candles, NAMES, (1, 3)))


def test_other_candles_names_or_code_are_another_entry(tmp_path, counted, monkeypatch):
    candles = quiet_market(800)
    compute_features(candles, NAMES, (1,), cache=tmp_path)
    compute_features(candles.slice(0, 700), NAMES, (1,), cache=tmp_path)
    compute_features(candles, NAMES[:1], (1,), cache=tmp_path)
    monkeypatch.setattr(feature_cache, "CODE_VERSION", feature_cache.CODE_VERSION + 1)
    compute_features(candles, NAMES, (1,), cache=tmp_path)
    assert len(counted) == 4


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "no_index"])
def test_a_damaged_entry_is_computed_again_and_replaced(tmp_path, counted, damage):
    candles = quiet_market(800)
    fresh = compute_features(candles, NAMES, (1,), cache=tmp_path)
    expected = compute_features(candles, NAMES, (1,))
    del fresh
    (entry,) = tmp_path.iterdir()
    values = entry / "values.npy"
    if damage == "flip":
        content = bytearray(values.read_bytes())
        content[-1] ^= 1
        values.write_bytes(content)
    elif damage == "cut":
        values.write_bytes(values.read_bytes()[:100])
    elif damage == "remove":
        values.unlink()
    else:
        (entry / "index.json").write_text("{")
    assert_same(compute_features(candles, NAMES, (1,), cache=tmp_path), expected)
    assert_same(compute_features(candles, NAMES, (1,), cache=tmp_path), expected)
    assert counted == [1, 1, 1]


def test_nothing_but_finished_entries_is_left(tmp_path):
    compute_features(quiet_market(800), NAMES, (1, 3), cache=tmp_path)
    assert len([path for path in tmp_path.iterdir() if not path.name.startswith(".")]) == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
