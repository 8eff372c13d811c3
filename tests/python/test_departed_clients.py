"""Clients that go while bytes of theirs are unread: their requests end, and their places are free for others."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Iterator

import pytest
import trustme

from support.server import Server, serving
from support.wait import wait_until
from support.websocket import BINARY, frame, handshake_lines
from support.wire import HOST, Wire, ask, receive_all

PLACES = 3

PLUGIN = """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin
from plugincore.responses import EventSource, StreamingResponse

class Endless(BasePlugin):
    inside = 0

    async def pieces(self):
        yield b"first"
        await asyncio.Event().wait()

    async def events(self):
        yield {"data": "first"}
        await asyncio.Event().wait()

    async def request_handler(self, **data):
        what = data["subpath"]
        if what == "short":
            await asyncio.sleep(0.05)
            return {"number": data["number"]}
        type(self).inside += 1
        self.log(f"{what}: in")
        try:
            if what == "stream":
                return StreamingResponse(self.logged(self.pieces(), what))
            if what == "events":
                return EventSource(self.logged(self.events(), what), ping=None)
            if what == "aiohttp":
                response = web.StreamResponse()
                await response.prepare(data["request"])
                await response.write(b"first")
            if what == "socket":
                response = web.WebSocketResponse()
                await response.prepare(data["request"])
                await response.send_str("first")
            await asyncio.Event().wait()
        finally:
            if what not in ("stream", "events"):
                self.log(f"{what}: out")

    async def logged(self, source, what):
        try:
            async for piece in source:
                yield piece
        finally:
            self.log(f"{what}: out")
"""

LIMITS = f"[server]\nmax_in_flight_per_plugin={PLACES}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with few places."""
    with serving(tmp_path_factory.mktemp("departed"), {"endless": PLUGIN}, LIMITS) as running:
        yield running


AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the same over TLS."""
    folder = tmp_path_factory.mktemp("secure")
    pair = AUTHORITY.issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    (folder / "key.pem").write_bytes(pair.private_key_pem.bytes())
    tls = "[SSL]\nenabled=bool:true\ncertfile=cert.pem\nkeyfile=key.pem\n"
    with serving(folder, {"endless": PLUGIN}, LIMITS + tls) as running:
        yield running


def connect(server: Server) -> socket.socket:
    """Return a connection, encrypted if that is what the server speaks."""
    connection = server.connect()
    if server.base_url.startswith("https"):
        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        return context.wrap_socket(connection, server_hostname="127.0.0.1")
    return connection


def reset(connection: socket.socket) -> None:
    """Close a connection by force."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


NEXT = b"GET /endless/short?number=1" + HOST + b"\r\n"
#: More than any buffer of the server or of the system takes of what it does not read.
MUCH = b"POST /endless/short" + HOST + b"Content-Length: 900000\r\n\r\n" + b"x" * 900000

BEHIND = {"an empty line": b"\r\n", "half a request": NEXT[:9], "a request": NEXT, "requests": NEXT * 500}
KINDS = ["stream", "events", "aiohttp"]


def leave(server: Server, kind: str, behind: bytes, *, by_force: bool = False) -> None:
    """Take every place of the plugin, send something more on each connection, and go."""
    since = len(server.lines)
    connections = []
    for _ in range(PLACES):
        connection = connect(server)
        connections.append(connection)
        connection.sendall(f"GET /endless/{kind}".encode() + HOST + b"\r\n" + behind)
    wait_until(lambda: count(server, rf"{kind}: in", since) == PLACES)
    with Wire(connect(server)) as late:
        assert 503 == late.ask(NEXT).status
    for connection in connections:
        if by_force:
            reset(connection)
        else:
            connection.close()
    wait_until(lambda: count(server, rf"{kind}: out", since) == PLACES)
    with Wire(connect(server)) as late:
        assert 200 == late.ask(NEXT).status


def count(server: Server, pattern: str, since: int) -> int:
    """Return how many lines of the log match."""
    return sum(bool(re.search(pattern, line)) for line in server.lines[since:])


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_goes_frees_its_place_whatever_it_sent_before(server: Server, kind: str, behind: str) -> None:
    """The end is seen behind the bytes, too, which are not read while the answer is on its way."""
    leave(server, kind, BEHIND[behind])


@pytest.mark.parametrize("kind", KINDS)
def test_so_does_one_that_is_cut_off(server: Server, kind: str) -> None:
    """By a reset."""
    leave(server, kind, NEXT, by_force=True)


@pytest.mark.parametrize("behind", ["an empty line", "a request"])
def test_so_does_one_over_tls(secure: Server, behind: str) -> None:
    """Whose bytes may lie between the layers."""
    leave(secure, "stream", BEHIND[behind])


def test_so_does_one_that_has_sent_more_than_any_buffer_holds(server: Server) -> None:
    """The system reports the end although it has bytes that are not read."""
    since = len(server.lines)
    connection = server.connect()
    connection.sendall(b"GET /endless/stream" + HOST + b"\r\n")
    server.wait_for("stream: in", since)
    connection.setblocking(False)
    try:
        while connection.send(MUCH):
            pass
    except BlockingIOError:
        pass
    reset(connection)
    server.wait_for("stream: out", since)


def test_what_is_answered_soon_is_answered_though_the_client_has_finished_sending(server: Server) -> None:
    """A client may end its own side with its last request, and gets every answer that does not take long."""
    requests = b"".join(f"GET /endless/short?number={n}".encode() + HOST + b"\r\n" for n in range(4))
    with server.connect() as connection:
        connection.sendall(requests + b"GET /nowhere" + HOST + b"Connection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        received = receive_all(connection)
    assert ["0", "1", "2", "3"] == re.findall(r'"number": "(\d)"', received.decode())
    assert 5 == received.count(b"HTTP/1.1 ")


@pytest.mark.parametrize("path", ["/endless/short?number=7", "/-/healthy", "/-/ready"])
def test_one_request_is_answered_so_too(server: Server, path: str) -> None:
    """Native answers and those of plugins alike."""
    for _ in range(5):
        received = server.raw(f"GET {path}".encode() + HOST + b"\r\n")
        assert received.startswith(b"HTTP/1.1 200 OK\r\n"), received


def test_a_client_that_stays_keeps_its_answer_whatever_it_has_sent(server: Server) -> None:
    """For as long as it is there, several times the period in which the server looks."""
    since = len(server.lines)
    with server.connect() as connection:
        connection.sendall(b"GET /endless/stream" + HOST + b"\r\n" + NEXT)
        received = b""
        while b"first" not in received:
            received += connection.recv(4096)
        connection.settimeout(1.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert 0 == count(server, "stream: out", since)
    server.wait_for("stream: out", since)


def test_a_web_socket_whose_handler_never_reads_is_told_that_its_client_is_gone(server: Server) -> None:
    """Although more has come than the server takes before the handler reads."""
    with server.connect() as connection:
        connection.sendall(b"GET /endless/socket" + HOST + handshake_lines() + b"\r\n")
        received = b""
        while b"first" not in received:
            received += connection.recv(4096)
        connection.setblocking(False)
        message = frame(BINARY, b"x" * 1000)
        try:
            while connection.send(message):
                pass
        except BlockingIOError:
            pass
    wait_until(lambda: ask(server, NEXT).status == 200)
