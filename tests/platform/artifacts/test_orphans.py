from __future__ import annotations

import os
import time

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage

from artifacts.orphans import delete_orphans
from artifacts.store import scratch_folder, store_file
from tests.factories import make_workspace

pytestmark = pytest.mark.django_db
HOUR_S = 3600
SHA = "ab" * 32


@pytest.fixture
def folder(settings, tmp_path):
    """An empty local storage of its own."""
    backend = "artifacts.storage.AtomicFileSystemStorage"
    options = {"location": tmp_path / "files"}
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": backend, "OPTIONS": options},
    }
    settings.STATE = tmp_path
    return tmp_path / "files"


def leave(folder, key, *, hours):
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left")
    age(path, hours)


def age(path, hours):
    at = time.time() - hours * HOUR_S
    os.utime(path, (at, at))


def test_old_files_without_a_row_are_deleted_finished_or_not(folder):
    leave(folder, f"7/ab/{SHA}", hours=25)
    leave(folder, f"7/ab/{SHA}.parquet", hours=25)
    leave(folder, f"7/ab/.{SHA}.parquet.0123.tmp", hours=25)

    assert delete_orphans(older_than_s=24 * HOUR_S) == 3
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_young_files_and_files_that_are_not_ours_are_kept(folder):
    leave(folder, f"7/ab/{SHA}", hours=23)
    leave(folder, "notes/of/somebody.txt", hours=99)

    assert delete_orphans(older_than_s=24 * HOUR_S) == 0
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 2


def test_a_file_with_a_row_is_kept_however_old(folder):
    with scratch_folder() as scratch:
        path = scratch / "made"
        path.write_bytes(b"content")
        stored = store_file(path, workspace_id=make_workspace().pk, name="upload", media_type="x/y")
    age(folder / stored.key, 999)

    assert delete_orphans(older_than_s=24 * HOUR_S) == 0
    assert default_storage.exists(stored.key)


def test_an_empty_storage_has_no_orphans(folder):
    assert delete_orphans(older_than_s=0) == 0


def test_a_remote_storage_is_left_alone(folder, settings, monkeypatch):
    default_storage.save(f"7/ab/{SHA}", ContentFile(b"theirs"))
    monkeypatch.setattr(type(default_storage._wrapped), "path", Storage.path)

    assert delete_orphans(older_than_s=-1) == 0
