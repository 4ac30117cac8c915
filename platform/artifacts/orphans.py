"""Files of the storage that no row names: what a process left that was killed between file and row."""

from __future__ import annotations

import re
import time
from pathlib import Path

from django.core.files.storage import default_storage

from artifacts.models import StoredFile

# As `store_file` names them, and as the storage names what it has not finished.
KEY = re.compile(r"\d+/[0-9a-f]{2}/\.?[0-9a-f]{64}[^/]*")
BATCH = 500


def delete_orphans(*, older_than_s: float) -> int:
    """Delete old files without a row. A remote storage is left alone: it may serve other machines."""
    try:
        root = Path(default_storage.path(""))
    except NotImplementedError:
        return 0
    before = time.time() - older_than_s
    keys = [path.relative_to(root).as_posix() for path in root.glob("*/*/*")]
    old = [key for key in keys if KEY.fullmatch(key) and _is_older(root / key, before)]
    batches = (old[at : at + BATCH] for at in range(0, len(old), BATCH))
    return sum(_delete_unnamed(root, batch, before) for batch in batches)


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.lstat().st_mtime < before
    except FileNotFoundError:
        return False


def _delete_unnamed(root: Path, keys: list[str], before: float) -> int:
    named = set(StoredFile.objects.filter(key__in=keys).values_list("key", flat=True))
    # Asked again: the same content may have been stored anew since the first look.
    orphans = [key for key in keys if key not in named and _is_older(root / key, before)]
    for key in orphans:
        (root / key).unlink(missing_ok=True)
    return len(orphans)
