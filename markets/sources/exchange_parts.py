"""Pages on disk while a download is under way, so that another attempt goes on after the last one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from markets.sources.exchange_pages import Page, PageRange, Rows

PATTERN = "*.npy"


class PartFolder:
    """The part files of one download, one for each page, named by number, range and new bars."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, page: Page) -> None:
        """Write a page so that it is there wholly or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = page.range
        name = f"{len(self._paths()):06d}-{at.since_ms}-{at.next_ms}-{at.new_bars}"
        temporary = self.folder / f"{name}.tmp"
        with temporary.open("wb") as file:
            np.save(file, page.rows, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / f"{name}.npy")

    def ranges(self) -> Sequence[PageRange]:
        """The ranges of the pages there are, in the order they came."""
        return [PageRange(*map(int, path.stem.split("-")[1:])) for path in self._paths()]

    def rows(self) -> Sequence[Rows]:
        """The rows of each page, in the order they came."""
        return [np.load(path, allow_pickle=False) for path in self._paths()]

    @property
    def bars(self) -> int:
        """How many bars have been received."""
        return sum(part.new_bars for part in self.ranges())

    @property
    def bytes(self) -> int:
        """The size of all part files."""
        return sum(path.stat().st_size for path in self._paths())

    def remove(self) -> None:
        """Delete the folder; it may be gone already."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(PATTERN))
