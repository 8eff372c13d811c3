"""Connections: how many there may be, and how long they may be slow or idle."""

from __future__ import annotations

import resource
import socket
import time

import psutil
import pytest

from support.server import Launch, Server
from support.wait import wait_until
from support.wire import HOST, Wire, receive_all

HELLO = """
import asyncio, pathlib
from plugincore.baseplugin import BasePlugin

class Hello(BasePlugin):
    async def request_handler(self, **data):
        if "size" in data:
            return 200, "x" * int(data["size"])
        if "wait" in data:
            self.log.info("inside")
            while not pathlib.Path(data["wait"]).exists():
                await asyncio.sleep(0.005)
        return 200, {"client": data["client_ip"]}
"""

#: A request, whole.
REQUEST = b"GET /hello" + HOST + b"\r\n"

#: With it, this machine is a client like any other.
NO_PROXY = "[server]\ntrusted_proxies = none\n"


def seconds_until_closed(connection: socket.socket) -> tuple[float, bytes]:
    """Wait for the end of a connection; return how long that took and what came."""
    begun = time.monotonic()
    received = receive_all(connection)
    return time.monotonic() - begun, received


def test_a_head_has_a_time_from_its_first_byte_on(launch: Launch) -> None:
    """However often a byte comes; then it is a 408. On a new connection, and on one that has served already."""
    server = launch({"hello": HELLO}, ini_more="[limits]\nhead_time = 400ms\nidle_time = 30s\n")
    for before in (b"", REQUEST):
        with Wire(server) as wire:
            if before:
                wire.send(before)
                assert 200 == wire.answer().status
            wire.socket.settimeout(0.05)
            begun = time.monotonic()
            for byte in REQUEST:
                wire.send(bytes([byte]))
                try:
                    if wire.socket.recv(1, socket.MSG_PEEK):
                        break
                except TimeoutError:
                    pass
            assert 0.4 <= time.monotonic() - begun
            wire.socket.settimeout(10)
            answer = receive_all(wire.socket)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"request line and headers took too long to arrive" in answer


def test_a_head_may_take_longer_than_a_connection_may_be_idle(launch: Launch) -> None:
    """Its own time counts from its first byte on; afterwards that of an idle connection counts again."""
    server = launch({"hello": HELLO}, ini_more="[limits]\nhead_time = none\nidle_time = 300ms\n")
    with Wire(server) as wire:
        wire.send(REQUEST[:5])
        wire.socket.settimeout(0.7)
        with pytest.raises(TimeoutError):
            wire.socket.recv(1)
        wire.socket.settimeout(10)
        wire.send(REQUEST[5:])
        assert 200 == wire.answer().status
        taken, received = seconds_until_closed(wire.socket)
    assert b"" == received
    assert 0.25 <= taken < 5


def test_an_idle_connection_closes_without_a_word(launch: Launch) -> None:
    """A new one that sends nothing, one that has served, and one that sends nothing but empty lines."""
    server = launch({"hello": HELLO}, ini_more="[limits]\nidle_time = 300ms\nhead_time = 30s\n")
    for before in (b"", REQUEST, b"\r\n"):
        with Wire(server) as wire:
            wire.send(before)
            if before == REQUEST:
                assert 200 == wire.answer().status
            taken, received = seconds_until_closed(wire.socket)
        assert b"" == received
        assert 0.25 <= taken < 5


def test_no_idle_time_keeps_connections_open(launch: Launch) -> None:
    """With `none`; the time of a head counts nevertheless."""
    server = launch({"hello": HELLO}, ini_more="[limits]\nidle_time = none\nhead_time = 200ms\n")
    with Wire(server) as wire:
        wire.socket.settimeout(0.6)
        with pytest.raises(TimeoutError):
            wire.socket.recv(1)
        wire.socket.settimeout(10)
        wire.send(REQUEST)
        assert 200 == wire.answer().status
        wire.send(REQUEST[:-1])
        assert receive_all(wire.socket).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_takes_nothing_of_its_response_is_cut_off(launch: Launch) -> None:
    """The connection closes, and what is left of the response is dropped."""
    server = launch({"hello": HELLO}, ini_more="[limits]\nsend_idle_time = 300ms\n")
    with Wire(server) as wire:
        wire.send(b"GET /hello?size=30000000" + HOST + b"\r\n")
        server.wait_for('DEBUG - plugincore - connection ended error="error writing')
        assert len(receive_all(wire.socket)) < 30_000_000


