"""Files that are either whole or absent."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: Path, content: bytes) -> str:
    """Write `content` under a temporary name, flush it to the disk and rename it; return its sha256.

    The temporary name is used by nobody else, not even by a process that died or that goes on
    although another took its place. Raises OSError when the disk is full; then neither the file nor
    a temporary one is left.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return hashlib.sha256(content).hexdigest()
