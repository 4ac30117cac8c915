"""One process that is kept running: started as a direct child, or found running and adopted."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from embedded.ownership import account_options
from embedded.processes import dies_with_parent

LOG_BYTES_KEPT = 5 * 1024 * 1024


class Service:
    """A command with a log file. Its group is its own, so Ctrl-C in the shell never reaches it."""

    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL
    # What it gets when the supervisor vanishes; None lets it live on to be adopted.
    on_parent_death: signal.Signals | None = signal.SIGTERM
    drops_root = False
    is_database = False
    environment: Mapping[str, str] | None = None
    working_folder: str | None = None

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.log = log
        self.environment = environment or self.environment
        self._child: subprocess.Popen[bytes] | None = None
        self._adopted: psutil.Process | None = None

    @property
    def pid(self) -> int | None:
        holder = self._child or self._adopted
        return holder.pid if holder else None

    @property
    def is_adopted(self) -> bool:
        return self._adopted is not None

    def find_running(self) -> psutil.Process | None:
        """A process of an earlier supervisor that can be taken over."""
        return None

    def prepare(self) -> None:
        """What must be in place before the program starts."""

    def is_ready(self) -> bool:
        return self.is_alive()

    def start(self) -> None:
        """Take over what runs, else start the program. Call it from the main thread."""
        self._child = None
        self._adopted = self.find_running()
        if self._adopted is not None:
            return
        self.prepare()
        tie = dies_with_parent(self.on_parent_death) if self.on_parent_death else None
        account = account_options() if self.drops_root else {}
        with open_log(self.log) as log:
            self._child = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.working_folder,
                env=self.environment,
                start_new_session=True,
                preexec_fn=tie,
                **account,
            )

    def is_alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        if self._adopted is None:
            return False
        try:
            return self._adopted.is_running() and self._adopted.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def ask_to_stop(self) -> None:
        self._signal(self.stop_signal)

    def kill(self) -> None:
        """End it now, with everything in its process group."""
        if self.is_alive():
            self.kill_rest()

    def kill_rest(self) -> None:
        """End what is left of its process group, also after its own end (a worker's children)."""
        if self.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, self.kill_signal)

    def ending(self) -> str:
        """How it ended, with the last line it wrote."""
        code = self._child.returncode if self._child is not None else None
        if code is None:
            how = "ended"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        line = last_line(self.log)
        return f'{how} (last line: "{line}")' if code and line else how

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive() and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def open_log(path: Path) -> BinaryIO:
    """Open for appending; a long one is first set aside as `.1`."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES_KEPT:
            path.replace(path.with_suffix(path.suffix + ".1"))
    return path.open("ab")


def last_line(path: Path, most: int = 300) -> str:
    """The last line with text in a log; empty when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:most] for line in reversed(lines) if line.strip()), "")
