"""What is deleted once it is old. Other apps add their own: jobs know no apps."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import Error

from artifacts.orphans import delete_orphans

logger = logging.getLogger(__name__)
KEPT_S = 24 * 3600

Cleaner = Callable[[], int]
_cleaners: list[Cleaner] = []


def register_cleaner(cleaner: Cleaner) -> None:
    """Run `cleaner` in every cleaning; it returns how many things it deleted. Call it in `ready()`."""
    if cleaner not in _cleaners:
        _cleaners.append(cleaner)


def clean() -> int:
    """Delete old scratch folders, what the apps registered, and old files that no row names."""
    # In this order: a cleaner's rows go first, and their files may be orphans afterwards.
    return sum(_cleaned(cleaner) for cleaner in (delete_old_scratch, *_cleaners, _old_orphans))


def _cleaned(cleaner: Cleaner) -> int:
    try:
        return cleaner()
    except Error:
        raise
    except Exception:
        # One file that cannot be deleted must not keep all others.
        logger.exception("cleaning")
        return 0


def delete_old_scratch() -> int:
    folder = Path(settings.STATE) / "scratch"
    if not folder.is_dir():
        return 0
    before = time.time() - KEPT_S  # files carry the clock of this machine
    deleted = 0
    for path in folder.iterdir():
        if path.lstat().st_mtime < before:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(True)
            deleted += 1
    return deleted


def _old_orphans() -> int:
    return delete_orphans(older_than_s=KEPT_S)
