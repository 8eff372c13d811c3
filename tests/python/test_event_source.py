"""Server-sent events."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from plugincore.responses import Event, EventSource
from support.server import Launch, Server, serving
from support.wait import wait_until
from support.wire import receive_all

EVENTS = """
    import asyncio, gc
    from plugincore.baseplugin import BasePlugin
    from plugincore.responses import Event, EventSource

    async def few():
        yield "one"
        yield {"two": 2}
        yield Event("three\\r\\nlines\\rof it\\n", event="named", id=3, retry=50, comment="a\\nb")
        yield Event(id="only-an-id")

    async def silent(log):
        try:
            log("it waits")
            await asyncio.Event().wait()
            yield "never"
        finally:
            log("it ended")

    async def stubborn(log):
        log("it waits")
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                log("it goes on all the same")
            yield "once more"

    async def fails(error, *before):
        for event in before:
            yield event
        raise error("on purpose")

    async def endless(log):
        try:
            while True:
                yield "x" * 1000
        finally:
            log("it ended")

    async def resumed(request):
        yield request.headers.get("Last-Event-ID", "from the start")

    class Events(BasePlugin):
        http_methods = ("GET", "POST", "HEAD")

        async def request_handler(self, log, request, **data):
            return eval(data["expression"], globals(), {"log": log, "request": request})

    class Plain(BasePlugin):
        def request_handler(self, **data):
            return EventSource(few())

    class Census(BasePlugin):
        def request_handler(self, **data):
            gc.collect()
            return {"left": sum(type(one).__name__ == "_Sender" for one in gc.get_objects())}
"""

FEW = (
    b"data: one\n\n"
    b'data: {"two": 2}\n\n'
    b": a\n: b\nid: 3\nevent: named\nretry: 50\ndata: three\ndata: lines\ndata: of it\ndata: \n\n"
    b"id: only-an-id\n\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this module."""
    with serving(tmp_path_factory.mktemp("events"), {"events": EVENTS}) as running:
        yield running


def asked(expression: str) -> bytes:
    """Return a request for the events of ``expression``, as its bytes."""
    body = json.dumps({"expression": expression}).encode()
    return b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def made(server: Server, expression: str, **options: object) -> httpx.Response:
    """Return the whole answer of a handler that makes its result by ``expression``."""
    return server.post("/events", content=json.dumps({"expression": expression}), **options)


@pytest.mark.parametrize("path", ["/events", "/plain"])
def test_events_are_framed_as_browsers_read_them(server: Server, path: str) -> None:
    """Each line of the data is a line of its own, values are JSON, and the headers keep caches and proxies out."""
    answer = server.post(path, content=json.dumps({"expression": "EventSource(few())"}))
    assert (200, FEW) == (answer.status_code, answer.content)
    assert ("text/event-stream", "no-store", "no") == (
        answer.headers["content-type"],
        answer.headers["cache-control"],
        answer.headers["x-accel-buffering"],
    )


def test_headers_can_be_changed_and_added(server: Server) -> None:
    """The plugin's word counts, beside the source or in it; the content type stays."""
    answer = made(server, "(500, EventSource(few(), headers={'Cache-Control': 'no-cache'}), {'X-A': '1'})")
    assert (200, "no-cache", "1", "text/event-stream") == (
        answer.status_code,
        answer.headers["cache-control"],
        answer.headers["x-a"],
        answer.headers["content-type"],
    )


def test_what_a_client_got_last_is_told_to_the_plugin(server: Server) -> None:
    """A browser that connects again names the last event in a header."""
    assert "data: from the start\n\n" == made(server, "EventSource(resumed(request))").text
    answer = made(server, "EventSource(resumed(request))", headers={"Last-Event-ID": "7"})
    assert "data: 7\n\n" == answer.text


def test_the_answer_begins_before_the_first_event_and_is_kept_alive(server: Server) -> None:
    """The client knows that it is connected although nothing happens, and comments keep proxies from closing."""
    since = len(server.lines)
    with server.client() as client:
        expression = {"expression": "EventSource(silent(log), ping=0.01)"}
        with client.stream("POST", "/events", content=json.dumps(expression)) as answer:
            assert 200 == answer.status_code
            pieces = answer.iter_raw()
            assert [b": ping\n\n"] * 3 == [next(pieces) for _ in range(3)]
    server.wait_for("it ended", since)


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("EventSource(fails(ValueError))", "on purpose"),
        ("EventSource(fails(SystemExit))", "SystemExit"),
        ("EventSource(fails(asyncio.CancelledError))", "CancelledError"),
        ("EventSource(fails(ValueError, b'bytes'))", "a text, an Event or a value for JSON, not bytes"),
        ("EventSource(fails(ValueError, None))", "not NoneType"),
        ("EventSource(fails(ValueError, 1j))", "Object of type complex is not JSON serializable"),
        ("EventSource(fails(ValueError, Event(bytes)))", "Object of type type is not JSON serializable"),
        ("EventSource(['a', 'list'])", "another async iterable, not list"),
        ("EventSource(few)", "another async iterable, not function"),
        ("EventSource(few(), ping=0)", "above 0"),
        ("EventSource(few(), headers={'X-A': 'a\\r\\nb'})", "line break"),
        ("EventSource(silent(log), headers={'X-A': 'a\\r\\nb'})", "line break"),
        ("Event('x', id='1\\ndata: forged')", "holds a line break or NUL"),
        ("Event('x', event='a\\rb')", "holds a line break or NUL"),
        ("Event('x', retry='soon')", "whole number of milliseconds"),
    ],
)
def test_what_goes_wrong_before_the_first_event_is_a_500(server: Server, expression: str, hint: str) -> None:
    """A generator that never gets to wait has not begun an answer."""
    answer = made(server, expression)
    assert (500, True) == (answer.status_code, hint in answer.text), answer.text
    assert "1" == made(server, "1").text


