import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from embedded.lock import running_up
from embedded.postgres import PostgresServer
from embedded.services import stop
from embedded.valkey import ValkeyServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]
SITE = Path(__file__).parent / "small_site"


class Up:
    """A `manage.py up` of the small site on its own state folder."""

    def __init__(self, state, port):
        self.state, self.port = state, port
        self.process = None

    def command(self, *options, **environment):
        """`up` as a person types it; its output comes back as text."""
        return subprocess.Popen(
            [sys.executable, "-m", "django", "up", "--port", str(self.port), *options],
            cwd=SITE,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "OUTSAMPLE_STATE": str(self.state),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self):
        self.process = self.command()
        wait_until(lambda: self.process.poll() is not None or self.is_ready(), 90)
        assert self.is_ready(), self.process.stderr.read()

    def is_ready(self):
        told = running_up(self.state)
        return told is not None and told.is_ready

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def events(self):
        return (self.state / "logs" / "up.log").read_text()

    def pids(self):
        """The process that each event names last, by service."""
        words = [line.split() for line in self.events().splitlines() if "(pid " in line]
        return {line[1]: int(line[-1].rstrip(")")) for line in words}

    def processes(self):
        """Every living process that was started for this state folder."""
        mine = f"OUTSAMPLE_STATE={self.state}".encode()
        found = []
        for process in psutil.process_iter():
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                names_it = any(str(self.state) in word for word in process.cmdline())
                alive = process.status() != psutil.STATUS_ZOMBIE
            except (psutil.Error, OSError):
                continue
            if alive and (names_it or mine in environment.split(b"\0")):
                found.append(process)
        return found

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(90)


def wait_until(condition, within_s=60):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def up():
    state = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    machine = Up(state, free_port())
    yield machine
    machine.end()
    for server in (ValkeyServer(state), PostgresServer(state)):
        if server.find_running():
            server.start()
            stop(server, within_s=20)
    for process in machine.processes():
        process.kill()
    shutil.rmtree(state, ignore_errors=True)


def test_up_serves_refuses_a_second_one_and_leaves_nothing_behind(up):
    up.start()
    assert up.get("/healthz") == (200, "well")
    assert up.get("/rows")[0] == 200
    assert (up.state / "secret_key").stat().st_mode & 0o777 == 0o600

    second = up.command()
    _out, reason = second.communicate(timeout=30)
    assert second.returncode == 3
    assert reason == f"Already running: pid {up.process.pid}, http://127.0.0.1:{up.port}.\n"

    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0
    assert up.processes() == []
    assert running_up(up.state) is None
    stopped = [line.split()[1] for line in up.events().splitlines() if line.endswith(" stopped")]
    assert set(stopped[:2]) == {"web", "beat"}
    assert set(stopped[2:5]) == {"worker-data", "worker-training", "worker-backtests"}
    assert stopped[5:] == ["valkey", "postgres", "everything"]


def test_every_process_comes_back_after_a_kill_with_all_rows(up):
    up.start()
    rows = up.get("/rows")
    names = [
        "postgres",
        "valkey",
        "web",
        "worker-data",
        "worker-training",
        "worker-backtests",
        "beat",
    ]
    assert sorted(up.pids()) == sorted(names)

    for name in names:
        before = up.pids()[name]
        psutil.Process(before).kill()
        wait_until(lambda: up.pids()[name] != before, 60)  # noqa: B023  # waited for in this round

    def answers():
        try:
            return up.get("/rows") == rows
        except OSError:
            return False

    wait_until(answers, 60)
    assert up.process.poll() is None


def test_databases_of_a_killed_up_are_adopted_and_the_rest_ends(up):
    up.start()
    first = up.pids()
    others = [
        psutil.Process(pid) for name, pid in first.items() if name not in ("postgres", "valkey")
    ]

    up.process.kill()
    up.process.wait()
    wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in others), 60)
    up.start()

    second = up.pids()
    assert {name: second[name] for name in ("postgres", "valkey")} == {
        name: first[name] for name in ("postgres", "valkey")
    }
    assert f"postgres adopted (pid {first['postgres']})" in up.events()
    up.end()
    assert up.process.returncode == 0
    assert up.processes() == []


def test_taken_port_is_told_before_anything_starts(up):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", up.port))
        listener.listen()
        process = up.command()
        _out, reason = process.communicate(timeout=30)

    assert process.returncode == 2
    assert reason.startswith(f"Port {up.port} is taken by another program.")
    assert reason.count("\n") == 1
    assert not (up.state / "pg18").exists()


def test_failed_migration_ends_up_with_its_reason_and_nothing_left(up):
    process = up.command(SMALL_SITE_BROKEN="1")
    _out, reason = process.communicate(timeout=90)

    assert process.returncode == 1
    assert 'database "nowhere" does not exist' in reason
    assert up.processes() == []


def test_json_is_one_document_and_events_go_to_stderr(up):
    process = up.process = up.command("--json")

    told = json.loads(process.stdout.readline())

    assert told == {
        "pid": process.pid,
        "address": f"http://127.0.0.1:{up.port}",
        "state": str(up.state),
    }
    up.end()
    assert process.stdout.read() == ""
    assert "postgres started" in process.stderr.read()
