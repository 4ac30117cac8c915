"""A running server as a stranger's program meets it: an address, a token, and plain HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import psutil

POLL_S = 0.1
JOB_S = 180.0
ENDED = frozenset({"succeeded", "failed", "errored", "cancelled"})


class Broken(AssertionError):
    """An answer that no input may ever get."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


class Server:
    """Requests with one token. Raises Broken for an answer of 500 or more."""

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> dict[str, Any]:
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise Broken(f"GET {path} answered {answer.status}: {answer.body}")
        return answer.body

    def post(self, path: str, data: object) -> Answer:
        return self.ask("POST", path, json.dumps(data).encode(), "application/json")

    def send(self, content: bytes, name: str, fields: dict[str, str]) -> Answer:
        """Upload a file with its fields for an import in one step."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'.encode()
            for key, text in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        parts += [f"{head}\r\n".encode(), content, f"\r\n--{boundary}--\r\n".encode()]
        form = f"multipart/form-data; boundary={boundary}"
        return self.ask("POST", "/api/datasets/", b"".join(parts), form)

    def ask(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> Answer:
        connection = HTTPConnection(self.host, self.port, timeout=60)
        headers = self.headers | ({"Content-Type": content_type} if content_type else {})
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 500:
            raise Broken(f"{method} {path} answered {answer.status}: {text[:200]!r}")
        return Answer(answer.status, json.loads(text or b"{}"))

    def ended(self, job: str) -> dict[str, Any]:
        """The job once it has ended."""
        deadline = time.monotonic() + JOB_S
        while (body := self.get(f"/api/jobs/{job}/"))["status"] not in ENDED:
            if time.monotonic() > deadline:
                raise Broken(f"job {job} is still {body['status']} after {JOB_S:.0f} s")
            time.sleep(POLL_S)
        return body

    def announce(
        self,
        length: int,
        path: str = "/api/datasets/",
        content_type: str = "multipart/form-data; boundary=x",
    ) -> tuple[int, float]:
        """Status and seconds of a request of which only the head is ever sent."""
        began = time.monotonic()
        with socket.create_connection((self.host, self.port), timeout=10) as link:
            head = {
                "Host": f"{self.host}:{self.port}",
                **self.headers,
                "Content-Type": content_type,
                "Content-Length": str(length),
            }
            lines = "".join(f"{name}: {text}\r\n" for name, text in head.items())
            link.sendall(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode())
            status = int(link.recv(1024).split()[1])
        return status, time.monotonic() - began


class Memory:
    """The memory of the data worker and its children, in MiB, where they run on this machine."""

    def __init__(self, worker: psutil.Process | None) -> None:
        self.worker = worker
        self.growth_mib = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note how far the memory rises while the body runs."""
        before, done = self._held_mib(), threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                self.growth_mib = max(self.growth_mib, self._held_mib() - before)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _held_mib(self) -> float:
        if self.worker is None:
            return 0.0
        held = 0
        for process in [self.worker, *self.worker.children(recursive=True)]:
            try:
                held += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return held / 2**20


def data_worker(server: Server) -> psutil.Process | None:
    """The data worker of the machine that answers at this address, if it runs here."""
    if server.host not in ("127.0.0.1", "localhost", "::1"):
        return None
    owners = [
        link.pid
        for link in psutil.net_connections("tcp")
        if link.status == psutil.CONN_LISTEN and link.laddr.port == server.port and link.pid
    ]
    for pid in owners:
        for parent in [psutil.Process(pid), *psutil.Process(pid).parents()]:
            for process in parent.children():
                command = " ".join(process.cmdline())
                if "celery" in command and "-Q data" in command:
                    return process
    return None
