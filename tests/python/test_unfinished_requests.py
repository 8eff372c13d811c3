"""Requests of which only a part has arrived when a stop begins."""

from __future__ import annotations

import signal

from support.server import Launch
from support.wire import HOST, Wire

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Hello(BasePlugin):
    async def request_handler(self, **data):
        return {"hello": "world"}
"""
#: Longer than any wait of a test.
TIMES = "[server]\nread_timeout = 300s\nshutdown_timeout = 300s\n"


def test_the_rest_of_a_head_does_not_hold_up_a_stop(launch: Launch) -> None:
    """The client gets a 408, though it would have had longer otherwise, and the server ends in order."""
    server = launch({"hello": PLUGIN}, ini_more=TIMES)
    with Wire(server) as wire:
        wire.send(b"GET /hello HTTP/1.1\r\nHos")
        # It has been read when another request is answered that was sent later.
        assert 200 == server.get("/hello").status_code
        server.send(signal.SIGTERM)
        answer = wire.answer()
        assert (408, "close") == (answer.status, answer.headers["connection"])
        assert wire.is_closed()
    assert 0 == server.wait()


def test_a_connection_that_has_served_is_closed_though_a_head_has_begun(launch: Launch) -> None:
    """It counts as idle, as for every client that keeps connections: the request can be sent again elsewhere."""
    server = launch({"hello": PLUGIN}, ini_more=TIMES)
    with Wire(server) as wire:
        assert 200 == wire.ask(b"GET /hello" + HOST + b"\r\n").status
        wire.send(b"GET /hello HTTP/1.1\r\nHos")
        assert 200 == server.get("/hello").status_code
        server.send(signal.SIGTERM)
        assert wire.is_closed()
    assert 0 == server.wait()


def test_a_head_that_arrives_in_time_is_answered(launch: Launch) -> None:
    """The client of a request that was on its way when the stop began gets its answer."""
    server = launch({"hello": PLUGIN}, ini_more=TIMES)
    with Wire(server) as wire:
        wire.send(b"GET /hello HTTP/1.1\r\n")
        assert 200 == server.get("/hello").status_code
        server.send(signal.SIGTERM)
        server.wait_for("Received SIGTERM")
        wire.send(b"Host: localhost\r\n\r\n")
        assert 200 == wire.answer().status
        assert wire.is_closed()
    assert 0 == server.wait()
