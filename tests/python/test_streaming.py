"""Answers that are sent piece by piece."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Iterator

import httpx
import pytest

from support.server import Server, serving
from support.wait import wait_until
from support.wire import receive_all

PLUGINS = {
    "stream": """
        import asyncio
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        class Stream(BasePlugin):
            gate = asyncio.Event()
            ended = []

            async def pieces(self):
                yield "first "
                await self.gate.wait()
                yield b"second"

            async def endless(self):
                try:
                    while True:
                        yield b"x" * 65536
                finally:
                    self.log("the generator ended")

            async def broken(self):
                yield b"some"
                raise ValueError("no more")

            async def request_handler(self, **data):
                what = data["subpath"]
                if what == "open":
                    self.gate.set()
                    return {"open": True}
                if what == "plain":
                    return StreamingResponse(iter(["a", "b"]), status=201, content_type="text/plain")
                return StreamingResponse(getattr(self, what)())
    """,
    "odd": """
        import asyncio, gc, os, sys
        from plugincore import _streams
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        _streams._CLEANUP = 0.05  # nobody wants to wait for the real one
        used = StreamingResponse(iter(["once"]))
        waits = asyncio.Event()

        def error(name):
            return {"CancelledError": asyncio.CancelledError}.get(name) or getattr(__import__("builtins"), name)

        async def fails(name, after=()):
            for piece in after:
                yield piece
            raise error(name)("on purpose")

        def fails_plainly(name, after=()):
            yield from after
            raise error(name)("on purpose")

        async def never(log, tidy=None):
            try:
                log("it waits for its first piece")
                await waits.wait()
                yield b"never"
            finally:
                log("it was told to end")
                if tidy == "raise":
                    raise ValueError("tidying up failed")
                if tidy == "hang":
                    try:
                        await asyncio.Event().wait()
                    finally:
                        log("it was made to end")

        async def stubborn(log):
            while True:
                try:
                    yield b"x" * 100_000
                except GeneratorExit:
                    log("it ignores its end")

        async def huge():
            yield bytearray(10_000_000)
            yield memoryview(b"end")

        async def busy(log):
            while True:
                yield b""

        async def many(log, count):
            for number in range(int(count)):
                yield b"x" * 1024
                log(f"piece {number}")

        def untouched(log):
            log("it was run")
            yield b"x"

        async def texts():
            yield "Grüße "
            yield ""
            yield b"und mehr"

        class Wordy(StreamingResponse):
            def __init__(self, content):
                super().__init__(content, content_type="text/wordy")
                self.set_cookie("seen", "1")

        class Odd(BasePlugin):
            http_methods = ("GET", "POST", "HEAD")

            async def request_handler(self, log, **data):
                return eval(data["expression"], globals(), {"log": log})

        class OddPlain(BasePlugin):
            def request_handler(self, log, **data):
                return eval(data["expression"], globals(), {"log": log})

        class Whole(BasePlugin):
            async def handle_request(self, **data):
                return StreamingResponse(texts())

        class Census(BasePlugin):
            def request_handler(self, **data):
                gc.collect()
                counted = {}
                for one in gc.get_objects():
                    counted[type(one).__name__] = counted.get(type(one).__name__, 0) + 1
                named = ("Channel", "_Sender", "StreamingResponse", "EventSource", "async_generator", "Request")
                return {
                    "tasks": len(asyncio.all_tasks()),
                    "files": len(os.listdir("/dev/fd")),
                    **{name: counted.get(name, 0) for name in named},
                }
    """,
    "direct": """
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        class Direct(BasePlugin):
            def request_handler(self, **data):
                return StreamingResponse([b"from ", b"def"], headers={"X-Mine": "1"})
    """,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this module."""
    with serving(tmp_path_factory.mktemp("streaming"), PLUGINS) as running:
        yield running


def test_pieces_reach_the_client_as_they_are_yielded(server: Server) -> None:
    """What was yielded is on its way while the generator waits for something else."""
    with server.client() as client, client.stream("GET", "/stream/pieces") as answer:
        pieces = answer.iter_raw()
        assert b"first " == next(pieces)
        assert {"open": True} == server.get("/stream/open").json()
        assert b"second" == b"".join(pieces)


def test_a_plain_iterable_and_a_plain_handler_stream_too(server: Server) -> None:
    """Neither the generator nor the handler needs to be async."""
    answer = server.get("/stream/plain")
    assert (201, "ab", "text/plain") == (answer.status_code, answer.text, answer.headers["content-type"])
    answer = server.get("/direct")
    assert (200, "from def", "1") == (answer.status_code, answer.text, answer.headers["x-mine"])


