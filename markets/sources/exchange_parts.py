"""Pages on disk while a download is under way, so that another attempt goes on after the last one."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from markets.sources.exchange_pages import Page, PageRange, Rows

PATTERN = "*.npy"
DIGEST_CHARACTERS = 16


class PartFolder:
    """The part files of one download, named by number, range, new bars and checksum.

    Opening it deletes the first part that is damaged or does not follow on its predecessor, and all
    after it, so that these pages are asked for again: `lost` tells how many. `bars` and `bytes` are
    the new bars and the file sizes of the parts there are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: list[Path] = []
        self.bars = self.bytes = 0
        found = sorted(folder.glob(PATTERN))
        for path in found:
            if not self._follows(path):
                break
            self._count(path)
        for path in found[len(self._paths) :]:
            path.unlink()
        self.lost = len(found) - len(self._paths)

    def add(self, page: Page) -> None:
        """Write a page so that it is there wholly or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = page.range
        content = io.BytesIO()
        np.save(content, page.rows, allow_pickle=False)
        stem = f"{len(self._paths):06d}-{at.since_ms}-{at.next_ms}-{at.new_bars}"
        path = self.folder / f"{stem}-{_digest(content.getvalue())}.npy"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._count(path)

    def ranges(self) -> Sequence[PageRange]:
        """The ranges of the pages there are, in the order they came."""
        return [_range(path) for path in self._paths]

    def rows(self) -> Sequence[Rows]:
        """The rows of each page, in the order they came."""
        return [np.load(path, allow_pickle=False) for path in self._paths]

    def remove(self) -> None:
        """Delete the folder; it may be gone already."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _count(self, path: Path) -> None:
        self._paths.append(path)
        self.bars += _range(path).new_bars
        self.bytes += path.stat().st_size

    def _follows(self, path: Path) -> bool:
        number, *_, digest = path.stem.split("-")
        if int(number) != len(self._paths) or digest != _digest(path.read_bytes()):
            return False
        return not self._paths or _range(path).since_ms == _range(self._paths[-1]).next_ms


def _range(path: Path) -> PageRange:
    return PageRange(*map(int, path.stem.split("-")[1:4]))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]
