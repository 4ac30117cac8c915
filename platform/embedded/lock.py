"""One `manage.py up` per state folder, and what others may know about it."""

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunningUp:
    """The `up` that holds a state folder; `address` is empty while it is still beginning."""

    pid: int
    address: str
    is_ready: bool = False
    # Services that keep dying; `/readyz` names them.
    troubled: tuple[str, ...] = ()


class UpLock:
    """Held from the start of `up` to its end; the kernel lets go of it when `up` is killed."""

    def __init__(self, state: Path) -> None:
        self._lock = state / "up.lock"
        self._note = state / "up.json"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        # Someone who only looks (`running_up`) holds the lock for an instant; so try for a while.
        for _attempt in range(10):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._descriptor = descriptor
                self._note.unlink(missing_ok=True)
                return True
            time.sleep(0.02)
        os.close(descriptor)
        return False

    def tell(self, running: RunningUp) -> None:
        unfinished = self._note.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(running)))
        unfinished.replace(self._note)

    def release(self) -> None:
        if self._descriptor is not None:
            self._note.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def running_up(state: Path) -> RunningUp | None:
    """The `up` that runs on this state folder; None when there is none."""
    try:
        descriptor = os.open(state / "up.lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _told(state)
    finally:
        os.close(descriptor)
    return None


def _told(state: Path) -> RunningUp:
    try:
        told = json.loads((state / "up.json").read_text())
    except FileNotFoundError:
        return RunningUp(pid=0, address="")
    return RunningUp(**{**told, "troubled": tuple(told["troubled"])})
