"""Under `up` every service comes back, and neither rows nor files are lost."""

from __future__ import annotations

import socket
import time
import urllib.error
from collections.abc import Callable

import psycopg
import pytest

from tests.faults.conftest import Undisturbed, assert_undisturbed
from tests.faults.machine import Machine, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
BACK_S = 60.0
QUEUES = {"worker-data": "data", "worker-training": "training", "worker-backtests": "backtests"}
NAMES = ["postgres", "valkey", "web", *QUEUES, "beat"]


def worker_ids(machine: Machine, name: str) -> set[object]:
    queue = QUEUES.get(name, name)
    rows = machine.rows("SELECT id FROM jobs_worker WHERE queue = %s", queue)
    return {row["id"] for row in rows}


def works(machine: Machine, name: str) -> Callable[[], bool]:
    """Whether the present process of a service does its work: asked, not only alive."""
    if name == "postgres":
        return lambda: _answers(machine)
    if name == "valkey":
        return lambda: _valkey_answers(machine)
    if name == "web":
        return lambda: _web_answers(machine)
    known = worker_ids(machine, name)
    return lambda: bool(worker_ids(machine, name) - known)


def _answers(machine: Machine) -> bool:
    try:
        return machine.rows("SELECT 1 AS one") == [{"one": 1}]
    except psycopg.OperationalError:
        return False


def _valkey_answers(machine: Machine) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(machine.state / "valkey" / "valkey.sock"))
            client.sendall(b"PING\r\n")
            return client.recv(16) == b"+PONG\r\n"
        except OSError:
            return False


def _web_answers(machine: Machine) -> bool:
    try:
        return machine.api("GET", "/api/runs/")[0] == 200
    except urllib.error.URLError:
        return False


def kill_and_wait(machine: Machine, name: str) -> float:
    """Kill a service by SIGKILL; the seconds until another process does its work."""
    before = machine.services()[name]
    is_back = works(machine, name)
    kill(before)
    killed_at = time.monotonic()
    wait_for(lambda: machine.services()[name] != before and is_back(), BACK_S)
    return time.monotonic() - killed_at


def test_every_service_comes_back_with_all_rows_and_files(machine: Machine) -> None:
    counts, checksums = machine.counts(), machine.checksums()
    newest = machine.rows("SELECT coalesce(max(id), 0) AS id FROM jobs_jobevent")[0]["id"]
    back_s = {name: kill_and_wait(machine, name) for name in NAMES}

    new = machine.rows("SELECT kind, data FROM jobs_jobevent WHERE id > %s", newest)
    assert new == []
    assert machine.counts() == counts
    assert machine.checksums() == checksums
    assert wait_for(lambda: _web_answers(machine), 10)
    print("back after", {name: f"{seconds:.1f} s" for name, seconds in back_s.items()})


def test_run_survives_the_death_of_every_service(
    hasty_machine: Machine, undisturbed: Undisturbed
) -> None:
    machine = hasty_machine
    checksums = machine.checksums()
    run = machine.launch(undisturbed.experiment)
    job = machine.run(run)["job_id"]
    wait_for(lambda: machine.row("SELECT 1 FROM modeling_checkpoint WHERE run_id = %s", run), 60)
    for name in NAMES:
        if name != "worker-training":
            kill_and_wait(machine, name)
    assert machine.run(run)["status"] == "running"
    assert len(machine.attempts(job)) == 1, "the run needed a new attempt although its worker lived"

    kill_and_wait(machine, "worker-training")
    assert_undisturbed(machine, run, undisturbed)
    assert [attempt["exit_kind"] for attempt in machine.attempts(job)] == ["lost", "ok"]
    assert checksums.items() <= machine.checksums().items()
