"""What must answer before this service is ready, one check each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from threading import Thread
from typing import Any

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from embedded.lock import running_up
from jobs.models import Worker
from jobs.statuses import BEAT, Queue

FREE_BYTES_LEAST = 2**30
RECONCILER_S = 60
# Without these nothing can be answered; everything else only degrades.
NEEDED = ("database", "migrations")
# Asked only when the database answers: each would wait for it as long as any page does.
IN_DATABASE = ("migrations", "reconciler", "workers")
CONNECT_S = 2
ANSWER_S = 3.0

Check = dict[str, Any]


def readiness() -> tuple[int, dict[str, Any]]:
    """The HTTP status and the body of /readyz."""
    checks = {"database": _asked(CHECKS["database"])}
    for name, check in CHECKS.items():
        if name in IN_DATABASE and not checks["database"]["ok"]:
            checks[name] = {"ok": False, "detail": "not asked; the database does not answer"}
        elif name not in checks:
            checks[name] = _asked(check)
    down = any(not checks[name]["ok"] for name in NEEDED)
    degraded = any(not check["ok"] for check in checks.values())
    word = "unavailable" if down else "degraded" if degraded else "ok"
    return 503 if down else 200, {"status": word, "checks": checks}


def _asked(check: Callable[[], str]) -> Check:
    """A check answers an empty text when all is well, else what is wrong."""
    try:
        wrong = check()
    except (DatabaseError, OSError) as error:
        wrong = _said(error)
    return {"ok": not wrong, "detail": wrong}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'}"


def database() -> str:
    """Asks over a connection of its own; a server that is stopped keeps nobody waiting."""
    params = connection.get_connection_params() | {
        "connect_timeout": CONNECT_S,
        "options": f"-c statement_timeout={1000 * CONNECT_S}",
    }
    answers: list[str] = []

    def ask() -> None:
        try:
            with psycopg.connect(**params) as asked:
                asked.execute("SELECT 1")
        except (psycopg.Error, OSError) as error:
            answers.append(_said(error))
        else:
            answers.append("")

    asking = Thread(target=ask, name="readyz", daemon=True)
    asking.start()
    asking.join(ANSWER_S)
    return answers[0] if answers else f"no answer within {ANSWER_S:g} s"


def migrations() -> str:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(waiting)} migrations are not applied; run manage.py migrate" if waiting else ""


def broker() -> str:
    from celery import current_app
    from kombu.exceptions import OperationalError

    try:
        with current_app.connection_for_write(connect_timeout=1) as link:
            link.ensure_connection(max_retries=1, timeout=1)
    except OperationalError as error:
        return f"the broker does not answer: {error}"
    return ""


def disk() -> str:
    folder = settings.STATE if settings.STATE.exists() else settings.STATE.parent
    free = shutil.disk_usage(folder).free
    return (
        "" if free > FREE_BYTES_LEAST else f"{free / 2**30:.2f} GiB free; expected more than 1 GiB"
    )


def reconciler() -> str:
    if Worker.objects.filter(queue=BEAT).seen_within(RECONCILER_S).exists():
        return ""
    return f"not seen for {RECONCILER_S} s; is beat running?"


def workers() -> str:
    seen = Worker.objects.by_queue()
    missing = [queue.label for queue in Queue if queue.value not in seen]
    return f"no worker seen for 30 s: {', '.join(missing)}" if missing else ""


def services() -> str:
    running = running_up(settings.STATE)
    troubled = running.troubled if running else ()
    return f"keep dying: {', '.join(troubled)}; see logs/up.log" if troubled else ""


CHECKS: dict[str, Callable[[], str]] = {
    "database": database,
    "migrations": migrations,
    "broker": broker,
    "disk": disk,
    "reconciler": reconciler,
    "workers": workers,
    "services": services,
}
# Those that cost little enough for every look at the dashboard.
QUICK = {"disk": disk, "reconciler": reconciler, "workers": workers, "services": services}


def quick_look() -> dict[str, Check]:
    return {name: _asked(check) for name, check in QUICK.items()}
