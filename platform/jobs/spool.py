"""Rows that wait to be written: in memory first, on disk when the database stays away."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MEMORY_BYTES = 1024 * 1024
MAX_BYTES = 50 * 1024 * 1024

Row = Mapping[str, Any]  # Any: JSON values
Writer = Callable[[Sequence[Row]], None]


class SpoolFull(Exception):
    """More rows wait than may: the database has been away for too long."""


class Spool:
    """Keeps JSON rows per writer, in order, until a write has succeeded."""

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._writers: dict[str, Writer] = {}
        self._file = _new_file()
        self._size = 0

    def __len__(self) -> int:
        """Bytes that wait."""
        return self._size

    def add(self, writer: Writer, row: Row) -> None:
        """Keep a row for a writer, a module-level function. SpoolFull beyond `max_bytes`."""
        name = f"{writer.__module__}.{writer.__qualname__}"
        line = json.dumps([name, row]).encode() + b"\n"
        with self._lock:
            if self._size + len(line) > self.max_bytes:
                raise SpoolFull(f"{self._size} bytes wait, the limit is {self.max_bytes}")
            self._writers[name] = writer
            self._file.write(line)
            self._size += len(line)

    def waiting(self) -> tuple[list[tuple[Writer, list[Row]]], int]:
        """The waiting rows by writer, and the number of bytes to forget once they are committed."""
        with self._lock:
            size = self._size
            self._file.seek(0)
            lines = self._file.read(size).splitlines()
            self._file.seek(0, os.SEEK_END)
        return self._grouped(lines), size

    def forget(self, size: int) -> None:
        """Drop the oldest `size` bytes: their rows are written for good."""
        with self._lock:
            self._file.seek(size)
            rest = self._file.read()
            self._file.close()
            self._file = _new_file()
            self._file.write(rest)
            self._size = len(rest)

    def _grouped(self, lines: Sequence[bytes]) -> list[tuple[Writer, list[Row]]]:
        groups: dict[str, list[Row]] = {}
        for line in lines:
            name, row = json.loads(line)
            groups.setdefault(name, []).append(row)
        return [(self._writers[name], rows) for name, rows in groups.items()]


def _new_file() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)
