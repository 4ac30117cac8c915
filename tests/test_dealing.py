from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.conftest import pytest_make_parametrize_id
from tests.dealing import ON_THE_MACHINE, WholeFiles, file_of, put_long_files_first


def shares_the_machine(item: pytest.Function) -> bool:
    """By name, or by a page that is not of this process: the fixture `address` asks for it then."""
    known = item._fixtureinfo.name2fixturedefs
    if "browser" not in item.keywords or "live_server" in known:
        return False
    found = known.get("machine")
    return "address" in known if found is None else found[-1].scope == "session"


def test_files_that_share_the_machine_are_known(request):
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    assert {file_of(item) for item in tests if shares_the_machine(item)} <= ON_THE_MACHINE


@pytest.mark.parametrize(
    ("fixtures", "shares"),
    [
        ({"machine": "session", "address": "function"}, True),
        ({"address": "function"}, True),
        ({"machine": "module", "address": "function"}, False),
        ({"live_server": "session", "address": "function"}, False),
        ({}, False),
    ],
)
def test_a_page_alone_is_one_of_the_machine(fixtures, shares):
    known = {name: [SimpleNamespace(scope=scope)] for name, scope in fixtures.items()}
    info = SimpleNamespace(name2fixturedefs=known)
    assert shares_the_machine(SimpleNamespace(keywords={"browser"}, _fixtureinfo=info)) is shares


def test_files_are_dealt_whole_and_those_of_the_machine_together():
    def scope_of(nodeid: str) -> str:
        return WholeFiles._split_scope(object.__new__(WholeFiles), nodeid)

    assert scope_of("tests/a.py::test_b[c::d]") == scope_of("tests/a.py::test_e") == "tests/a.py"
    assert {scope_of(f"{file}::test_a") for file in ON_THE_MACHINE} == {"machine"}


class Item:
    """As much of a test as decides about its place."""

    def __init__(self, nodeid: str, *marks: str) -> None:
        self.nodeid, self.marks = nodeid, marks
        self.path = nodeid.split("::")[0]

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


def test_long_files_come_first_and_the_others_keep_their_shuffled_order():
    names = ["b::1", "a::1", "c::1", "c::2", "d::1", f"{min(ON_THE_MACHINE)}::1"]
    marked = {"c::2": ["slow"], "d::1": ["browser"]}
    items = [Item(name, *marked.get(name, [])) for name in names]
    put_long_files_first(items)
    assert [item.nodeid for item in items] == [names[5], "c::1", "c::2", "d::1", "b::1", "a::1"]


def test_ids_of_two_workers_are_equal_whenever_bytes_were_packed():
    assert pytest_make_parametrize_id(b"\x1f\x8b", "content") == "content"
    assert pytest_make_parametrize_id("text", "content") is None
