import json
import os
import signal
import sys
from argparse import ArgumentParser
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from embedded.errors import CannotStart
from embedded.lock import running_up
from embedded.machine import AlreadyUp, Machine, MachineOptions, PortTaken
from embedded.service import open_log
from embedded.supervisor import Interrupted

EXIT_FAILED = 1
EXIT_PORT_TAKEN = 2
EXIT_ALREADY_UP = 3


class Command(BaseCommand):
    help = "Run everything on this machine: databases, web, workers and beat. Ctrl-C stops it."
    requires_system_checks: list[str] = []  # the database they ask for is not there yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument(
            "--json", action="store_true", help="one JSON document on stdout when ready"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._events = self.stderr if options["json"] else self.stdout
        machine = Machine(
            MachineOptions(
                state=settings.STATE,
                port=options["port"],
                runs_postgres=settings.EMBEDDED_DATABASE,
                runs_valkey=settings.EMBEDDED_BROKER,
                postgres_programs=getattr(settings, "PG_BIN_DIR", ""),
            ),
            self._say,
        )
        self._claim(machine)
        watch_signals(machine)
        try:
            failure = self._run(machine, as_json=options["json"])
        finally:
            machine.stop()
        if failure:
            self._refuse(failure, EXIT_FAILED)
        self._say("everything is stopped")

    def _claim(self, machine: Machine) -> None:
        try:
            machine.claim()
        except AlreadyUp:
            first = running_up(settings.STATE)
            what = f"pid {first.pid}, {first.address}" if first else "it is just stopping"
            self._refuse(f"Already running: {what}.", EXIT_ALREADY_UP)
        except PortTaken:
            port = machine.options.port
            self._refuse(
                f"Port {port} is taken by another program. Choose one: --port {port + 1}",
                EXIT_PORT_TAKEN,
            )
        except CannotStart as error:
            self._refuse(str(error), EXIT_FAILED)
        except OSError as error:
            self._refuse(f"Cannot start: {error}", EXIT_FAILED)

    def _run(self, machine: Machine, *, as_json: bool) -> str:
        """Run until interrupted; the reason when it could not start."""
        address = machine.options.address
        try:
            machine.start()
            self._say(f"ready at {address} (state and logs: {settings.STATE}; Ctrl-C stops)")
            if as_json:
                ready = {"pid": os.getpid(), "address": address, "state": str(settings.STATE)}
                self.stdout.write(json.dumps(ready))
                self.stdout.flush()  # a pipe would keep it until the end
            machine.supervisor.run()
        except Interrupted:
            return ""
        except CannotStart as error:
            return str(error)
        except OSError as error:
            return f"Cannot start: {error}"
        return ""

    def _say(self, text: str) -> None:
        line = f"{datetime.now(UTC):%H:%M:%S} {text}"
        # A full disk, or a reader of our output that has gone, must not end the services.
        with suppress(OSError), open_log(settings.STATE / "logs" / "up.log") as log:
            log.write(f"{line}\n".encode())
        with suppress(OSError):
            self._events.write(line)
            self._events.flush()

    def _refuse(self, reason: str, code: int) -> None:
        self.stderr.write(reason)
        sys.exit(code)


def watch_signals(machine: Machine) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        machine.supervisor.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup keeps it running
        signal.signal(signal.SIGHUP, interrupt)
