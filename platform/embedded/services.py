"""The two embedded servers together, as tests use them."""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedded.ownership import prepare_state_folder
from embedded.postgres import PostgresServer, wait_until_ready
from embedded.service import Service
from embedded.valkey import ValkeyServer

# A temporary cluster need not survive a power cut.
WITHOUT_DURABILITY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True)
class ClusterUrls:
    """Where a running pair of servers answers, and the state folder it lies in."""

    database: str
    broker: str
    state: Path


@contextmanager
def temporary_cluster(folder: Path | None = None) -> Iterator[ClusterUrls]:
    """Postgres (with a database `outsample`) and Valkey until the block ends; nothing is left.

    They lie in a fresh folder inside `folder`, by default /tmp: a socket's path must be short, and
    open to the account that runs the servers. They also end when this process is killed.
    """
    state = Path(tempfile.mkdtemp(prefix="outsample-", dir=folder or "/tmp"))
    postgres = PostgresServer(state, options=WITHOUT_DURABILITY)
    valkey = ValkeyServer(state)
    postgres.on_parent_death = signal.SIGINT
    valkey.on_parent_death = signal.SIGTERM
    try:
        prepare_state_folder(state)
        for service in (postgres, valkey):
            service.start()
        for service in (postgres, valkey):
            wait_until_ready(service, within_s=60)
        postgres.make_database("outsample")
        yield ClusterUrls(postgres.url("outsample"), valkey.url, state)
    finally:
        for service in (valkey, postgres):
            stop(service, within_s=20)
        shutil.rmtree(state, ignore_errors=True)


def stop(service: Service, within_s: float) -> bool:
    """Ask the service to stop and wait; kill it when the time is over. True when it obeyed."""
    service.ask_to_stop()
    obeyed = _gone(service, within_s)
    if not obeyed:
        service.kill()
        _gone(service, 10)
    return obeyed


def _gone(service: Service, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while service.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
