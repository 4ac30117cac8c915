"""The only way out to an exchange: https, public addresses, no redirects, bounded answers."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection

TIMEOUT_S = 10.0  # to connect, and between two pieces of an answer
WHOLE_ANSWER_S = 30.0
MAX_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 64 * 1024
THROTTLED = (418, 429)
TURNED_AWAY = (403, 451)
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Unanswered(Exception):
    """No usable answer, but there may be one later; `retry_after_s` where the exchange says when."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class TurnedAway(Exception):
    """An answer, or an address, with which there is nothing to try again."""


def public_addresses(host: str, port: int) -> Iterator[str]:
    """The addresses of a host. Raises TurnedAway when one of them is not on the public internet."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not is_public(address):
            raise TurnedAway(f"{host} has the address {address}, which is not a public one")
    yield from dict.fromkeys(found)


def is_public(address: str) -> bool:
    """False for loopback, private, link-local, reserved, multicast and mapped such addresses.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, NAT64) is as public as that one.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not parsed.is_multicast
    inner = parsed.ipv4_mapped or parsed.sixtofour
    if parsed in NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(str(inner))
    return parsed in GLOBAL_UNICAST and parsed.is_global


class _PublicConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        # Connected by the address that was checked: a second look-up could give another one.
        failure = OSError(f"{self.host} has no address")
        for address in public_addresses(self.host, self.port or 443):
            try:
                return socket.create_connection((address, self.port), TIMEOUT_S)
            except OSError as error:
                failure = error
        raise failure


class _PublicPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"https": _PublicPool}


class PublicSession(requests.Session):
    """A session for ccxt whose answers are JSON of at most 16 MiB, come within 30 s, or not at all.

    `test_url` is the address of a fake exchange, the only one that may be plain and local.
    Raises Unanswered for what may pass (no connection, hang, 5xx, throttling, no JSON) and TurnedAway
    for what will not (another scheme, a redirect, 403, 451, an address that is not public).
    """

    def __init__(self, test_url: str = "") -> None:
        super().__init__()
        self.trust_env = False  # no proxy and no credentials from the environment
        self.adapters.clear()
        self.mount("https://", _PublicAdapter())
        if test_url:
            self.mount(test_url, HTTPAdapter())

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # type: ignore[override]  # ccxt names what it needs
        """One request and its whole answer."""
        options |= {"allow_redirects": False, "stream": True, "timeout": TIMEOUT_S}
        try:
            with super().request(method, url, **options) as response:
                _refuse_by_status(response)
                # As requests itself does after reading; ccxt then finds the text there.
                response._content = _body(response)
                response._content_consumed = True  # type: ignore[attr-defined]  # not in the stubs
        except requests.exceptions.InvalidSchema as error:
            raise TurnedAway(f"{url} is not an https address") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}") from error
        return response


def _refuse_by_status(response: requests.Response) -> None:
    status = response.status_code
    if status in THROTTLED:
        raise Unanswered(f"HTTP {status}: too many requests", retry_after_s(response))
    if status >= 500:
        raise Unanswered(f"HTTP {status}", retry_after_s(response))
    if status in TURNED_AWAY or response.is_redirect:
        raise TurnedAway(f"HTTP {status}")


def retry_after_s(response: requests.Response) -> float | None:
    """Seconds to wait as the header Retry-After says, in seconds or as a date; None without it."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _body(response: requests.Response) -> bytes:
    deadline = time.monotonic() + WHOLE_ANSWER_S
    body = bytearray()
    while piece := response.raw.read1(PIECE_BYTES, decode_content=True):
        body += piece
        if len(body) > MAX_BYTES:
            raise TurnedAway(f"the answer has more than {MAX_BYTES // 2**20} MiB")
        if time.monotonic() > deadline:
            raise Unanswered(f"the answer took more than {WHOLE_ANSWER_S:.0f} s")
    _refuse_damaged(body)
    return bytes(body)


def _refuse_damaged(body: bytearray) -> None:
    # ccxt reads half an answer as an empty page, and its bars would be missing without a word.
    if not body.lstrip().startswith((b"{", b"[")):
        raise Unanswered("the answer is not JSON")
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unanswered(f"the answer is not whole JSON: {error}") from error
