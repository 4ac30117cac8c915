"""The embedded Valkey: the broker of one machine, on one socket, with an append-only file."""

import os
import re
import signal
import socket
from pathlib import Path

import psutil

from embedded.binaries import valkey_program
from embedded.ownership import make_server_folder
from embedded.postgres import ENVIRONMENT, check_socket_length
from embedded.processes import running_process
from embedded.service import Service


class ValkeyServer(Service):
    """Lives on when its supervisor is killed, and is adopted by the next one."""

    on_parent_death: signal.Signals | None = None
    drops_root = True
    is_database = True
    environment = ENVIRONMENT
    working_folder = "/"

    def __init__(self, state: Path) -> None:
        state = state.absolute()
        super().__init__("valkey", [], state / "logs" / "valkey.log")
        self.folder = state / "valkey"
        self.socket = self.folder / "valkey.sock"
        self._copies = state / "pgbin"

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}"

    def find_running(self) -> psutil.Process | None:
        found = re.search(rb"process_id:(\d+)", self._ask(b"INFO server"))
        return running_process(int(found.group(1))) if found else None

    def prepare(self) -> None:
        check_socket_length(self.socket)
        program = valkey_program(self._copies)
        make_server_folder(self.folder)
        self.arguments = [
            str(program),
            *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ]

    def is_ready(self) -> bool:
        return self._ask(b"PING").startswith(b"+PONG")

    def _ask(self, command: bytes) -> bytes:
        """The start of the server's answer; empty when nobody answers within a second."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(os.fspath(self.socket))
                connection.sendall(command + b"\r\n")
                return connection.recv(4096)
        except OSError:
            return b""
