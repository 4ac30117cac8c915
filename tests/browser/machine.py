"""A real `manage.py up` on its own state folder, and candle files to upload to it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import psutil

from embedded.postgres import PostgresServer
from embedded.services import stop
from embedded.valkey import ValkeyServer
from markets.candles.synthetic import synthetic_candles

ROOT = Path(__file__).resolve().parents[2]
HEADER = "timestamp,open,high,low,close,volume"


class Machine:
    """Web, workers, beat and databases of one state folder, and a user who may sign in."""

    username = "alice"

    def __init__(self, state: Path) -> None:
        self.state = state
        self.password = secrets.token_urlsafe(12)
        self.address = ""
        self._up: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with (self.state / "up.err").open("w") as errors:
            self._up = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(free_port()), "--json"],
                cwd=ROOT,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert self._up.stdout is not None
        line = self._up.stdout.readline()
        assert line, (self.state / "up.err").read_text()
        self.address = json.loads(line)["address"]

    def add_user(self) -> None:
        person = f"{self.username!r}, password={self.password!r}"
        code = f"from accounts.services import create_user; create_user({person})"
        command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
        subprocess.run(
            command, cwd=ROOT, env=self.environment(), check=True, stdout=subprocess.DEVNULL
        )

    def add_token(self) -> str:
        """A token of the user that may launch."""
        return self._told("create_token")["token"]

    def sign_in_link(self) -> str:
        """A link that signs the user in once."""
        return self._told("sign_in_link")["link"]

    def _told(self, command: str) -> dict[str, str]:
        """What a command says of the user."""
        words = [sys.executable, "manage.py", command, self.username, "--json"]
        done = subprocess.run(
            words, cwd=ROOT, env=self.environment(), check=True, capture_output=True, text=True
        )
        said: dict[str, str] = json.loads(done.stdout)
        return said

    def trainers(self) -> list[psutil.Process]:
        """The living trainer processes of this state folder."""
        return self._processes("modeling.run")

    @contextmanager
    def web_away(self, seconds: float) -> Iterator[None]:
        """The web process dies, and its successor is kept from starting until `seconds` are over."""
        (old,) = self._processes("uvicorn")
        began = time.monotonic()
        old.kill()
        wait_until(lambda: [web for web in self._processes("uvicorn") if web != old] != [], 10)
        (web,) = self._processes("uvicorn")
        web.suspend()
        try:
            yield
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        finally:
            web.resume()

    def _processes(self, word: str) -> list[psutil.Process]:
        """The living processes of this state folder that have this word in their command."""
        mine = f"OUTSAMPLE_STATE={self.state}".encode()
        found = []
        for process in psutil.process_iter():
            try:
                is_meant = word in process.cmdline()
                is_meant &= process.status() != psutil.STATUS_ZOMBIE
                if is_meant and mine in Path(f"/proc/{process.pid}/environ").read_bytes():
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def end(self) -> None:
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            self._up.wait(90)
        for server in (ValkeyServer(self.state), PostgresServer(self.state)):
            if server.find_running():
                server.start()
                stop(server, within_s=20)

    def environment(self) -> dict[str, str]:
        ours = ("DATABASE_URL", "CELERY_BROKER_URL")
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        return {**inherited, "OUTSAMPLE_STATE": str(self.state)}


@contextmanager
def running_machine() -> Iterator[Machine]:
    """A machine with one user; nothing of it is left behind."""
    # A socket's path has at most 107 characters, so the folder is short.
    state = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    machine = Machine(state)
    try:
        machine.start()
        machine.add_user()
        yield machine
    finally:
        machine.end()
        shutil.rmtree(state, ignore_errors=True)


def candle_file(path: Path, *, days: int, symbol: str = "BTCUSDT") -> Path:
    """A CSV of seeded five-minute candles."""
    candles = synthetic_candles(days=days, seed=11)
    path = path / f"{symbol}_5m.csv"
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    rows = zip(candles.time // 10**9, *columns, strict=True)
    lines = [
        f"{shown_time(int(row[0]))},{','.join(str(float(cell)) for cell in row[1:])}"
        for row in rows
    ]
    path.write_text("\n".join([HEADER, *lines, ""]))
    return path


def shown_time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], within_s: float) -> float:
    """Seconds until the condition held. Fails after `within_s`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s
        time.sleep(0.1)
    return time.monotonic() - began
