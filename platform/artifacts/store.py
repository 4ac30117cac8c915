"""Files in, files out: everything the product stores goes through here."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Sum

from artifacts.models import StoredFile
from artifacts.storage import fsync_folder

CHUNK = 1024 * 1024
QUOTA_STORED = "quota_stored"  # the code of every refusal for want of room


class FileChanged(Exception):
    """A stored file is gone or no longer has the checksum of its row."""


class QuotaExceeded(Exception):
    """The workspace would store more than it may."""


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def store_file(path: Path, *, workspace_id: int, name: str, media_type: str) -> StoredFile:
    """Store a finished file under its checksum and return its row. The source stays where it is.

    Raises QuotaExceeded before anything is copied.
    """
    size = path.stat().st_size
    require_room(workspace_id, size)
    sha256 = sha256_of(path)
    key = f"{workspace_id}/{sha256[:2]}/{sha256}{Path(name).suffix}"
    # Saved even where the name exists: its content may have been damaged since.
    with path.open("rb") as file:
        default_storage.save(key, File(file))
    return StoredFile.objects.create(
        workspace_id=workspace_id,
        name=name,
        key=key,
        sha256=sha256,
        size=size,
        media_type=media_type,
    )


def require_room(workspace_id: int, file_bytes: int = 0) -> None:
    """Raises QuotaExceeded where such a file, or anything at all, is more than may be stored."""
    used, limit = stored_bytes(workspace_id), settings.QUOTA_STORED_BYTES
    if used < limit and used + file_bytes <= limit:
        return
    this = f" and this file has {file_bytes / 2**30:.2f} GiB" if file_bytes else ""
    raise QuotaExceeded(
        f"The workspace stores {used / 2**30:.1f} GiB of {limit / 2**30:.0f} GiB{this}. "
        "Delete what is no longer used."
    )


def stored_bytes(workspace_id: int) -> int:
    rows = StoredFile.objects.filter(workspace_id=workspace_id)
    return rows.aggregate(total=Sum("size"))["total"] or 0


def verified_path(stored: StoredFile) -> Path:
    """A local path whose content has the checksum of the row. Raises FileChanged otherwise."""
    try:
        path = local_path(stored)
        found = sha256_of(path)
    except FileNotFoundError:
        raise FileChanged(f"{stored.name} is gone from the storage") from None
    if found != stored.sha256:
        raise FileChanged(f"{stored.name} has checksum {found[:12]}, expected {stored.sha256[:12]}")
    return path


def local_path(stored: StoredFile) -> Path:
    """A local path of the file; a remote storage's file is fetched into the cache once."""
    try:
        return Path(default_storage.path(stored.key))
    except NotImplementedError:
        cached = settings.STATE / "cache" / "files" / stored.sha256
        if not cached.exists():
            _fetch(stored, cached)
        return cached


def delete_file(stored: StoredFile) -> None:
    """Delete the row; the file goes after the commit, when no other row names it."""
    key = stored.key
    stored.delete()
    transaction.on_commit(lambda: _remove_unnamed(key))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for unfinished files, removed afterwards."""
    parent = settings.STATE / "scratch"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unnamed(key: str) -> None:
    if not StoredFile.objects.filter(key=key).exists():
        default_storage.delete(key)


def _fetch(stored: StoredFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    with default_storage.open(stored.key) as source, temporary.open("xb") as file:
        shutil.copyfileobj(source, file, CHUNK)
    temporary.replace(target)
    fsync_folder(target.parent)
