import subprocess
import tempfile
from pathlib import Path

import pytest

from embedded import binaries
from embedded.binaries import postgres_programs, valkey_program
from embedded.errors import CannotStart
from embedded.ownership import account_options


@pytest.fixture
def copies():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "pgbin"


def version_of(program):
    return subprocess.run(
        [program, "--version"], capture_output=True, text=True, cwd="/", **account_options()
    ).stdout


def test_programs_of_the_wheel_are_found(copies):
    assert version_of(postgres_programs(copies) / "postgres").startswith("postgres (PostgreSQL) 18")
    assert "v=9" in version_of(valkey_program(copies))


def test_programs_behind_a_closed_folder_are_copied_with_their_libraries(copies, monkeypatch):
    monkeypatch.setattr(binaries, "can_execute", lambda program, uid: False)

    programs, valkey = postgres_programs(copies), valkey_program(copies)

    assert programs.is_relative_to(copies) and valkey.is_relative_to(copies)
    assert "initdb (PostgreSQL) 18" in version_of(programs / "initdb")
    assert "v=9" in version_of(valkey)


def test_copies_are_renewed_when_the_version_changes(copies, monkeypatch):
    monkeypatch.setattr(binaries, "can_execute", lambda program, uid: False)
    old = copies / "valkey-1.0"
    old.mkdir(parents=True)
    (old / "valkey-server").write_text("old")

    program = valkey_program(copies)
    made_at = program.stat().st_ino
    again = valkey_program(copies)

    assert not old.exists()
    assert again == program and again.stat().st_ino == made_at


def test_chosen_folder_without_programs_is_refused(copies):
    with pytest.raises(CannotStart, match="PG_BIN_DIR must name"):
        postgres_programs(copies, "/usr/share")


def test_machine_without_any_postgres_is_told_what_to_do(copies, monkeypatch, tmp_path):
    monkeypatch.setattr(binaries, "POSTGRES_PACKAGE", "no_such_package_here")
    monkeypatch.setattr(binaries, "SYSTEM_POSTGRES", tmp_path)

    with pytest.raises(CannotStart, match="Run bin/setup, or set PG_BIN_DIR"):
        postgres_programs(copies)


def test_newest_postgres_of_the_system_is_taken_when_the_wheel_is_missing(
    copies, monkeypatch, tmp_path
):
    monkeypatch.setattr(binaries, "POSTGRES_PACKAGE", "no_such_package_here")
    monkeypatch.setattr(binaries, "SYSTEM_POSTGRES", tmp_path)
    monkeypatch.setattr(binaries, "can_execute", lambda program, uid: True)
    for version in ("9", "18", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (tmp_path / version / "bin" / name).touch()

    assert postgres_programs(copies) == tmp_path / "18" / "bin"
