"""How the workers of a whole run share the tests: by files, the long ones first."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

# They drive the machine of tests/browser/conftest.py: on one worker it is started once.
ON_THE_MACHINE = {f"tests/browser/test_{name}.py" for name in ("main_path", "imports", "bad_input")}


class WholeFiles(LoadFileScheduling):
    """Deals out files, whose tests share fixtures; files that share the machine go together."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "machine" if file in ON_THE_MACHINE else file


def put_long_files_first(items: list[pytest.Item]) -> None:
    """So no long one is left over at the end; otherwise the order stays as it was shuffled."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: _rank(item, slow))


def _rank(item: pytest.Item, slow: set[Path]) -> int:
    if file_of(item) in ON_THE_MACHINE:
        return 0
    return 1 if item.path in slow else 2 if item.get_closest_marker("browser") else 3


def file_of(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]