def test_a_source_that_fails_later_breaks_the_connection(server: Server) -> None:
    """The client sees that it was no proper end, and connects again."""
    since = len(server.lines)
    with server.connect() as connection:
        connection.sendall(asked("EventSource(fails(ValueError, 'first'))"))
        received = receive_all(connection)
    assert (True, False) == (b"data: first\n\n" in received, b"0\r\n\r\n" in received)
    server.wait_for("ValueError: on purpose", since)


def test_head_has_the_headers_and_runs_nothing(server: Server) -> None:
    """The events would not be read."""
    since = len(server.lines)
    answer = server.request("HEAD", "/events", params={"expression": "EventSource(silent(log))"})
    assert (200, "text/event-stream") == (answer.status_code, answer.headers["content-type"])
    assert "it waits" not in "\n".join(server.lines[since:])


def test_a_source_is_sent_once(server: Server) -> None:
    """The second use is an error with the reason."""
    made(server, "globals().update(kept=EventSource(few()))")
    assert FEW == made(server, "kept").content
    answer = made(server, "kept")
    assert (500, True) == (answer.status_code, "has been sent; make one for each request" in answer.text)


def test_clients_that_leave_end_their_sources(server: Server) -> None:
    """Hundreds of them, while the source waits and while the pipe to the client is full: nothing stays."""
    for expression in ("EventSource(silent(log))", "EventSource(endless(log))", "EventSource(stubborn(log))") * 100:
        since = len(server.lines)
        with server.connect() as connection:
            connection.sendall(asked(expression))
            connection.recv(10)
        if "stubborn" not in expression:
            server.wait_for("it ended", since)
    wait_until(lambda: {"left": 0} == server.get("/census").json())


@pytest.mark.parametrize("source", ["silent", "stubborn", "endless"])
@pytest.mark.parametrize("way", ["reload", "stop"])
def test_a_reload_and_a_stop_do_not_wait_for_event_sources(launch: Launch, way: str, source: str) -> None:
    """They end at once and in order, so that the client connects again, to what serves then."""
    server = launch({"events": EVENTS}, ini_more="[server]\nshutdown_timeout = 50s\n")
    since = len(server.lines)
    with server.connect() as connection:
        connection.sendall(asked(f"EventSource({source}(log))"))
        received = connection.recv(10)
        if source != "endless":
            server.wait_for("it waits", since)
        ending = threading.Thread(target=lambda: server.get("/reload/events") if way == "reload" else server.stop())
        begun = time.monotonic()
        ending.start()
        while not received.endswith(b"0\r\n\r\n"):
            piece = connection.recv(65536)
            assert piece, received[-100:]
            received = received[-100:] + piece
        ending.join()
    # Far from the time that requests have: the test would not show the difference otherwise.
    assert time.monotonic() - begun < 25
    assert "requests still run" not in server.log
    if way == "reload":
        assert FEW == made(server, "EventSource(few())").content
        assert 0 == server.stop(signal.SIGTERM)


def test_an_event_source_that_comes_while_its_plugin_goes_ends_at_once(launch: Launch) -> None:
    """A request that was inside the old generation gets an answer that is empty and complete."""
    late = """
        import asyncio
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import EventSource

        closing = asyncio.Event()

        async def silent(log):
            log("it was run")
            await asyncio.Event().wait()
            yield "never"

        class Late(BasePlugin):
            async def request_handler(self, log, request, **data):
                channel = request._open()
                channel.watch(lambda: closing.set() if channel.is_closing() else None)
                log("it waits for the reload")
                await closing.wait()
                return EventSource(silent(log))
    """
    server = launch({"late": late})
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(server.get("/late")))
    asking.start()
    server.wait_for("it waits for the reload")
    assert 200 == server.get("/reload/late").status_code
    asking.join()
    assert [(200, b"")] == [(answer.status_code, answer.content) for answer in answers]


def test_an_event_cannot_be_two() -> None:
    """What a client sent may stand in any field: it stays in it."""
    for text in ("a\nid: 1", "a\rid: 1", "a\r\nid: 1", "a\n\ndata: b"):
        assert b"\nid" not in Event(text).encode()
        assert 1 == Event(text).encode().count(b"\n\n")
        assert b"\nid" not in Event(comment=text).encode()
    assert b"data: a\x0bb\xe2\x80\xa8c\n\n" == Event("a\x0bb\u2028c").encode()
    with pytest.raises(ValueError, match="NUL"):
        Event(id="1\0")
    with pytest.raises(TypeError, match="not str"):
        EventSource("text")  # type: ignore[arg-type]