def test_a_client_that_leaves_ends_the_generator(server: Server) -> None:
    """The generator is closed, so that it can tidy up; an endless one ends with its client."""
    since = len(server.lines)
    with server.client() as client, client.stream("GET", "/stream/endless") as answer:
        next(answer.iter_raw())
    server.wait_for("the generator ended", since)
    assert 200 == server.get("/stream/open").status_code


def test_a_generator_that_fails_breaks_the_connection_instead_of_ending_it(server: Server) -> None:
    """A client must not take half an answer for a whole one."""
    with server.connect() as connection:
        connection.sendall(b"GET /stream/broken HTTP/1.1\r\nHost: x\r\n\r\n")
        received = receive_all(connection)
    assert b"4\r\nsome\r\n" in received
    assert b"0\r\n\r\n" not in received
    server.wait_for("ValueError: no more")


def made(server: Server, expression: str, path: str = "/odd", method: str = "POST") -> httpx.Response:
    """Return the answer of a handler that makes its result by ``expression``."""
    if method == "HEAD":
        return server.request("HEAD", path, params={"expression": expression})
    return server.post(path, content=json.dumps({"expression": expression}))


def leave(connection: socket.socket) -> None:
    """Go away without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def request_for(expression: str, path: str = "/odd") -> bytes:
    """Return a request as its bytes."""
    body = json.dumps({"expression": expression}).encode()
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


@pytest.mark.parametrize("path", ["/odd", "/oddplain", "/whole"])
def test_texts_and_bytes_may_be_mixed(server: Server, path: str) -> None:
    """A text is sent as UTF-8, and an empty piece does not end the answer."""
    answer = made(server, "StreamingResponse(texts())", path)
    assert (200, "Grüße und mehr", "chunked") == (
        answer.status_code,
        answer.text,
        answer.headers["transfer-encoding"],
    )


def test_a_stream_has_headers_and_cookies_of_its_own_and_of_its_tuple(server: Server) -> None:
    """The tuple's code does not count, its headers take the place of the stream's; a subclass is a stream too."""
    answer = made(server, "(500, Wordy(texts()), {'X-A': ['1', '2'], 'content-type': 'text/other'})")
    assert (200, ["1", "2"]) == (answer.status_code, answer.headers.get_list("x-a"))
    assert (["text/other"], ["seen=1; Path=/"]) == (
        answer.headers.get_list("content-type"),
        answer.headers.get_list("set-cookie"),
    )


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError"])
@pytest.mark.parametrize("source", ["fails", "fails_plainly"])
def test_what_goes_wrong_before_the_first_piece_is_a_500(server: Server, source: str, error: str) -> None:
    """As for any handler that raises, whatever it raises; after the first piece the connection breaks."""
    answer = made(server, f"StreamingResponse({source}('{error}'))")
    assert (500, error) == (answer.status_code, answer.json()["type"])
    with server.connect() as connection:
        connection.sendall(request_for(f"StreamingResponse({source}('{error}', ['piece']))"))
        received = receive_all(connection)
    assert (True, False) == (b"5\r\npiece\r\n" in received, b"0\r\n\r\n" in received)
    assert "1" == made(server, "1").text


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("StreamingResponse([5])", "a piece of a stream is bytes or str, not int"),
        ("StreamingResponse([{'a': 1}])", "a piece of a stream is bytes or str, not dict"),
        ("StreamingResponse(['\\ud800'])", "surrogates"),
        ("StreamingResponse('text')", "not str"),
        ("StreamingResponse(5)", "not int"),
        ("StreamingResponse(texts)", "not function"),
        ("StreamingResponse([], content_length=-1)", "below 0"),
        ("StreamingResponse(['a'], headers={'X-A': 'a\\nb'})", "line break"),
        ("(200, StreamingResponse(['a']), {'X-A': 'a\\nb'})", "line break"),
        ("StreamingResponse(['a'], status=600)", "from 200 to 599"),
    ],
)
def test_a_stream_that_cannot_be_sent_is_a_clear_500(server: Server, expression: str, hint: str) -> None:
    """The answer describes the mistake."""
    answer = made(server, expression)
    assert (500, True) == (answer.status_code, hint in answer.text), answer.text


def test_a_stream_is_sent_once(server: Server) -> None:
    """A generator that is used up would be an empty answer; the second use is an error with the reason."""
    assert "once" == made(server, "used").text
    answer = made(server, "used")
    assert (500, True) == (answer.status_code, "has been sent; make one for each request" in answer.text)


def test_a_known_length_is_told_and_held(server: Server) -> None:
    """The client can show its progress; too few or too many bytes break the connection."""
    answer = made(server, "StreamingResponse(['ab', 'c'], content_length=3)")
    assert ("abc", "3") == (answer.text, answer.headers["content-length"])
    assert "transfer-encoding" not in answer.headers
    for pieces, trouble in (("['ab']", "ended 1 bytes below"), ("['ab', 'cd']", "has 1 bytes or more above")):
        since = len(server.lines)
        with pytest.raises(httpx.RemoteProtocolError):
            made(server, f"StreamingResponse({pieces}, content_length=3)")
        server.wait_for(f"{trouble} its content_length", since)


def test_no_body_runs_no_generator(server: Server) -> None:
    """HEAD, 204 and 304 have the headers alone."""
    since = len(server.lines)
    answer = made(server, "StreamingResponse(untouched(log), headers={'X-A': '1'})", method="HEAD")
    assert (200, "1", b"") == (answer.status_code, answer.headers["x-a"], answer.content)
    answer = made(server, "StreamingResponse(untouched(log), content_length=5)", method="HEAD")
    assert "5" == answer.headers["content-length"]
    for status in (204, 304):
        assert status == made(server, f"StreamingResponse(untouched(log), status={status})").status_code
    assert "it was run" not in "\n".join(server.lines[since:])


@pytest.mark.parametrize("tidy", [None, "raise", "hang"])
def test_a_client_that_leaves_before_the_first_piece_ends_the_generator(server: Server, tidy: str | None) -> None:
    """The server does not wait for a piece that is not wanted, however badly the generator takes it."""
    since = len(server.lines)
    connection = server.connect()
    connection.sendall(request_for(f"StreamingResponse(never(log, {tidy!r}))"))
    server.wait_for("it waits for its first piece", since)
    leave(connection)
    server.wait_for("it was told to end", since)
    if tidy == "hang":
        server.wait_for("it was made to end", since)
    wait_until(lambda: 0 == server.get("/census").json()["_Sender"])
    assert "ERROR" not in "\n".join(server.lines[since:])


def test_a_generator_that_ignores_its_end_is_left_behind(server: Server) -> None:
    """It can no more than complain; request and memory are free."""
    since = len(server.lines)
    with server.connect() as connection:
        connection.sendall(request_for("StreamingResponse(stubborn(log))"))
        connection.recv(10)
        leave(connection)
    server.wait_for("it ignores its end", since)
    wait_until(lambda: 0 == server.get("/census").json()["_Sender"])


def test_a_slow_client_stops_the_generator(server: Server) -> None:
    """What is not read is not made: the generator is far from its end while the client does not read."""
    since = len(server.lines)
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request_for("StreamingResponse(many(log, 100_000))"))
        server.wait_for("piece 10$", since)
        # A census takes turns of the loop, in which the generator would go on if it could.
        seen = -1
        while seen != (seen := len(server.lines)):
            for _ in range(20):
                server.get("/census")
        pieces = [int(found[1]) for line in server.lines[since:] if (found := re.search(r"piece (\d+) ", line))]
        assert max(pieces) < 50_000
        leave(connection)


def test_a_huge_piece_arrives_whole(server: Server) -> None:
    """It is handed over in slices; all of them come, in order."""
    assert bytes(10_000_000) + b"end" == made(server, "StreamingResponse(huge())").content


def test_a_generator_that_never_waits_does_not_keep_others_waiting(server: Server) -> None:
    """Yielding nothing for ever is not waiting, yet others are answered, and its end comes with its client's."""
    with server.connect() as connection:
        connection.sendall(request_for("StreamingResponse(busy(log))"))
        assert b"200 OK" in connection.recv(1000)
        for _ in range(10):
            assert "1" == made(server, "1").text
        leave(connection)
    wait_until(lambda: 0 == server.get("/census").json()["_Sender"])


def test_clients_that_come_and_leave_leave_nothing_behind(server: Server) -> None:
    """Two thousand streams, broken off at any point: no task, file or object stays."""
    expressions = (
        "StreamingResponse(many(lambda text: None, 1000))",
        "StreamingResponse(never(lambda text: None))",
        "StreamingResponse(fails('ValueError', ['a']))",
        "StreamingResponse(['a'] * 10)",
    )

    def visit(times: int) -> None:
        for _ in range(times):
            for expression in expressions:
                with server.connect() as connection:
                    connection.sendall(request_for(expression))
                    if "never" not in expression:
                        connection.recv(10)
                    leave(connection)

    def census() -> dict[str, int]:
        counted = server.get("/census").json()
        assert isinstance(counted, dict)
        return counted

    visit(5)
    wait_until(lambda: 0 == census()["_Sender"] == census()["Channel"])
    before = census()
    visit(500)
    wait_until(
        lambda: all(count <= before[name] for name, count in census().items()), lambda: f"{before} became {census()}"
    )
