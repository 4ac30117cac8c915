"""A real `manage.py up` on a state folder of its own, driven by its API and watched from outside."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
from psycopg.rows import dict_row

from embedded.postgres import PostgresServer
from embedded.services import stop
from embedded.valkey import ValkeyServer

ROOT = Path(__file__).resolve().parents[2]
QUICK_DAYS = 66  # hardly more than the shortest history that gives two folds
QUICK = {"epochs": 2, "batch": 128, "checkpoint_steps": 20, "threads": 1}
# What the caller's shell or the test session set and a machine of its own must not know.
FOREIGN = ("DATABASE_URL", "CELERY_BROKER_URL", "NUMBA_CACHE_DIR", "OUTSAMPLE_FAULT")
TABLES = (
    "SELECT table_name FROM information_schema.tables"
    " WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1"
)

T = TypeVar("T")
Row = dict[str, Any]  # Any: columns of any type


def wait_for(what: Callable[[], T | None], within_s: float, every_s: float = 0.1) -> T:
    """The first true answer of `what`, or a failure that names the time."""
    deadline = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"did not happen within {within_s:.0f} s"
        time.sleep(every_s)
    return found


class Machine:
    """One state folder and the `up` that runs on it."""

    def __init__(self) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="osf-", dir="/tmp"))
        self.state.chmod(0o755)
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        self.token = ""
        self.user = 0

    # Processes

    def ensure(self, **environment: str) -> None:
        """Be up with exactly this environment; a machine in another one is stopped first."""
        if self.process is not None and self.process.poll() is None:
            if self.environment == environment:
                return
            self.down()
        self.environment = environment
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(self.port), "--json"],
            cwd=ROOT,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        assert told, self.events()
        if not self.token:
            self._settle_in()

    def down(self) -> None:
        """Stop it as Ctrl-C does. It ends cleanly and leaves no process behind."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(90) == 0

    def remove(self) -> None:
        """End whatever still runs, and delete the state folder."""
        try:
            self.down()
        finally:
            for server in (ValkeyServer(self.state), PostgresServer(self.state)):
                if server.find_running():
                    server.start()
                    stop(server, within_s=20)
            for process in self.processes():
                process.kill()
            shutil.rmtree(self.state, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        return {
            **kept,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "OUTSAMPLE_STATE": str(self.state),
            "OUTSAMPLE_TEST_HOOKS": "1",
            "OUTSAMPLE_LAUNCHES_PER_HOUR": "1000",
            **self.environment,
        }

    def _inside(self, module: str, *arguments: str) -> str:
        """What a program prints that runs on this machine's rows and files."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _settle_in(self) -> None:
        told = json.loads(self._inside("tests.faults.people_and_data"))
        self.token, self.user = told["token"], told["user"]
        assert self.ended(told["import_job"])["status"] == "succeeded"

    def processes(self) -> list[psutil.Process]:
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

    def trainers(self) -> dict[int, int]:
        """The living trainers of this machine: attempt by process id."""
        mine = f"OUTSAMPLE_STATE={self.state}".encode()
        found = {}
        for process in psutil.process_iter(["cmdline", "status"]):
            line = process.info["cmdline"] or []
            if line[1:3] != ["-m", "modeling.run"] or process.info["status"] == "zombie":
                continue
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            except OSError:
                continue
            if mine in environment.split(b"\0"):
                found[process.pid] = int(line[3])
        return found

    def events(self) -> str:
        try:
            return (self.state / "logs" / "up.log").read_text()
        except OSError:
            return ""

    def services(self) -> dict[str, int]:
        """The process id that `up` told last, by service."""
        words = [line.split() for line in self.events().splitlines() if "(pid " in line]
        return {line[1]: int(line[-1].rstrip(")")) for line in words}

    # Rows and files

    def rows(self, query: str, *values: object) -> list[Row]:
        with psycopg.connect(
            dbname="outsample",
            user="postgres",
            host=str(self.state / "run"),
            connect_timeout=5,
            autocommit=True,
            row_factory=dict_row,
        ) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def row(self, query: str, *values: object) -> Row | None:
        found = self.rows(query, *values)
        return found[0] if found else None

    def counts(self) -> dict[str, int]:
        """Rows by table. Workers announce themselves anew at each start and are left out."""
        names = [row["table_name"] for row in self.rows(TABLES)]
        return {
            name: self.rows(f'SELECT count(*) AS n FROM "{name}"')[0]["n"]
            for name in names
            if name != "jobs_worker"
        }

    def checksums(self) -> dict[str, str]:
        """sha256 of every stored file, by name."""
        folder = self.state / "files"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    def unfinished_files(self, run: int) -> list[Path]:
        """Temporary files of the machine, and checkpoints of a run: none once it has succeeded."""
        scratch = list((self.state / "scratch").glob("*"))
        kept = list((self.state / "checkpoints" / str(run)).glob("*"))
        parts = [self.state / name for name in ("files", "checkpoints", "cache")]
        temporary = [path for part in parts for path in part.rglob("*.tmp")]
        return scratch + kept + temporary

    # Work

    def api(self, method: str, path: str, body: object = None, key: str = "") -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **({"Idempotency-Key": key} if key else {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def experiment(self, *, days: int = QUICK_DAYS, **training: object) -> int:
        parts = {"training": {**QUICK, **training}}
        return int(
            self._inside("tests.faults.experiment", json.dumps({"days": days, "parts": parts}))
        )

    def launch(self, experiment: int) -> int:
        """Start a run as a program does; its id."""
        status, answer = self.api("POST", f"/api/experiments/{experiment}/runs/", {})
        assert status == 202, answer
        return int(answer["id"])

    def run(self, run: int) -> Row:
        """The run, with the state of its present job."""
        found = self.row(
            "SELECT r.*, j.status, j.message, j.code, j.error_reference, j.counted_tries, j.progress"
            " FROM modeling_trainingrun r JOIN jobs_job j ON j.id = r.job_id WHERE r.id = %s",
            run,
        )
        assert found is not None
        return found

    def backtest_of(self, run: int) -> Row:
        found = self.row(
            "SELECT b.*, j.status, j.code FROM backtests_backtest b JOIN jobs_job j ON j.id = b.job_id"
            " WHERE b.run_id = %s",
            run,
        )
        assert found is not None
        return found

    def ended(self, job: object, within_s: float = 120.0) -> Row:
        return wait_for(
            lambda: self.row("SELECT * FROM jobs_job WHERE id = %s AND ended_at IS NOT NULL", job),
            within_s,
        )

    def finished(self, run: int, within_s: float = 150.0) -> Row:
        """The run once its present job has ended."""
        self.ended(self.run(run)["job_id"], within_s)
        return self.run(run)

    def attempts(self, job: object) -> list[Row]:
        return self.rows("SELECT * FROM jobs_jobattempt WHERE job_id = %s ORDER BY number", job)

    def log(self, attempt: int) -> list[str]:
        rows = self.rows(
            "SELECT text FROM jobs_joblogline WHERE attempt_id = %s ORDER BY number", attempt
        )
        return [row["text"] for row in rows]

    def event(self, attempt: int, kind: str) -> Row | None:
        return self.row(
            "SELECT * FROM jobs_jobevent WHERE attempt_id = %s AND kind = %s ORDER BY id",
            attempt,
            kind,
        )

    def what_broke(self, run: int) -> str:
        """The message of a run, and what the logs say to its reference."""
        row = self.run(run)
        lines = [str(row["message"])]
        for path in sorted((self.state / "logs").glob("worker-*.log")):
            text = path.read_text(errors="replace")
            if row["error_reference"] and row["error_reference"] in text:
                lines += [line for line in text.splitlines() if row["error_reference"] in line]
        return "\n".join(lines)

    def folds(self, run: int) -> list[Row]:
        return self.rows("SELECT * FROM modeling_fold WHERE run_id = %s ORDER BY number", run)

    def points(self, run: int) -> dict[tuple[int, str, int], float | None]:
        """The metric points of a run, without its speed, which no two runs share."""
        rows = self.rows(
            "SELECT fold, name, step, value FROM modeling_metricpoint"
            " WHERE run_id = %s AND name <> 'samples_per_s'",
            run,
        )
        found = {(row["fold"], row["name"], row["step"]): row["value"] for row in rows}
        assert len(found) == len(rows), "a point is stored twice"
        return found

    def in_second_fold(self, run: int, within_s: float = 90.0) -> Row:
        """The open attempt once it has a checkpoint of the second fold and has gone on after it."""

        def found() -> Row | None:
            row = self.run(run)
            assert row["status"] in ("queued", "running"), row["message"]
            kept = self.row(
                "SELECT step FROM modeling_checkpoint WHERE run_id = %s AND fold = 2", run
            )
            if kept is None:
                return None
            return self.row(
                "SELECT a.* FROM jobs_jobattempt a JOIN modeling_trainingrun r ON r.job_id = a.job_id"
                " WHERE r.id = %s AND a.ended_at IS NULL AND a.trainer_pid IS NOT NULL",
                run,
            )

        attempt = wait_for(found, within_s, 0.05)
        time.sleep(0.15)  # a few steps: into the middle of what no checkpoint holds yet
        return attempt


class Sampler:
    """Looks at the process table ten times a second and keeps the largest number of trainers."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.most = 0
        self.looks = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.1):
            self.most = max(self.most, len(self.machine.trainers()))
            self.looks += 1


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
