"""Keeping the folder of computed features within a size."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from markets.features.cache import INDEX
from markets.features.registry import CODE_VERSION

IN_USE_S = 600
LEFTOVER_S = 24 * 3600


@dataclass(frozen=True)
class Entry:
    """One entry on disk: its size, when it was read or written last, and the code it is from."""

    folder: Path
    size: int
    used_at: float
    code_version: int | None


def evict(cache: Path, *, max_bytes: int, now: float) -> int:
    """Delete entries of other code versions, then the least recently used above `max_bytes`.

    `now` is in seconds since 1970 by the clock of the files. Entries used in the ten minutes before
    stay, or a table larger than the limit would be deleted before anyone has read it. Drafts that
    nobody finished within a day go too. Who has an entry open keeps its memory maps; who comes too
    late computes it again. Returns how many folders were deleted; a missing folder is an empty one.
    """
    if not cache.is_dir():
        return 0
    entries = entries_of(cache)
    idle = [entry for entry in entries if now - entry.used_at > IN_USE_S]
    kept = sum(entry.size for entry in entries)
    deleted = _delete_leftovers(cache, now)
    for entry in sorted(
        idle, key=lambda entry: (entry.code_version == CODE_VERSION, entry.used_at)
    ):
        if entry.code_version == CODE_VERSION and kept <= max_bytes:
            break
        deleted += _delete(entry.folder)
        kept -= entry.size
    return deleted


def entries_of(cache: Path) -> list[Entry]:
    """All finished entries of the folder; what vanishes meanwhile is left out."""
    found = []
    for folder in cache.iterdir():
        if folder.name.startswith("."):
            continue
        try:
            index = folder / INDEX
            size = sum(path.stat().st_size for path in folder.iterdir())
            found.append(Entry(folder, size, index.stat().st_mtime, _code_version(index)))
        except OSError:
            continue
    return found


def _code_version(index: Path) -> int | None:
    try:
        version = json.loads(index.read_text())["code_version"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) else None


def _delete(folder: Path) -> int:
    """Out of the way by one rename, so that no reader finds half an entry."""
    grave = Path(tempfile.mkdtemp(prefix=".evicted-", dir=folder.parent))
    try:
        folder.rename(grave / folder.name)
    except OSError:  # another process was faster
        return 0
    finally:
        shutil.rmtree(grave, ignore_errors=True)
    return 1


def _delete_leftovers(cache: Path, now: float) -> int:
    deleted = 0
    for folder in cache.glob(".*"):
        try:
            is_old = now - folder.stat().st_mtime > LEFTOVER_S
        except OSError:
            continue
        if is_old:
            shutil.rmtree(folder, ignore_errors=True)
            deleted += 1
    return deleted
