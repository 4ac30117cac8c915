from __future__ import annotations

import socket
import time

from markets.sources.exchange_probe import reachable


def test_places_that_take_a_connection_are_named_in_order():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but it does not listen
        places = {
            "refused": closed.getsockname(),
            "first": server.getsockname(),
            "unknown": ("no-such-host.invalid", 443),
            "second": server.getsockname(),
        }
        assert reachable(places, 5.0) == ["first", "second"]


def test_look_up_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *arguments: time.sleep(30))
    began = time.monotonic()
    assert reachable({"hangs": ("example.com", 443)}, 0.2) == []
    assert time.monotonic() - began < 5
