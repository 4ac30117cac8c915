import os
import stat
from pathlib import Path

import pytest

from embedded.errors import CannotStart
from embedded.ownership import (
    NOBODY,
    can_execute,
    closed_folder_above,
    make_server_folder,
    prepare_state_folder,
    server_uid,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand servers to uid 65534")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def test_servers_never_run_as_root():
    assert server_uid() == (NOBODY if os.geteuid() == 0 else os.geteuid())


def test_closed_folder_on_the_way_is_found(tmp_path):
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o600)

    found = closed_folder_above(inner / "file", NOBODY)
    inner.parent.chmod(0o700)

    assert found is not None
    assert found in (inner.parent, *inner.parent.parents)


def test_way_through_open_folders_is_open():
    assert closed_folder_above(Path("/usr/bin/env"), NOBODY) is None


def test_program_closed_to_others_cannot_be_executed_by_another_account(tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)

    assert can_execute(program, os.geteuid())
    assert not can_execute(program, os.geteuid() + 1)


def test_server_folder_belongs_to_the_servers_alone(tmp_path):
    make_server_folder(tmp_path / "run")
    make_server_folder(tmp_path / "run")

    entry = (tmp_path / "run").stat()
    assert stat.S_IMODE(entry.st_mode) == 0o700
    assert entry.st_uid == server_uid()


@as_root
def test_state_folder_behind_a_closed_one_is_refused_and_nothing_is_opened(tmp_path):
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)

    with pytest.raises(CannotStart, match="is closed to the account that runs Postgres"):
        prepare_state_folder(closed / "state")

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert list(closed.iterdir()) == []


@as_user
def test_state_folder_that_cannot_be_made_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotStart, match="Set OUTSAMPLE_STATE to a folder of yours"):
        prepare_state_folder(tmp_path / "state")
    tmp_path.chmod(0o700)


def test_state_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "state").write_text("")

    with pytest.raises(CannotStart, match="cannot be used"):
        prepare_state_folder(tmp_path / "state")
