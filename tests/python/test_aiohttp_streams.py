"""Answers that a plugin streams with aiohttp's objects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.server import Launch, Server, serving
from support.wire import receive_all

STREAM = """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin

class Stream(BasePlugin):
    gate = asyncio.Event()
    kept = []

    async def request_handler(self, **data):
        request = data["request"]
        return await getattr(self, data["subpath"])(request)

    async def written(self, request):
        response = web.StreamResponse(status=201, reason="Made Up", headers={"X-Mine": "1"})
        response.content_type = "text/plain"
        response.set_cookie("a", "1", path="/p", httponly=True)
        await response.prepare(request)
        await response.write(b"first ")
        await self.gate.wait()
        await response.write(memoryview(b"second"))
        await response.write_eof(b" last")
        return response

    async def open(self, request):
        self.gate.set()
        return {"open": True}

    async def endless(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            self.log("the handler ended")

    async def parting(self, request):
        response = web.StreamResponse(headers={"Content-Type": request.query["type"]})
        await response.prepare(request)
        await response.write(b"now")
        try:
            await asyncio.Event().wait()
        finally:
            self.log("the handler writes once more")
            await response.write(b"good-bye")

    async def quiet(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"now")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log("the handler was cancelled")
            raise

    async def unprepared(self, request):
        return web.StreamResponse(status=202, headers={"X-Mine": "1"})

    async def forgotten(self, request):
        response = web.StreamResponse()
        response.enable_compression(web.ContentCoding.deflate)
        await response.prepare(request)
        await response.write(b"all of it")

    async def other(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some")
        return {"not": "it"}

    async def raises(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some")
        raise ValueError("no more")

    async def sized(self, request):
        response = web.StreamResponse(headers={"Content-Length": request.query["length"]})
        await response.prepare(request)
        await response.write(b"12345")
        return response

    async def chunked(self, request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"12345")
        return response
"""


EVENTS = """
from aiohttp_sse import sse_response
from plugincore.baseplugin import BasePlugin

class Events(BasePlugin):
    async def request_handler(self, **data):
        async with sse_response(data["request"]) as events:
            number = int(events.last_event_id or 0)
            while number < 3:
                number += 1
                await events.send(f"number {number}", id=str(number), event="count")
            events.stop_streaming()
        return events
"""


#: Headers of a client that gets what is written as it is.
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this module."""
    with serving(tmp_path_factory.mktemp("streams"), {"stream": STREAM, "events": EVENTS}) as running:
        yield running


def test_what_is_written_reaches_the_client_while_the_handler_goes_on(server: Server) -> None:
    """Head and pieces are on their way as soon as they are written; status, reason, headers and cookies are there."""
    with server.client() as client, client.stream("GET", "/stream/written", headers=PLAIN) as answer:
        assert (201, "Made Up", "1") == (answer.status_code, answer.reason_phrase, answer.headers["x-mine"])
        assert ("text/plain", "chunked") == (answer.headers["content-type"], answer.headers["transfer-encoding"])
        assert "a=1; HttpOnly; Path=/p" == answer.headers["set-cookie"]
        assert "server" not in answer.headers
        pieces = answer.iter_raw()
        assert b"first " == next(pieces)
        assert {"open": True} == server.get("/stream/open").json()
        assert b"second last" == b"".join(pieces)


@pytest.mark.parametrize(("what", "line"), [("endless", "the handler ended"), ("quiet", "the handler was cancelled")])
def test_a_client_that_leaves_ends_the_handler(server: Server, what: str, line: str) -> None:
    """The handler is cancelled, also while it waits for something else."""
    since = len(server.lines)
    with server.client() as client, client.stream("GET", f"/stream/{what}") as answer:
        next(answer.iter_raw())
    server.wait_for(line, since)
    assert not [text for text in server.lines[since:] if "Traceback" in text]


@pytest.mark.parametrize("end", ["the client leaves", "the plugin is reloaded"])
def test_a_handler_that_writes_once_more_when_it_is_cancelled_has_not_failed(launch: Launch, end: str) -> None:
    """Its answer has ended for reasons that are not its own; the write raises in it, and is no error in the log."""
    server = launch({"stream": STREAM})
    kind = "text/plain" if end == "the client leaves" else "text/event-stream"
    since = len(server.lines)
    client, params = server.client(), {"type": kind}
    with client, client.stream("GET", "/stream/parting", params=params, headers=PLAIN) as answer:
        assert b"now" == next(answer.iter_raw())
        if end == "the plugin is reloaded":
            assert 200 == server.get("/reload/stream").status_code
    server.wait_for("the handler writes once more", since)
    server.wait_for("DEBUG - plugincore - plugin stream: .*nobody waits for more", since)
    assert not [line for line in server.lines[since:] if re.search(r"- (ERROR|WARN)|Traceback", line)]


def test_a_slow_client_makes_the_handler_wait(server: Server) -> None:
    """No more is held for a client than a few buffers; what a fast one asks meanwhile is answered."""
    resident = resident_memory(server)
    with server.client() as client, client.stream("GET", "/stream/endless"):
        assert {"open": True} == server.get("/stream/open").json()
        for _ in range(50):
            assert 200 == server.get("/stream/open").status_code
        assert resident_memory(server) - resident < 40_000
    server.wait_for("the handler ended")


def resident_memory(server: Server) -> int:
    """Return the server's resident memory in KiB."""
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_response_that_was_never_prepared_is_sent_empty(server: Server) -> None:
    """As with aiohttp: returning it is enough."""
    answer = server.get("/stream/unprepared")
    assert (202, b"", "1") == (answer.status_code, answer.content, answer.headers["x-mine"])


def test_a_forgotten_end_is_written_by_the_host(server: Server) -> None:
    """A handler that returns nothing after it has prepared a response is complete; the compressor is flushed."""
    answer = server.get("/stream/forgotten")
    assert ("deflate", "all of it") == (answer.headers["content-encoding"], answer.text)


@pytest.mark.parametrize(
    ("what", "reason"), [("raises", "ValueError: no more"), ("other", "the handler returned a dict after it had begun")]
)
def test_an_answer_that_fails_half_way_breaks_the_connection(server: Server, what: str, reason: str) -> None:
    """A client must not take half an answer for a whole one; the log has the reason."""
    since = len(server.lines)
    received = raw(server, f"GET /stream/{what} HTTP/1.1")
    assert b"4\r\nsome\r\n" in received
    assert b"0\r\n\r\n" not in received
    server.wait_for(reason, since)


def raw(server: Server, request_line: str, *headers: str) -> bytes:
    """Make one request on a bare connection; return all that comes until the server closes."""
    with server.connect() as connection:
        connection.sendall("\r\n".join([request_line, "Host: x", *headers, "", ""]).encode())
        return receive_all(connection)


def test_the_length_that_the_plugin_sets_is_kept_to(server: Server) -> None:
    """More is cut off, as aiohttp does; less breaks the connection, since the client waits for the rest."""
    answer = server.get("/stream/sized?length=5")
    assert ("5", b"12345") == (answer.headers["content-length"], answer.content)
    assert b"123" == server.get("/stream/sized?length=3").content
    with pytest.raises(httpx.RemoteProtocolError):
        server.get("/stream/sized?length=9")


def test_a_client_of_http_1_0_gets_the_body_up_to_the_end_of_the_connection(server: Server) -> None:
    """Chunks are not for it: asking for them is the plugin's error."""
    received = raw(server, "GET /stream/written HTTP/1.0")
    assert received.endswith(b"\r\n\r\nfirst second last")
    assert b"chunked" not in received.lower()
    assert raw(server, "GET /stream/chunked HTTP/1.0").startswith(b"HTTP/1.1 500 ")
    assert b"12345" == server.get("/stream/chunked").content


def test_head_gets_the_head_alone(server: Server) -> None:
    """What is written is dropped, and the connection goes on."""
    with server.client() as client:
        for what, status in [("written", 201), ("sized?length=5", 200), ("endless", 200), ("quiet", 200)]:
            answer = client.head(f"/stream/{what}")
            assert (status, b"") == (answer.status_code, answer.content)
        assert "5" == client.head("/stream/sized?length=5").headers["content-length"]


def test_server_sent_events_by_the_package_for_it(server: Server) -> None:
    """`aiohttp-sse` works as on an aiohttp server, reconnection included."""
    answer = server.get("/events")
    assert "text/event-stream" == answer.headers["content-type"]
    assert ["number 1", "number 2", "number 3"] == re.findall("data: (.*)\r\n", answer.text)
    again = server.get("/events", headers={"Last-Event-Id": "2"}).text
    assert ["number 3"] == re.findall("data: (.*)\r\n", again)


FLOOD = """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin
from plugincore.responses import EventSource

class Flood(BasePlugin):
    async def request_handler(self, **data):
        if data["subpath"] == "events":
            return EventSource(self.events())
        response = web.StreamResponse()
        await response.prepare(data["request"])
        for _ in range(100):
            await response.write(b"x" * 100_000)
        return response

    async def events(self):
        yield "begun"
        await asyncio.Event().wait()
"""


@pytest.mark.parametrize("end", ["reload", "stop"])
def test_an_answer_to_a_slow_client_goes_on_while_its_plugin_is_on_its_way_out(launch: Launch, end: str) -> None:
    """The handler, which waits for the client to take something, goes on when it has; the answer comes whole."""
    server = launch({"flood": FLOOD})
    with server.connect() as slow, server.connect() as events, ThreadPoolExecutor() as pool:
        slow.sendall(b"GET /flood HTTP/1.0\r\n\r\n")
        begin = slow.recv(100)
        events.sendall(b"GET /flood/events HTTP/1.0\r\n\r\n")
        assert events.recv(100)
        ending = pool.submit(server.get, "/reload/flood") if end == "reload" else pool.submit(server.stop)
        receive_all(events)  # its end shows that answers have been asked to end
        body = (begin + receive_all(slow)).partition(b"\r\n\r\n")[2]
        assert b"x" * 10_000_000 == body
        assert 0 == ending.result() if end == "stop" else 200 == ending.result().status_code
