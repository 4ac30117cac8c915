"""Computed features on disk, found by what they were computed from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from markets.features.registry import CODE_VERSION
from markets.features.table import ScaleFeatures

ARRAYS = ("values", "open_time", "close_time", "gap_before", "last_closed")
INDEX = "index.json"


class DamagedCache(Exception):
    """A cache entry whose files are missing, unreadable or changed."""


def cache_key(data_sha256: str, names: tuple[str, ...], factor: int) -> str:
    """Name of a cache entry: equal candles, features, scale and feature code give the same name."""
    parts = json.dumps([data_sha256, list(names), factor, CODE_VERSION])
    return hashlib.sha256(parts.encode()).hexdigest()


def load_scale(folder: Path, *, verified: bool = True) -> ScaleFeatures:
    """Read one entry as memory maps, and note that it was used.

    Raises DamagedCache unless every file is as it was written; without `verified` their content is
    not looked at, which is enough for a look at some values.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
        with suppress(OSError):  # another process may have evicted it just now
            os.utime(folder / INDEX)
        arrays = {}
        for name in ARRAYS:
            path = folder / f"{name}.npy"
            if verified and _file_sha256(path) != index["sha256"][name]:
                raise DamagedCache(f"{path.name} has changed since it was written")
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        return ScaleFeatures(factor=int(index["factor"]), **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCache(str(error)) from error


def store_scale(scale: ScaleFeatures, folder: Path) -> None:
    """Write one entry beside its place, bring it to the disk, then rename it into place.

    A damaged entry in that place is replaced. When another process was faster its entry stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _move_damaged_away(folder)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        _write_arrays(scale, draft)
        draft.rename(folder)
        _sync(folder.parent)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_arrays(scale: ScaleFeatures, draft: Path) -> None:
    checksums = {}
    for field in dataclasses.fields(scale):
        if field.name not in ARRAYS:
            continue
        path = draft / f"{field.name}.npy"
        np.save(path, np.ascontiguousarray(getattr(scale, field.name)), allow_pickle=False)
        _sync(path)
        checksums[field.name] = _file_sha256(path)
    index = draft / INDEX
    facts = {"factor": scale.factor, "code_version": CODE_VERSION, "sha256": checksums}
    index.write_text(json.dumps(facts))
    _sync(index)
    _sync(draft)


def _move_damaged_away(folder: Path) -> None:
    if not folder.exists():
        return
    try:
        load_scale(folder)
    except DamagedCache:
        grave = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        folder.rename(grave / folder.name)
        shutil.rmtree(grave, ignore_errors=True)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
