"""Everything Outsample needs on one machine: which commands, in which order, how they stop."""

import http.client
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import CannotStart
from embedded.lock import RunningUp, UpLock
from embedded.ownership import prepare_state_folder
from embedded.postgres import PostgresServer
from embedded.service import Service, last_line, open_log
from embedded.supervisor import Supervisor
from embedded.valkey import ValkeyServer

HOST = "127.0.0.1"
DATABASE_READY_S = 60.0
WEB_READY_S = 60.0
# A worker drains for at most 30 s; the margin is for its own goodbye.
WORKER_STOP_S = 35.0
REPLACED_AFTER = ("--max-tasks-per-child=50", "--max-memory-per-child=1572864")  # the latter in KiB


class AlreadyUp(Exception):
    """Another `up` holds this state folder."""


class PortTaken(Exception):
    """The address of the web process is in use."""


@dataclass(frozen=True)
class MachineOptions:
    """What `up` was asked for. The two switches are off where an outside server is configured."""

    state: Path
    port: int
    runs_postgres: bool
    runs_valkey: bool
    postgres_programs: str = ""

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


class Machine:
    """The processes of one `up`."""

    def __init__(self, options: MachineOptions, say: Callable[[str], None]) -> None:
        self.options = options
        self.lock = UpLock(options.state)
        self.supervisor = Supervisor(say, on_trouble=self._tell_trouble)
        self._say = say
        self._postgres: PostgresServer | None = None
        self._valkey: ValkeyServer | None = None
        self._front: list[Service] = []
        self._workers: list[Service] = []
        self._is_ready = False

    def claim(self) -> None:
        """Make sure that nobody else runs here; raises before anything has been started."""
        prepare_state_folder(self.options.state)
        if not self.lock.acquire():
            raise AlreadyUp
        self._tell()
        if is_port_taken(self.options.port):
            self.lock.release()
            raise PortTaken
        write_secret_key(self.options.state / "secret_key")

    def start(self) -> None:
        """Start everything; returns when the first page answers."""
        self._start_databases()
        self._run_to_end(
            {
                "migrate": manage("migrate", "--noinput"),
                "collectstatic": manage("collectstatic", "--noinput"),
            }
        )
        web, beat = self._command("web", web_arguments(self.options.port)), self._beat()
        self._front = [web, beat]
        self._workers = [
            self._command(f"worker-{queue}", worker_arguments(queue))
            for queue in ("data", "training", "backtests")
        ]
        for service in [web, *self._workers, beat]:
            self.supervisor.start(service)
        if not self.supervisor.wait_for(self._web_answers, WEB_READY_S):
            raise CannotStart(f"The web process does not answer; its log is {web.log}.")
        self._tell(is_ready=True)

    def stop(self) -> None:
        """Web and beat, workers, Valkey, Postgres; then let go of the state folder."""
        databases: list[tuple[list[Service], float]] = []
        if self._valkey is not None:
            databases.append(([self._valkey], 15.0))
        if self._postgres is not None:
            databases.append(([self._postgres], 60.0))
        self.supervisor.stop([(self._front, 10.0), (self._workers, WORKER_STOP_S), *databases])
        self.lock.release()

    def _start_databases(self) -> None:
        started: list[Service] = []
        if self.options.runs_postgres:
            self._postgres = PostgresServer(
                self.options.state, programs=self.options.postgres_programs
            )
            started.append(self._postgres)
        if self.options.runs_valkey:
            self._valkey = ValkeyServer(self.options.state)
            started.append(self._valkey)
        for service in started:
            self.supervisor.start(service)
        for service in started:
            self._wait_for_database(service)
        if self._postgres is not None:
            self._postgres.make_database("outsample")

    def _wait_for_database(self, service: Service) -> None:
        settled = self.supervisor.wait_for(
            lambda: service.is_ready() or not service.is_alive(), DATABASE_READY_S
        )
        if not settled or not service.is_ready():
            what = "does not answer" if service.is_alive() else service.ending()
            raise CannotStart(f"{service.name} {what}; its log is {service.log}.")

    def _run_to_end(self, commands: dict[str, list[str]]) -> None:
        """Run commands side by side; all must end well."""
        logs = {name: self._log(name) for name in commands}
        running: dict[str, subprocess.Popen[bytes]] = {}
        for name, arguments in commands.items():
            with open_log(logs[name]) as log:
                running[name] = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        try:
            done = self.supervisor.wait_for(
                lambda: all(child.poll() is not None for child in running.values()), 600
            )
        finally:
            for child in running.values():
                if child.poll() is None:
                    child.kill()
                child.wait()
        for name, child in running.items():
            if not done or child.returncode != 0:
                raise CannotStart(f"{name} failed: {last_line(logs[name])} (log: {logs[name]})")
            self._say(f"{name} done")

    def _web_answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.options.port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _command(self, name: str, arguments: list[str]) -> Service:
        return Service(name, [sys.executable, "-m", *arguments], self._log(name))

    def _beat(self) -> Service:
        schedule = str(self.options.state / "beat-schedule")
        arguments = ["celery", "-A", "config", "beat", "-s", schedule, "--pidfile=", "-l", "INFO"]
        return self._command("beat", arguments)

    def _log(self, name: str) -> Path:
        return self.options.state / "logs" / f"{name}.log"

    def _tell_trouble(self, names: tuple[str, ...]) -> None:
        with suppress(OSError):  # a full disk must not end the supervisor
            self._tell(troubled=names)

    def _tell(self, *, is_ready: bool = False, troubled: tuple[str, ...] = ()) -> None:
        self._is_ready = is_ready or self._is_ready
        self.lock.tell(RunningUp(os.getpid(), self.options.address, self._is_ready, troubled))


def manage(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "django", *arguments]


def web_arguments(port: int) -> list[str]:
    return [
        *("uvicorn", "config.asgi:application", "--host", HOST, "--port", str(port)),
        *("--lifespan", "off", "--no-access-log", "--no-server-header"),
        # Nothing stands before this server, so whoever sends X-Forwarded-For makes it up.
        "--no-proxy-headers",
        *("--timeout-graceful-shutdown", "5", "--log-level", "warning"),
    ]


def worker_arguments(queue: str) -> list[str]:
    """One training at a time; the other queues get half the cores and fresh children."""
    slots = 1 if queue == "training" else max(1, (os.cpu_count() or 1) // 2)
    common = ["celery", "-A", "config", "worker", "-Q", queue, "-n", f"{queue}@%h", "-O", "fair"]
    replaced = () if queue == "training" else REPLACED_AFTER
    return [*common, "--concurrency", str(slots), *replaced, "--without-gossip", "-l", "INFO"]


def is_port_taken(port: int) -> bool:
    with socket.socket() as listener:
        # As a server does: connections that are still closing do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return True
    return False


def write_secret_key(path: Path) -> None:
    """A random key that only this account reads, made once per state folder."""
    if path.exists():
        return
    unfinished = path.with_name(path.name + ".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(secrets.token_urlsafe(48))
    unfinished.replace(path)
