from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from django.core.management.base import CommandError

from accounts.commands import workspace_of
from accounts.models import User
from backtests.presets import preset
from embedded.postgres import PostgresServer
from embedded.services import stop
from embedded.valkey import ValkeyServer
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from tests import factories
from web.management.commands.quickstart import equal_run, first_user, quickstart_spec

ROOT = Path(__file__).resolve().parents[3]
# What the test session sets and a machine of its own must not know.
FOREIGN = ("DATABASE_URL", "CELERY_BROKER_URL", "NUMBA_CACHE_DIR", "OUTSAMPLE_FAULT")
DAYS = 70


@pytest.fixture
def run(db):
    """A finished run of the preset with its own backtest."""
    workspace = factories.make_user("alice").first_workspace()
    run = factories.make_run(factories.make_experiment(workspace))
    factories.make_backtest(run)
    return run


def test_the_same_specs_on_the_same_candles_have_run_before(run):
    assert equal_run(run.workspace, run.experiment.version, preset("tiny")) == run


def test_another_backtest_spec_is_another_experiment(run):
    spec = preset("tiny")
    costs = spec.backtest.costs.model_copy(update={"taker_bps": 7.0})
    backtest = spec.backtest.model_copy(update={"costs": costs})
    other = spec.model_copy(update={"backtest": backtest})
    assert equal_run(run.workspace, run.experiment.version, other) is None


def test_a_run_that_went_wrong_is_not_shown_again(run):
    run.job.status = JobStatus.FAILED
    run.job.save()
    assert equal_run(run.workspace, run.experiment.version, preset("tiny")) is None


def test_a_first_user_without_a_workspace_is_said_plainly(db):
    User.objects.create_user("lone", password=factories.PASSWORD)
    user, password = first_user()
    assert (user.username, password) == ("lone", "")
    with pytest.raises(CommandError, match="lone is a member of no workspace"):
        workspace_of(user)


class Machine:
    """A state folder of its own, and the commands a person types for it."""

    def __init__(self) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="osq-", dir="/tmp"))
        self.state.chmod(0o755)
        self.port = free_port()
        self.up: subprocess.Popen[bytes] | None = None
        self.data = self.state / "made_SYNUSDT_5m.csv"
        write_csv(self.data)

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        return subprocess.Popen(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env={
                **kept,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "OUTSAMPLE_STATE": str(self.state),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def quickstart(self, port: int) -> tuple[dict[str, object], str]:
        """The JSON that `quickstart --exit` prints, and what it said meanwhile."""
        words = ("--data", str(self.data), "--port", str(port), "--exit", "--json")
        told, said = (part.decode() for part in self.command("quickstart", *words).communicate())
        assert told, said
        return json.loads(told), said

    def start_up(self) -> str:
        self.up = self.command("up", "--port", str(self.port), "--json")
        assert self.up.stdout is not None
        return str(json.loads(self.up.stdout.readline())["address"])

    def users(self) -> list[str]:
        socket_folder = str(self.state / "run")
        with psycopg.connect(dbname="outsample", user="postgres", host=socket_folder) as link:
            return [name for (name,) in link.execute("SELECT username FROM accounts_user")]

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started for this state folder."""
        mine = f"OUTSAMPLE_STATE={self.state}".encode()
        found = []
        for process in psutil.process_iter():
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                alive = process.status() != psutil.STATUS_ZOMBIE
                names_it = any(str(self.state) in word for word in process.cmdline())
            except (psutil.Error, OSError):
                continue
            if alive and (names_it or mine in environment.split(b"\0")):
                found.append(process)
        return found

    def end(self) -> None:
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            self.up.communicate(timeout=90)
        for server in (ValkeyServer(self.state), PostgresServer(self.state)):
            if server.find_running():
                server.start()
                stop(server, within_s=20)
        for process in self.processes():
            process.kill()
        shutil.rmtree(self.state, ignore_errors=True)


def write_csv(path: Path) -> None:
    candles = synthetic_candles(days=DAYS, timeframe_minutes=5)
    columns = zip(
        (candles.time // 1_000_000_000).tolist(),
        *(getattr(candles, name).tolist() for name in ("open", "high", "low", "close", "volume")),
        strict=True,
    )
    text = io.StringIO()
    text.write("timestamp,open,high,low,close,volume\n")
    text.writelines(",".join(map(repr, row)) + "\n" for row in columns)
    path.write_text(text.getvalue())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.end()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quickstart_gives_a_verdict_and_shows_it_again_without_or_with_a_running_up(machine):
    first, said = machine.quickstart(machine.port)
    assert first["verdict"]
    assert first["sentence"]
    assert first["username"] == "owner"
    assert first["password"]
    assert not first["synthetic"]
    assert "training the preset tiny" in said
    assert machine.processes() == []

    second, said = machine.quickstart(machine.port)
    assert "its report is shown again" in said
    assert second["password"] == ""
    assert what_it_says(second) == what_it_says(first)
    assert machine.processes() == []

    address = machine.start_up()
    third, said = machine.quickstart(free_port())
    assert "using the services that run already" in said
    assert third["report"] == f"{address}{urlsplit(str(first['report'])).path}"
    assert what_it_says(third) == what_it_says(first)
    assert machine.users() == ["owner"]
    assert machine.up.poll() is None


def what_it_says(result: dict[str, object]) -> dict[str, object]:
    """The result without what differs from call to call: links, the password and the seconds."""
    varying = ("report", "run", "sign_in", "password", "seconds")
    kept = {key: value for key, value in result.items() if key not in varying}
    return kept | {"report": urlsplit(str(result["report"])).path}


@pytest.mark.parametrize(("minutes", "days"), [(1, 75), (5, 180), (60, 2160)])
def test_quickstart_takes_the_last_bars_and_days_enough_to_be_judged(minutes, days):
    bar = timedelta(minutes=minutes)
    first_at = datetime(2017, 8, 17, tzinfo=timezone.utc)
    last_at = datetime(2024, 7, 1, tzinfo=timezone.utc) - bar
    version = SimpleNamespace(first_at=first_at, last_at=last_at, bar=bar)
    assert quickstart_spec(version).data.from_at == last_at + bar - timedelta(days=days)


def test_quickstart_takes_all_of_a_shorter_version():
    bar = timedelta(hours=1)
    first_at = datetime(2023, 1, 1, tzinfo=timezone.utc)
    version = SimpleNamespace(first_at=first_at, last_at=first_at + 9000 * bar, bar=bar)
    assert quickstart_spec(version).data.from_at is None
