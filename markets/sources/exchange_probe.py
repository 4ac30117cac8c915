"""Which exchanges can be reached at all, told within seconds and without loading ccxt."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Mapping

Place = tuple[str, int]
"""Host and port."""

# Those with long histories of BTC/USDT, in the order in which the quickstart asks them.
PLACES: dict[str, Place] = {
    "binance": ("api.binance.com", 443),
    "kucoin": ("api.kucoin.com", 443),
    "coinbase": ("api.coinbase.com", 443),
}


def reachable(places: Mapping[str, Place], within_s: float) -> list[str]:
    """The names of the places that take a connection within so many seconds, in their order.

    All are tried at once. Nothing is sent; one that cannot be looked up or connected is left out.
    """
    answers: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()

    def try_one(name: str, place: Place) -> None:
        answers.put((name, _connects(place, within_s)))

    for name, place in places.items():
        # A look-up that hangs cannot be stopped, so nobody waits for its thread.
        threading.Thread(target=try_one, args=(name, place), daemon=True).start()
    found: dict[str, bool] = {}
    deadline = time.monotonic() + within_s
    while len(found) < len(places):
        try:
            name, connects = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[name] = connects
    return [name for name in places if found.get(name)]


def _connects(place: Place, within_s: float) -> bool:
    try:
        socket.create_connection(place, within_s).close()
    except OSError:
        return False
    return True
