from __future__ import annotations

import os
import uuid
from pathlib import Path

from django.core.files import File
from django.core.files.storage import FileSystemStorage


def fsync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicFileSystemStorage(FileSystemStorage):
    """A local folder in which a name exists only when its file is complete and on disk."""

    def _save(self, name: str, content: File) -> str:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(target.parent)
        return name

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        # Names are checksums: an existing name is the same content.
        return name
