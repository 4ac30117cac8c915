from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage
from django.db import transaction

from artifacts import store
from artifacts.models import StoredFile
from artifacts.storage import AtomicFileSystemStorage
from artifacts.store import (
    FileChanged,
    QuotaExceeded,
    delete_file,
    local_path,
    scratch_folder,
    store_file,
    stored_bytes,
    verified_path,
)
from tests.factories import make_workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def files(settings, tmp_path):
    """An empty local storage of its own, and the folder it keeps its files in."""
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "artifacts.storage.AtomicFileSystemStorage",
            "OPTIONS": {"location": tmp_path / "files"},
        },
    }
    settings.STATE = tmp_path
    return tmp_path / "files"


@pytest.fixture
def workspace():
    return make_workspace()


def put(workspace, content: bytes, name: str = "candles.parquet") -> StoredFile:
    with scratch_folder() as folder:
        path = folder / "made"
        path.write_bytes(content)
        return store_file(path, workspace_id=workspace.pk, name=name, media_type="x/y")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_stored_file_has_its_checksum_as_name(files, workspace):
    stored = put(workspace, b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    assert (stored.sha256, stored.size) == (digest, 7)
    assert names(files) == [f"{digest}.parquet"]
    assert verified_path(stored).read_bytes() == b"content"


def test_name_of_a_person_never_becomes_a_path(files, workspace):
    stored = put(workspace, b"content", name="../../../etc/passwd")
    assert files in local_path(stored).parents
    assert "passwd" not in stored.key


def test_equal_content_is_kept_once_until_its_last_row_goes(
    files, workspace, django_capture_on_commit_callbacks
):
    first, second = put(workspace, b"content"), put(workspace, b"content")
    assert len(names(files)) == 1
    with django_capture_on_commit_callbacks(execute=True):
        delete_file(first)
    assert verified_path(second).exists()
    with django_capture_on_commit_callbacks(execute=True):
        delete_file(second)
    assert names(files) == []


def test_file_goes_only_after_the_commit(files, workspace, django_capture_on_commit_callbacks):
    stored = put(workspace, b"content")
    with django_capture_on_commit_callbacks() as callbacks:
        delete_file(stored)
        assert len(names(files)) == 1
    assert len(callbacks) == 1


def test_rolled_back_deletion_keeps_row_and_file(files, workspace):
    stored = put(workspace, b"content")
    with pytest.raises(RuntimeError), transaction.atomic():
        delete_file(stored)
        raise RuntimeError
    assert verified_path(StoredFile.objects.get()).exists()


@pytest.mark.parametrize("change", ["flip", "cut", "gone"])
def test_changed_file_is_noticed(files, workspace, change):
    stored = put(workspace, b"content")
    path = local_path(stored)
    if change == "flip":
        path.write_bytes(b"Content")
    elif change == "cut":
        path.write_bytes(b"cont")
    else:
        path.unlink()
    with pytest.raises(FileChanged):
        verified_path(stored)


def test_full_quota_is_refused_before_anything_is_copied(files, workspace, settings):
    settings.QUOTA_STORED_BYTES = 10
    put(workspace, b"1234567")
    with pytest.raises(QuotaExceeded, match="Delete"):
        put(workspace, b"7654321")
    assert len(names(files)) == 1
    assert stored_bytes(workspace.pk) == 7
    assert put(make_workspace(), b"7654321").size == 7


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_end_before_the_rename_leaves_nothing_visible(files, workspace, monkeypatch, moment):
    def die(*arguments: object) -> None:
        raise Killed

    target = "artifacts.storage.os.fsync" if moment == "write" else "artifacts.storage.Path.replace"
    with monkeypatch.context() as patch:
        patch.setattr(target, die)
        with pytest.raises(Killed):
            put(workspace, b"content")
    assert names(files) == []
    assert not StoredFile.objects.exists()
    assert verified_path(put(workspace, b"content")).exists()


def test_left_temporary_file_is_no_stored_file(files, workspace):
    stored = put(workspace, b"content")
    left = local_path(stored).with_name(f".{stored.sha256}.parquet.abc.tmp")
    left.write_bytes(b"con")
    assert verified_path(put(workspace, b"content")).read_bytes() == b"content"


def test_two_writers_of_one_name_leave_one_whole_file(tmp_path):
    storage = AtomicFileSystemStorage(location=tmp_path)
    for content in (b"first", b"second"):
        assert storage.save("a/b", ContentFile(content)) == "a/b"
    assert names(tmp_path) == ["b"]
    assert (tmp_path / "a" / "b").read_bytes() == b"second"


def test_scratch_folder_goes_with_an_error(files):
    with pytest.raises(RuntimeError), scratch_folder() as folder:
        (folder / "half").write_bytes(b"x")
        raise RuntimeError
    assert not folder.exists()


class Remote(Storage):
    """A storage without local paths, like S3; it counts how often a file is fetched."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.opened = 0

    def _open(self, name, mode="rb"):
        self.opened += 1
        if name not in self.kept:
            raise FileNotFoundError(name)
        return io.BytesIO(self.kept[name])

    def _save(self, name, content):
        self.kept[name] = content.read()
        return name

    def exists(self, name):
        return name in self.kept

    def size(self, name):
        return len(self.kept[name])

    def delete(self, name):
        self.kept.pop(name, None)


@pytest.fixture
def remote(files, monkeypatch):
    storage = Remote()
    monkeypatch.setattr(store, "default_storage", storage)
    return storage


def test_remote_file_is_fetched_once_and_read_from_the_cache(remote, workspace):
    stored = put(workspace, b"content")
    assert local_path(stored).read_bytes() == b"content"
    assert verified_path(stored) == local_path(stored)
    assert remote.opened == 1


def test_remote_file_that_changed_is_noticed(remote, workspace):
    stored = put(workspace, b"content")
    remote.kept[stored.key] = b"Content"
    with pytest.raises(FileChanged):
        verified_path(stored)
    missing = put(workspace, b"other")
    del remote.kept[missing.key]
    with pytest.raises(FileChanged):
        verified_path(missing)
    assert default_storage is not remote
