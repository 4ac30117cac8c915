"""What the process table says, and the tie between a child and its parent."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1


def dies_with_parent(by: signal.Signals) -> Callable[[], None]:
    """What a child runs before its program so that the kernel signals it when its parent is gone.

    The tie is to the thread that forks, so services are started from the main thread only.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def tie() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, int(by), 0, 0, 0)
        if os.getppid() != parent:  # it died before the tie was made
            os._exit(1)

    return tie


def running_process(pid: int) -> psutil.Process | None:
    """The live process of that id; None when there is none or only a zombie is left."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.Error:
        return None


def works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether the process has `folder` as its working folder (or names it, where that is hidden)."""
    try:
        return Path(process.cwd()) == folder.resolve()
    except psutil.AccessDenied:
        return names_folder(process, folder)
    except psutil.Error:
        return False


def names_folder(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in process.cmdline()
    except psutil.Error:
        return False


def wait_until_nobody_works_in(folder: Path, within_s: float) -> list[int]:
    """The ids of processes still working in `folder` when the time is over; empty as soon as none."""
    deadline = time.monotonic() + within_s
    while True:
        left = [process.pid for process in psutil.process_iter() if works_in(process, folder)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.05)
