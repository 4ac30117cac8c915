import os

import numpy as np
import pytest

from markets.features import cache as feature_cache
from markets.features import compute, eviction
from markets.features.cache import INDEX, cache_key
from markets.features.compute import compute_features
from markets.features.eviction import entries_of, evict
from tests.markets.features.market import quiet_market

NAMES = ("rv_48", "ret_1")
NOW = 2_000_000_000.0
LARGE = 10**9


def entry(cache, sha256, *, used_s_ago):
    """An entry of the cache that was used so long ago."""
    table = compute_features(quiet_market(400), NAMES, (1,), cache=cache, data_sha256=sha256)
    folder = cache / cache_key(sha256, NAMES, 1)
    os.utime(folder / INDEX, (NOW - used_s_ago, NOW - used_s_ago))
    return folder, table


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_least_recently_used_entries_go_first(tmp_path):
    oldest, _ = entry(tmp_path, "a", used_s_ago=9000)
    older, _ = entry(tmp_path, "b", used_s_ago=8000)
    newest, _ = entry(tmp_path, "c", used_s_ago=7000)
    assert evict(tmp_path, max_bytes=size_of(newest), now=NOW) == 2
    assert [path.exists() for path in (oldest, older, newest)] == [False, False, True]


def test_a_cache_below_its_limit_keeps_everything(tmp_path):
    folder, _ = entry(tmp_path, "a", used_s_ago=9000)
    assert evict(tmp_path, max_bytes=size_of(folder), now=NOW) == 0
    assert evict(tmp_path / "absent", max_bytes=0, now=NOW) == 0


def test_reading_an_entry_makes_it_the_last_to_go(tmp_path):
    read, _ = entry(tmp_path, "a", used_s_ago=9000)
    feature_cache.load_scale(read)
    (used,) = [found.used_at for found in entries_of(tmp_path)]
    assert used != pytest.approx(NOW - 9000)


def test_an_entry_that_was_used_just_now_stays_whatever_its_size(tmp_path):
    entry(tmp_path, "a", used_s_ago=60)
    assert evict(tmp_path, max_bytes=0, now=NOW) == 0


def test_entries_of_another_code_version_go_below_the_limit_too(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "CODE_VERSION", eviction.CODE_VERSION + 1)
    other, _ = entry(tmp_path, "a", used_s_ago=9000)
    monkeypatch.undo()
    own, _ = entry(tmp_path, "b", used_s_ago=9500)
    assert evict(tmp_path, max_bytes=LARGE, now=NOW) == 1
    assert (other.exists(), own.exists()) == (False, True)


def test_who_has_an_entry_open_keeps_reading_it(tmp_path):
    folder, table = entry(tmp_path, "a", used_s_ago=9000)
    evict(tmp_path, max_bytes=0, now=NOW)
    assert not folder.exists()
    expected = compute_features(quiet_market(400), NAMES, (1,)).base.values
    np.testing.assert_array_equal(table.base.values, expected)


def test_an_evicted_entry_is_computed_again(tmp_path):
    folder, _ = entry(tmp_path, "a", used_s_ago=9000)
    evict(tmp_path, max_bytes=0, now=NOW)
    entry(tmp_path, "a", used_s_ago=0)
    assert folder.exists()


def test_an_entry_evicted_as_soon_as_it_was_written_is_no_loss(tmp_path, monkeypatch):
    def store_and_evict(scale, folder):
        feature_cache.store_scale(scale, folder)
        evict(tmp_path, max_bytes=0, now=NOW * 2)

    monkeypatch.setattr(compute, "store_scale", store_and_evict)
    table = compute_features(quiet_market(400), NAMES, (1,), cache=tmp_path)
    assert table.base.values.shape == (2, 400)
    assert entries_of(tmp_path) == []


def test_drafts_that_nobody_finished_are_deleted_after_a_day(tmp_path):
    for name, age in ((".draft-old", 100_000), (".draft-new", 100)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (NOW - age, NOW - age))
    assert evict(tmp_path, max_bytes=LARGE, now=NOW) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".draft-new"]
