"""The embedded Postgres: trust authentication, one socket in a folder only its account can enter."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import psycopg
import psycopg.sql

from embedded.binaries import postgres_programs
from embedded.errors import CannotStart
from embedded.ownership import account_options, make_server_folder
from embedded.processes import running_process, wait_until_nobody_works_in, works_in
from embedded.service import Service

SOCKET_NAME = ".s.PGSQL.5432"
LONGEST_SOCKET_BYTES = 107
# Nothing of the caller's locale, zone or PG* variables reaches the server.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def check_socket_length(socket: Path) -> None:
    length = len(os.fsencode(socket))
    if length > LONGEST_SOCKET_BYTES:
        raise CannotStart(
            f"The socket {socket} has a path of {length} bytes; at most {LONGEST_SOCKET_BYTES} work. "
            "Set OUTSAMPLE_STATE to a shorter folder."
        )


def reason_in(output: str) -> str:
    """The first line of a failed initdb that names an error; its last lines tell of tidying up."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"FATAL|PANIC|[Ee]rror|could not", line)]
    return next(iter(named or lines[-1:]), "it wrote nothing")


class PostgresServer(Service):
    """Lives on when its supervisor is killed, and is adopted by the next one."""

    stop_signal = signal.SIGINT
    kill_signal = signal.SIGQUIT  # ends at once and recovers at the next start
    on_parent_death: signal.Signals | None = None
    drops_root = True
    is_database = True
    environment = ENVIRONMENT
    working_folder = "/"

    def __init__(self, state: Path, *, programs: str = "", options: Sequence[str] = ()) -> None:
        state = state.absolute()
        super().__init__("postgres", [], state / "logs" / "postgres.log")
        self.data = state / "pg18"
        self.sockets = state / "run"
        self._copies = state / "pgbin"
        self._chosen_programs = programs
        self._options = options

    def find_running(self) -> psutil.Process | None:
        pid = self._pid_on_file()
        process = running_process(pid) if pid else None
        return process if process and works_in(process, self.data) else None

    def prepare(self) -> None:
        check_socket_length(self.sockets / SOCKET_NAME)
        programs = postgres_programs(self._copies, self._chosen_programs)
        make_server_folder(self.sockets)
        if not self.data.exists():
            self._make_cluster(programs)
        self._clear_leftovers()
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.sockets)}
        pairs = [f"{name}={value}" for name, value in settings.items()] + list(self._options)
        options = [word for pair in pairs for word in ("-c", pair)]
        self.arguments = [str(programs / "postgres"), "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            dbname=database,
            user="postgres",
            host=str(self.sockets),
            connect_timeout=2,
            autocommit=True,
        )

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.sockets}"

    def make_database(self, name: str) -> None:
        """Create the database unless it exists."""
        with self.connect("postgres") as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                statement = psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
                connection.execute(statement.format(psycopg.sql.Identifier(name)))

    def _make_cluster(self, programs: Path) -> None:
        # Under a temporary name, so that an interrupted initdb is never taken for a cluster.
        unfinished = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        make_server_folder(unfinished)
        done = subprocess.run(
            [
                str(programs / "initdb"),
                *("-D", str(unfinished), "-U", "postgres"),
                *("--auth=trust", "--encoding=UTF8", "--locale=C"),
                *("--no-sync", "--no-instructions"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=ENVIRONMENT,
            text=True,
            check=False,
            **account_options(),
        )
        with self.log.open("a") as log:
            log.write(done.stdout)
        if done.returncode != 0:
            raise CannotStart(f"The database cannot be made: {reason_in(done.stdout)}")
        unfinished.rename(self.data)

    def _clear_leftovers(self) -> None:
        """Remove the pid file and socket of a dead server, once nothing of it is left.

        A killed server whose parent never reaped it, or a stranger that got its number, would make
        Postgres refuse to start; and its old backends may still be writing.
        """
        if self._pid_on_file() is None:
            return
        left = wait_until_nobody_works_in(self.data, within_s=10)
        if left:
            raise CannotStart(f"Processes {left} of an earlier Postgres still use {self.data}.")
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (self.sockets / SOCKET_NAME).unlink(missing_ok=True)
        (self.sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _pid_on_file(self) -> int | None:
        try:
            first = (self.data / "postmaster.pid").read_text().partition("\n")[0].strip()
        except FileNotFoundError:
            return None
        return int(first) if first.isdigit() else 0


def wait_until_ready(service: Service, within_s: float) -> None:
    """Block until the service answers; a service that dies meanwhile cannot be used."""
    deadline = time.monotonic() + within_s
    while not service.is_ready():
        if not service.is_alive():
            raise CannotStart(f"{service.name} {service.ending()}; its log is {service.log}.")
        if time.monotonic() > deadline:
            raise CannotStart(
                f"{service.name} did not answer within {within_s:.0f} s; see {service.log}."
            )
        time.sleep(0.05)
