"""The worker process as the product sees it: its identity, its slots, and whether it is draining."""

from __future__ import annotations

import logging
import mmap
import os
import socket
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import signals
from django.db import Error, connection
from django.db.models.functions import Now

from jobs.claim import Claimant
from jobs.models import Worker
from jobs.statuses import BEAT, Queue

logger = logging.getLogger(__name__)
SEEN_EVERY_S = 10.0

# Made before the fork, so that all children of one worker share them. A plain shared byte instead
# of an Event: an Event's lock could be left held for ever by a child that is killed inside it.
WORKER_ID = uuid.uuid4()
_draining = mmap.mmap(-1, 1)


def claimant() -> Claimant:
    return Claimant(worker=WORKER_ID, host=socket.gethostname(), pid=os.getpid())


def is_draining() -> bool:
    return _draining[0] == 1


def set_draining(value: bool = True) -> None:
    _draining[0] = int(value)


def connect_signals() -> None:
    """Let Celery's worker and beat processes announce themselves. Nothing happens in the web."""
    signals.celeryd_after_setup.connect(_worker_set_up, weak=False, dispatch_uid="jobs.worker")
    signals.worker_shutting_down.connect(_worker_stops, weak=False, dispatch_uid="jobs.drain")
    signals.beat_init.connect(_beat_starts, weak=False, dispatch_uid="jobs.beat")


def _worker_set_up(instance: Any, **_: Any) -> None:  # Any: Celery's own objects
    queues = set(instance.app.amqp.queues.consume_from) & set(Queue.values)
    slots = int(instance.concurrency or 1)
    for queue in sorted(queues):
        row_id = WORKER_ID if len(queues) == 1 else uuid.uuid5(WORKER_ID, queue)
        _in_thread("worker-seen", partial(seen, row_id, queue, slots))


def _worker_stops(**_: Any) -> None:  # Any: Celery's own objects
    set_draining()


def _beat_starts(**_: Any) -> None:  # Any: Celery's own objects
    from jobs.reconciler import reconcile_forever

    threading.Thread(target=reconcile_forever, name="reconciler", daemon=True).start()


def _in_thread(name: str, tick: Callable[[], None]) -> None:
    threading.Thread(target=_every_10_s, args=(tick,), name=name, daemon=True).start()


def _every_10_s(tick: Callable[[], None]) -> None:
    pause = threading.Event()
    while True:
        try:
            tick()
        except Error as error:
            logger.warning("worker row not written: %s", error)
        finally:
            connection.close()
        pause.wait(SEEN_EVERY_S)


def seen(row_id: uuid.UUID, queue: str, slots: int) -> None:
    """Write that this worker is alive now."""
    values = {
        "queue": queue,
        "host": socket.gethostname(),
        "slots": slots,
        "seen_at": Now(),
        "draining": is_draining(),
    }
    Worker.objects.update_or_create(id=row_id, defaults=values)


def beat_seen() -> None:
    seen(WORKER_ID, BEAT, 1)
