from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings
from django.db import connection

from accounts.models import Membership, User, Workspace
from jobs.models import Job, JobAttempt
from jobs.services import enqueue
from jobs.statuses import JobKind, Queue

ROOT = Path(__file__).resolve().parents[3]
APP = "tests.jobs.faults.fake_app"


def wait_for(what, within_s: float = 30.0, every_s: float = 0.1):
    """The first true answer of `what`, or a failure that names the time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(every_s)
    raise AssertionError(f"did not happen within {within_s:.0f} s")


class Processes:
    """Worker and beat processes of one test, with short times; ended by pid at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen] = []
        cluster = os.environ["OUTSAMPLE_TEST_DATABASE"]
        name = connection.settings_dict["NAME"]
        url = cluster.replace(urlsplit(cluster).path + "?", f"/{name}?", 1)
        self.environment = {
            **os.environ,
            "DATABASE_URL": url,
            "CELERY_BROKER_URL": settings.CELERY_BROKER_URL,
            "OUTSAMPLE_STATE": str(folder),
            "OUTSAMPLE_LEASE_S": "4",
            "OUTSAMPLE_HEARTBEAT_S": "1",
            "OUTSAMPLE_RECONCILE_S": "1",
            "OUTSAMPLE_TEST_HOOKS": "1",
        }

    def worker(self, **environment: str) -> subprocess.Popen:
        arguments = ["worker", "-Q", "training", "-c", "1", "-O", "fair", "-l", "WARNING"]
        return self._start([*arguments, "-n", f"w{len(self.started)}@%h"], environment)

    def beat(self) -> subprocess.Popen:
        return self._start(["beat", "-s", str(self.folder / "schedule"), "--pidfile="], {})

    def _start(self, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen:
        log = (self.folder / f"{arguments[0]}-{len(self.started)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", APP, *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def kill_tree(self, process: subprocess.Popen) -> None:
        for member in _tree(process.pid):
            _signal(member.pid, signal.SIGKILL)
        process.wait(timeout=10)

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                self.kill_tree(process)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def trainers() -> list[int]:
    """The pids of the living fake trainers on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and (
            "tests.jobs.faults.fake_trainer" in line
        ):
            found.append(process.pid)
    return found


@pytest.fixture
def processes(transactional_db, tmp_path):
    group = Processes(tmp_path)
    yield group
    group.end()
    wait_for(lambda: not trainers(), 10)


@pytest.fixture
def alice(transactional_db) -> User:
    return User.objects.create(username="alice")


@pytest.fixture
def launch(alice):
    workspace = Workspace.objects.create(name="Alice's")
    Membership.objects.create(workspace=workspace, user=alice)

    def launch() -> Job:
        return enqueue(
            workspace=workspace, created_by=alice, kind=JobKind.EXPORT, queue=Queue.TRAINING
        )

    return launch


@pytest.fixture
def ended():
    def ended(job: Job, within_s: float = 40.0) -> Job:
        return wait_for(
            lambda: Job.objects.filter(pk=job.pk, ended_at__isnull=False).first(), within_s
        )

    return ended


@pytest.fixture
def at_checkpoint():
    """The open attempt of a job once it has a trainer and a checkpoint of at least this step."""

    def at(job: Job, step: int = 10, within_s: float = 30.0) -> JobAttempt:
        rows = JobAttempt.objects.filter(
            job=job, ended_at=None, trainer_pid__isnull=False, checkpoint_step__gte=step
        )
        return wait_for(rows.first, within_s)

    return at
