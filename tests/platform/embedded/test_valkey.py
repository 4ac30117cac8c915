import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import redis

from embedded.ownership import prepare_state_folder
from embedded.postgres import wait_until_ready
from embedded.services import stop, temporary_cluster
from embedded.valkey import ValkeyServer


@pytest.fixture
def valkey():
    state = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    prepare_state_folder(state)
    server = ValkeyServer(state)
    server.start()
    wait_until_ready(server, within_s=10)
    yield server
    stop(server, within_s=10)
    shutil.rmtree(state, ignore_errors=True)


def client(server):
    return redis.Redis(unix_socket_path=str(server.socket))


def test_messages_survive_a_clean_stop(valkey):
    client(valkey).rpush("queue", "one", "two")

    assert stop(valkey, within_s=10)
    valkey.start()
    wait_until_ready(valkey, within_s=10)

    assert client(valkey).lrange("queue", 0, -1) == [b"one", b"two"]


@pytest.mark.faults
def test_killed_server_starts_again_over_its_old_socket(valkey):
    os.kill(valkey.pid, signal.SIGKILL)
    while valkey.is_alive():
        time.sleep(0.01)
    assert valkey.socket.exists()

    valkey.start()
    wait_until_ready(valkey, within_s=10)

    assert client(valkey).ping()


def test_running_server_is_adopted_by_the_next_supervisor(valkey):
    second = ValkeyServer(valkey.folder.parent)

    second.start()

    assert second.is_adopted
    assert second.pid == valkey.pid
    assert second.is_ready()


def test_socket_is_closed_to_others(valkey):
    assert valkey.folder.stat().st_mode & 0o777 == 0o700
    assert valkey.socket.stat().st_mode & 0o777 == 0o700


def test_memory_limit_never_drops_messages(valkey):
    assert client(valkey).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_temporary_cluster_leaves_nothing_behind():
    with temporary_cluster() as urls:
        socket = urls.broker.removeprefix("redis+socket://")
        assert redis.Redis(unix_socket_path=socket).ping()
        assert urls.database.startswith("postgresql://postgres@/outsample?host=")

    assert not urls.state.exists()
    assert not Path(socket).exists()
