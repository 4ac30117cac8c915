import signal
import subprocess
import sys
import time

import psutil
import pytest

from embedded.service import Service
from embedded.supervisor import LONGEST_DELAY_S, Supervisor

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);"
    "time.sleep(60)",
]
GIVES_UP = [sys.executable, "-S", "-c", "import sys; print('no fuel'); sys.exit(7)"]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines():
    return []


class Starter:
    """Starts named commands under one supervisor."""

    def __init__(self, folder, say):
        self.folder = folder
        self.supervisor = Supervisor(say, first_delay_s=0.01)
        self.services = []

    def __call__(self, name, command, kind=Service):
        service = kind(name, command, self.folder / f"{name}.log")
        self.services.append(service)
        self.supervisor.start(service)
        return service


@pytest.fixture
def start(tmp_path, lines):
    starter = Starter(tmp_path, lines.append)
    yield starter
    for service in starter.services:
        service.kill()


def wait_until(condition, within_s=10):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def tick_until(supervisor, condition):
    def step():
        supervisor.tick()
        return condition()

    wait_until(step)


def test_killed_service_is_started_again(start, lines):
    service = start("web", SLEEP)
    first = service.pid

    psutil.Process(first).kill()
    tick_until(start.supervisor, lambda: service.pid != first and service.is_alive())

    tick_until(start.supervisor, lambda: lines[-1] == f"web is back (pid {service.pid})")
    assert lines[1] == "web was killed by SIGKILL; again in 0.01 s"


def test_death_is_told_with_exit_code_and_last_line(start, lines):
    start("web", GIVES_UP)

    tick_until(start.supervisor, lambda: len(lines) > 1)

    assert lines[1] == 'web ended with exit code 7 (last line: "no fuel"); again in 0.01 s'


def test_back_off_doubles_up_to_thirty_seconds_and_trouble_is_told_once(tmp_path, lines):
    clock = Clock()
    troubled: list[tuple[str, ...]] = []
    supervisor = Supervisor(lines.append, clock=clock, on_trouble=troubled.append)
    service = Service("beat", GIVES_UP, tmp_path / "beat.log")
    supervisor.start(service)
    waits = []
    for _death in range(8):
        wait_until(lambda: not service.is_alive())
        supervisor.tick()
        waits.append(lines[-1 if "again in" in lines[-1] else -2].rpartition("again in ")[2])
        clock.now += float(waits[-1].removesuffix(" s"))
        supervisor.tick()

    assert waits == ["1 s", "2 s", "4 s", "8 s", "16 s", "30 s", "30 s", "30 s"]
    assert LONGEST_DELAY_S == 30
    assert sum("died 5 times within a minute" in line for line in lines) == 1
    assert troubled == [("beat",)]


def test_minute_of_life_resets_back_off_and_trouble(tmp_path, lines):
    clock = Clock()
    troubled: list[tuple[str, ...]] = []
    supervisor = Supervisor(lines.append, clock=clock, on_trouble=troubled.append)
    service = Service("beat", GIVES_UP, tmp_path / "beat.log")
    supervisor.start(service)
    for _death in range(5):
        wait_until(lambda: not service.is_alive())
        supervisor.tick()
        clock.now += 16 if _death == 4 else 2**_death
        if _death == 4:
            service.arguments = SLEEP
        supervisor.tick()
    clock.now += 60
    supervisor.tick()
    psutil.Process(service.pid).kill()
    wait_until(lambda: not service.is_alive())
    supervisor.tick()

    assert lines[-1].endswith("again in 1 s")
    assert troubled == [("beat",), ()]


def test_groups_stop_one_after_the_other(start, lines):
    web, worker, broker = (start(name, SLEEP) for name in ("web", "worker", "broker"))

    start.supervisor.stop([([web], 5), ([worker], 5), ([broker], 5)])

    assert lines[-3:] == ["web stopped", "worker stopped", "broker stopped"]
    assert not any(service.is_alive() for service in (web, worker, broker))


def test_service_that_ignores_the_signal_is_killed_when_its_time_is_over(start, lines):
    worker = start("worker", DEAF)
    wait_until(lambda: worker.log.read_text() == "deaf\n")

    start.supervisor.stop([([worker], 0.2)])

    assert lines[-2:] == ["worker is killed; it had not stopped yet", "worker stopped"]
    assert not worker.is_alive()


class Database(Service):
    is_database = True


def test_second_interrupt_kills_workers_but_not_databases(start, lines):
    worker, database = start("worker", DEAF), start("database", SLEEP, Database)
    wait_until(lambda: worker.log.read_text() == "deaf\n")
    start.supervisor.interrupt()
    start.supervisor.interrupt()

    start.supervisor.stop([([worker], 60), ([database], 60)])

    assert "worker is killed; it had not stopped yet" in lines
    assert database.ending() == "was killed by SIGTERM"  # its own stop signal, not SIGKILL


def test_children_of_a_killed_service_end_with_it(start):
    nested = f"import subprocess, sys, time; subprocess.Popen({SLEEP!r}); print('on', flush=True); time.sleep(60)"
    service = start("worker", [sys.executable, "-S", "-c", nested])
    wait_until(lambda: service.log.read_text() == "on\n")
    (child,) = psutil.Process(service.pid).children()

    psutil.Process(service.pid).kill()
    tick_until(start.supervisor, lambda: not child.is_running() or child.status() == "zombie")


def test_services_end_when_their_supervisor_is_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from embedded.service import Service;"
        f"s = Service('web', {SLEEP!r}, Path(sys.argv[1])); s.start(); print(s.pid, flush=True);"
        "time.sleep(60)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "web.log")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout
        web = psutil.Process(int(supervisor.stdout.readline()))
        assert web.is_running()

        supervisor.send_signal(signal.SIGKILL)

        wait_until(lambda: not web.is_running() or web.status() == psutil.STATUS_ZOMBIE)


def test_long_log_is_set_aside_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr("embedded.service.LOG_BYTES_KEPT", 10)
    log = tmp_path / "web.log"
    log.write_text("eleven bytes and more\n")
    service = Service("web", GIVES_UP, log)

    service.start()
    wait_until(lambda: not service.is_alive())

    assert log.read_text() == "no fuel\n"
    assert (tmp_path / "web.log.1").read_text() == "eleven bytes and more\n"
