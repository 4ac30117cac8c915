import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from embedded.errors import CannotStart
from embedded.ownership import prepare_state_folder, server_uid
from embedded.postgres import PostgresServer, reason_in, wait_until_ready
from embedded.services import stop


@contextmanager
def short_state():
    """A short folder that the servers' account can reach; whatever still runs in it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    try:
        prepare_state_folder(folder)
        yield folder
    finally:
        left = PostgresServer(folder)
        if left.find_running():
            left.start()
            stop(left, within_s=20)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres(folder):
    server = PostgresServer(folder, options=["fsync=off"])
    server.start()
    wait_until_ready(server, within_s=60)
    yield server
    stop(server, within_s=20)


@pytest.fixture
def state():
    with short_state() as folder:
        yield folder


@pytest.fixture
def postgres(state):
    with running_postgres(state) as server:
        yield server


@pytest.fixture(scope="module")
def shared_postgres():
    """For tests that only ask."""
    with short_state() as folder, running_postgres(folder) as server:
        yield server


def test_cluster_is_made_once_and_keeps_its_rows(state):
    server = PostgresServer(state)
    for _start in range(2):
        server.start()
        wait_until_ready(server, within_s=60)
        server.make_database("outsample")
        with server.connect("outsample") as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS bars (n int)")
            connection.execute("INSERT INTO bars VALUES (1)")
            rows = connection.execute("SELECT count(*) FROM bars").fetchone()
        assert stop(server, within_s=20)

    assert rows == (2,)
    assert list(state.glob("pg18.new")) == []


def test_server_runs_unprivileged_behind_closed_folders(shared_postgres):
    assert psutil.Process(shared_postgres.pid).uids().effective == server_uid() != 0
    for folder in (shared_postgres.data, shared_postgres.sockets):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == server_uid()


def test_database_is_utf8_and_listens_on_no_port(shared_postgres):
    shared_postgres.make_database("outsample")
    with shared_postgres.connect("outsample") as connection:
        told = connection.execute(
            "SELECT current_setting('server_encoding'), current_setting('listen_addresses')"
        )
        assert told.fetchone() == ("UTF8", "")


def test_url_names_the_socket_folder(shared_postgres):
    with psycopg.connect(shared_postgres.url("postgres")) as connection:
        assert connection.info.user == "postgres"


def test_running_server_is_adopted_by_the_next_supervisor(shared_postgres):
    second = PostgresServer(shared_postgres.data.parent)

    second.start()

    assert second.is_adopted
    assert second.pid == shared_postgres.pid
    assert second.is_alive() and second.is_ready()


@pytest.mark.faults
def test_adopted_server_stops_cleanly(postgres, state):
    second = PostgresServer(state)
    second.start()

    assert stop(second, within_s=20)

    assert not (postgres.data / "postmaster.pid").exists()
    assert not postgres.is_alive()


@pytest.mark.faults
def test_killed_server_that_nobody_reaped_is_replaced_with_all_rows(postgres, state):
    postgres.make_database("outsample")
    with postgres.connect("outsample") as connection:
        connection.execute("CREATE TABLE bars AS SELECT generate_series(1, 1000) AS n")
    os.kill(postgres.pid, signal.SIGKILL)  # this process does not wait for it: a zombie stays
    zombie = psutil.Process(postgres.pid)
    while zombie.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    second = PostgresServer(state)

    second.start()
    wait_until_ready(second, within_s=60)

    assert zombie.status() == psutil.STATUS_ZOMBIE
    assert not second.is_adopted
    with second.connect("outsample") as connection:
        assert connection.execute("SELECT count(*) FROM bars").fetchone() == (1000,)
    assert stop(second, within_s=20)


@pytest.mark.faults
def test_pid_file_of_a_stranger_does_not_block_the_start(postgres, state):
    stop(postgres, within_s=20)
    stranger = psutil.Process().pid
    (postgres.data / "postmaster.pid").write_text(f"{stranger}\n{postgres.data}\n")

    postgres.start()
    wait_until_ready(postgres, within_s=60)

    assert postgres.pid != stranger


@pytest.mark.faults
def test_interrupted_initdb_is_not_taken_for_a_cluster(state):
    (state / "pg18.new").mkdir()
    (state / "pg18.new" / "PG_VERSION").write_text("18\n")
    server = PostgresServer(state)

    server.start()
    wait_until_ready(server, within_s=60)

    assert stop(server, within_s=20)


def test_socket_path_too_long_for_the_system_is_told():
    server = PostgresServer(Path("/tmp") / ("x" * 100))

    with pytest.raises(CannotStart, match=r"path of \d+ bytes; at most 107"):
        server.prepare()


def test_broken_cluster_is_told_with_the_servers_words(state):
    folder = state / "pg18"
    folder.mkdir(mode=0o700)
    os.chown(folder, server_uid(), -1)
    server = PostgresServer(state)

    server.start()

    with pytest.raises(CannotStart, match=r"postgres ended with exit code 2 .*postgresql\.conf"):
        wait_until_ready(server, within_s=60)


def test_failed_initdb_tells_the_error_and_not_its_tidying_up():
    output = (
        "creating configuration files ... ok\n"
        "2026-01-01 [1] FATAL:  could not write file: No space left on device\n"
        "child process exited with exit code 1\n"
        "initdb: removing contents of data directory\n"
    )

    assert reason_in(output).endswith("No space left on device")
