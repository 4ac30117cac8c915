"""A real HTTP server on loopback that answers as Binance's public spot API does, with planted faults."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from markets.candles.frame import Candles

LISTED = ("BTC/USDT", "ETH/USDT", "BTC/EUR", "SOL/USDT")
INTERVAL_MS = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
KLINES = "/api/v3/klines"
CUT_AFTER = 200


@dataclass(frozen=True)
class Status:
    """An answer by status alone."""

    code: int
    retry_after: str = ""


@dataclass(frozen=True)
class Asked:
    """One request: path, query and when it came, in seconds of a monotonic clock."""

    path: str
    query: dict[str, str]
    at: float


@dataclass
class FakeExchange:
    """What the exchange has, and how it misbehaves.

    `faults` maps the number of a request for candles (from 1) to a Status or one of: short, empty,
    reversed, unsorted, changed, html, cut, half (cut where no length was told), hang, redirect,
    huge, bomb (packed twice). `page_bars` is at most so many
    bars in an answer, as asked when 0. `windowed`: an answer ends one page after its start even
    where no bars are. The last bar of `candles` is still running when `now_ms` says so.
    """

    candles: Candles
    now_ms: int
    faults: Mapping[int, Status | str] = field(default_factory=dict)
    page_bars: int = 0
    windowed: bool = False
    hang_s: float = 30.0
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def pages(self) -> list[Asked]:
        """The requests for candles."""
        return [asked for asked in self.asked if asked.path == KLINES]

    @property
    def starts(self) -> list[int]:
        """The first open time of each request for candles, in ms."""
        return [int(asked.query["startTime"]) for asked in self.pages]

    def klines(self, query: Mapping[str, str]) -> list[list[Any]]:
        bar_ms = INTERVAL_MS[query["interval"]]
        assert bar_ms == self.candles.bar_ns // 1_000_000
        times = self.candles.time // 1_000_000
        start, limit = int(query["startTime"]), int(query["limit"])
        limit = min(limit, self.page_bars or limit)
        wanted = times >= start
        if self.windowed:
            wanted &= times < start + limit * bar_ms
        return [self._kline(index, bar_ms) for index in wanted.nonzero()[0][:limit].tolist()]

    def _kline(self, index: int, bar_ms: int) -> list[Any]:
        at = int(self.candles.time[index]) // 1_000_000
        names = ("open", "high", "low", "close", "volume")
        cells = [repr(float(getattr(self.candles, name)[index])) for name in names]
        return [at, *cells, at + bar_ms - 1, "0", 1, "0", "0", "0"]


@contextmanager
def serving(exchange: FakeExchange) -> Iterator[FakeExchange]:
    """Serve on a free port of loopback until the block ends."""

    class Bound(_Handler):
        fake = exchange

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    exchange.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield exchange
    finally:
        exchange.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeExchange

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.fake.asked.append(Asked(parts.path, query, time.monotonic()))
        if parts.path == KLINES:
            self._candles(query)
            return
        known = {
            "/api/v3/time": {"serverTime": self.fake.now_ms},
            "/api/v3/exchangeInfo": {"symbols": [_listed(symbol) for symbol in LISTED]},
        }
        found = known.get(parts.path)
        self._send(json.dumps(found).encode(), 200 if found else 404)

    def _candles(self, query: Mapping[str, str]) -> None:
        fault = self.fake.faults.get(len(self.fake.pages))
        if isinstance(fault, Status):
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            refused = {"code": -1121, "msg": "Invalid symbol."}
            self._send(json.dumps(refused).encode(), fault.code, headers)
            return
        rows = self.fake.klines(query)
        match fault:
            case "short":
                rows = rows[: max(2, len(rows) // 3)]
            case "empty":
                rows = []
            case "reversed":
                rows.reverse()
            case "unsorted":
                rows = rows[1::2] + rows[::2]
            case "changed":
                rows[0][5] = "7.25"
            case "hang":
                self.fake.released.wait(self.fake.hang_s)
        body = json.dumps(rows).encode()
        if fault == "html":
            self._send(b"<!doctype html><title>Just a moment</title>", 200)
        elif fault == "redirect":
            self._send(b"", 302, {"Location": f"{self.fake.url}/elsewhere"})
        elif fault == "huge":
            self._send(b"[" + b" " * (17 * 2**20) + b"]", 200)
        elif fault == "bomb":
            packed = gzip.compress(gzip.compress(bytes(64 * 2**20)))
            self._send(packed, 200, {"Content-Encoding": "gzip, gzip"})
        elif fault == "half":
            self._send(body[:CUT_AFTER], 200, {"Content-Length": None, "Connection": "close"})
            self.close_connection = True
        elif fault == "cut":
            self._send(body[:CUT_AFTER], 200, {"Content-Length": str(len(body))})
            self.close_connection = True
        else:
            self._send(body, 200)

    def _send(
        self, body: bytes, status: int, headers: Mapping[str, str | None] | None = None
    ) -> None:
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        try:
            self.send_response(status)
            for name, value in {**sent, **(headers or {})}.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client has given up, as it should

    def log_message(self, *arguments: Any) -> None:
        pass


def _listed(symbol: str) -> dict[str, Any]:
    base, quote = symbol.split("/")
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "filters": [],
    }
