"""How the workers of a whole run share the tests: by files, the long ones first."""

from __future__ import annotations

import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

# They drive the machine of tests/browser/conftest.py: on one worker it is started once.
ON_THE_MACHINE = {
    f"tests/browser/test_{name}.py"
    for name in ("main_path", "imports", "bad_input", "lost_connection")
}
LONG = ("slow", "browser")


class WholeFiles(LoadFileScheduling):
    """Deals out files, whose tests share fixtures; files that share the machine go together."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "machine" if file in ON_THE_MACHINE else file


def put_long_files_first(items: list[pytest.Item]) -> None:
    """So no long one is left over at the end; otherwise the order stays as it was shuffled."""
    long = {item.path for item in items if any(map(item.get_closest_marker, LONG))}
    items.sort(key=lambda item: (file_of(item) not in ON_THE_MACHINE, item.path not in long))


def file_of(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]