def test_there_are_only_so_many_connections(launch: Launch) -> None:
    """More are answered with 503, and the log says so once a minute; a place is free again when its connection ends."""
    server = launch({"hello": HELLO}, ini_more="[limits]\nconnections = 3\n")
    held = [server.connect() for _ in range(3)]
    for connection in held:
        connection.sendall(REQUEST)
        assert connection.recv(12) == b"HTTP/1.1 200"
    for _ in range(5):
        with Wire(server) as wire:
            wire.send(REQUEST)
            answer = wire.answer()
            assert (503, "1") == (answer.status, answer.headers["retry-after"])
            assert "there are too many connections; try again" == answer.error
    server.wait_for("WARN - plugincore - too many connections: 1 refused, since there are 3 already")
    assert 1 == server.log.count("too many connections: ")
    held.pop().close()
    wait_until(lambda: 200 == server.get("/hello").status_code)
    for connection in held:
        connection.close()


def test_a_client_has_only_so_many_connections(launch: Launch) -> None:
    """Unless it is a trusted proxy, as this machine is by default."""
    server = launch({"hello": HELLO}, ini_more=f"{NO_PROXY}[limits]\nconnections_per_client = 2\n")
    held = [server.connect() for _ in range(2)]
    for connection in held:
        connection.sendall(REQUEST)
        assert connection.recv(12) == b"HTTP/1.1 200"
    with Wire(server) as wire:
        wire.send(REQUEST)
        assert 503 == wire.answer().status
    server.wait_for(
        r"WARN - plugincore - too many connections: 1 refused, the last from 127\.0\.0\.1, which has 2 already"
    )
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        other.settimeout(10)
        other.connect(("127.0.0.1", server.port))
        other.sendall(REQUEST)
        assert other.recv(12) == b"HTTP/1.1 200"
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text().replace("trusted_proxies = none", "trusted_proxies = 127.0.0.1"))
    held.pop().close()
    wait_until(lambda: 200 == server.get("/hello").status_code)
    assert 200 == server.get("/reload/all").status_code
    more = [server.connect() for _ in range(4)]
    for connection in more:
        connection.sendall(REQUEST)
        assert connection.recv(12) == b"HTTP/1.1 200"
    for connection in held + more:
        connection.close()


def test_a_flood_of_connections_leaves_descriptors_free(launch: Launch) -> None:
    """There are never more than the process has descriptors for; nothing spins, and everything is as before then."""
    server = launch({"hello": HELLO})
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (120, hard))
    assert 200 == server.get("/reload/all").status_code
    process = psutil.Process(server.process.pid)
    connections = []
    for _ in range(200):
        connection = server.connect()
        connection.sendall(REQUEST)
        connections.append(connection)
    assert [connection.recv(12) for connection in connections[:50]] == [b"HTTP/1.1 200"] * 50
    server.wait_for("too many connections: .* refused, since there are 56 already")
    assert process.num_fds() < 120
    assert "cannot accept connections" not in server.log
    wait_until(lambda: process.cpu_percent(0.3) < 30)
    for connection in connections:
        connection.close()
    wait_until(lambda: 200 == server.get("/hello").status_code)


def test_a_client_has_only_so_many_requests_at_a_time(launch: Launch) -> None:
    """Others are not concerned, also behind the same proxy."""
    server = launch({"hello": HELLO}, ini_more="[limits]\nin_flight_per_client = 2\n")
    waiting = [Wire(server) for _ in range(2)]
    for wire in waiting:
        since = len(server.lines)
        wire.send(b"GET /hello?wait=go" + HOST + b"X-Forwarded-For: 2001:db8::1\r\n\r\n")
        server.wait_for("inside", since)
    assert 503 == forwarded(server, "2001:db8::2")
    assert 200 == forwarded(server, "2001:db8:0:1::1")
    (server.folder / "go").touch()
    for wire in waiting:
        assert 200 == wire.answer().status
        wire.close()
    assert 200 == forwarded(server, "2001:db8::2")


def forwarded(server: Server, client: str) -> int:
    """Make a request for a client behind a proxy; return the status."""
    return server.get("/hello", headers={"X-Forwarded-For": client}).status_code
