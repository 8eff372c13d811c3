"""How long a request may wait, run and arrive: ``[limits]`` and ``[plugin x]`` with times."""

from __future__ import annotations

import re
import time

import pytest

from support.http2 import Http2
from support.server import Launch
from support.wait import wait_until
from support.wire import HOST, Wire, post, receive_all

HANDLERS = """
import asyncio, pathlib, time
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        self.log.info(f"{name} begins {{data.get('tag')}}")
        if "block" in data:
            while not pathlib.Path(data["block"]).exists():
                time.sleep(0.005)
        if "stubborn" in data:
            while not pathlib.Path(data["stubborn"]).exists():
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    self.log.info("cancelled and goes on")
        try:
            await asyncio.sleep(float(data.get("seconds", 0)))
        except asyncio.CancelledError:
            self.log.info("{name} is cancelled")
            await asyncio.sleep(0.1)
            self.log.info("{name} has cleaned up")
            raise
        return 200, {{"done": data.get("tag")}}
"""

PLAIN = """
import pathlib, time
from plugincore.baseplugin import BasePlugin

class Plain(BasePlugin):
    def request_handler(self, **data):
        while not pathlib.Path("go").exists():
            time.sleep(0.005)
        self.log.info("plain goes on")
        return 200, {"done": True}
"""


def handlers(*names: str) -> dict[str, str]:
    """Return an async plugin for each of these ids."""
    return {name: HANDLERS.format(name=name.title()) for name in names}


def asked(path: str) -> bytes:
    """Return a request for ``path``."""
    return b"GET " + path.encode() + HOST + b"\r\n"


def test_an_async_handler_is_cancelled_when_its_time_is_over(launch: Launch) -> None:
    """The client gets a 504 with the request's id, and the handler may clean up; no error of the plugin is logged."""
    server = launch(handlers("slow"), ini_more="[limits]\nhandler_time = 300ms\n")
    answer = server.get("/slow?seconds=60")
    assert 504 == answer.status_code
    assert "the plugin did not answer within 0.3 s" == answer.json()["error"]
    request = answer.headers["x-request-id"]
    assert request == answer.json()["request_id"]
    server.wait_for(f"ERROR - plugincore - plugin slow: request {request}: no answer within handler_time, 0.3 s")
    server.wait_for("Slow has cleaned up")
    assert 200 == server.get("/slow?seconds=0.01").status_code
    assert "Traceback" not in server.log


def test_the_time_of_a_plugin_counts_before_the_general_one(launch: Launch) -> None:
    """Longer, shorter, or none."""
    more = "[limits]\nhandler_time = 300ms\n[plugin long]\nhandler_time = none\n[plugin short]\nhandler_time = 100ms\n"
    server = launch(handlers("long", "short", "other"), ini_more=more)
    assert 200 == server.get("/long?seconds=0.8").status_code
    assert "0.1 s" in server.get("/short?seconds=5").json()["error"]
    assert "0.3 s" in server.get("/other?seconds=5").json()["error"]


def test_a_plain_handler_goes_on_and_its_answer_is_dropped(launch: Launch) -> None:
    """The client is answered while Python is blocked; the log names the plugin."""
    server = launch({"plain": PLAIN, **handlers("other")}, ini_more="[plugin plain]\nhandler_time = 200ms\n")
    with server.client() as client:
        assert 504 == client.get("/plain").status_code
        assert "plain goes on" not in server.log
        server.wait_for("plugin plain: request .* no answer within handler_time")
        (server.folder / "go").touch()
        server.wait_for("plain goes on")
        assert {"done": "next"} == client.get("/other?tag=next").json()


def test_a_handler_that_ignores_its_end_is_named(launch: Launch) -> None:
    """A second later, with its request; it keeps its place until it ends."""
    more = "[plugin slow]\nhandler_time = 100ms\nin_flight = 1\n"
    server = launch(handlers("slow"), ini_more=more)
    request = server.get("/slow?stubborn=go").headers["x-request-id"]
    assert 503 == server.get("/slow").status_code
    server.wait_for(
        f"WARN - plugincore - plugin slow: request {request}: the handler was cancelled and still runs after 1 s"
    )
    (server.folder / "go").touch()
    wait_until(lambda: 200 == server.get("/slow").status_code)


def test_a_response_that_has_begun_is_not_cut_off(launch: Launch) -> None:
    """The time is that until the answer, however long the answer takes."""
    source = """
import asyncio
from plugincore.baseplugin import BasePlugin
from plugincore.responses import StreamingResponse

async def pieces():
    for number in range(8):
        await asyncio.sleep(0.1)
        yield f"{number}"

class Stream(BasePlugin):
    async def request_handler(self, **data):
        return StreamingResponse(pieces())
"""
    server = launch({"stream": source}, ini_more="[limits]\nhandler_time = 200ms\n")
    assert "01234567" == server.get("/stream").text


def test_a_request_that_waits_too_long_for_python_is_never_handled(launch: Launch) -> None:
    """It is answered natively while a plugin blocks Python, and the same connection can be used again."""
    server = launch(handlers("block", "other"), ini_more="[limits]\nqueue_time = 300ms\n")
    with Wire(server) as blocker, Wire(server) as wire:
        blocker.send(asked("/block?block=go&tag=1"))
        server.wait_for("Block begins 1")
        wire.send(asked("/other?tag=late"))
        answer = wire.answer()
        assert (503, "1") == (answer.status, answer.headers["retry-after"])
        assert "the server is busy; try again" == answer.error
        (server.folder / "go").touch()
        assert 200 == blocker.answer().status
        wire.send(asked("/other?tag=next"))
        assert 200 == wire.answer().status
    server.wait_for("Other begins next")
    assert "Other begins late" not in server.log


def test_the_queue_time_of_a_plugin_counts_before_the_general_one(launch: Launch) -> None:
    """Requests to it wait longer, or not as long, behind the same plugin that blocks."""
    more = "[limits]\nqueue_time = 500ms\n[plugin patient]\nqueue_time = none\n[plugin hasty]\nqueue_time = 100ms\n"
    server = launch(handlers("block", "patient", "hasty", "other"), ini_more=more)
    with Wire(server) as blocker, Wire(server) as patient, Wire(server) as hasty, Wire(server) as other:
        blocker.send(asked("/block?block=go&tag=1"))
        server.wait_for("Block begins 1")
        patient.send(asked("/patient?tag=p"))
        other.send(asked("/other?tag=o"))
        since = time.monotonic()
        hasty.send(asked("/hasty?tag=h"))
        assert 503 == hasty.answer().status
        between = time.monotonic() - since
        assert 503 == other.answer().status
        assert between < time.monotonic() - since
        (server.folder / "go").touch()
        assert 200 == patient.answer().status
    assert "Other begins o" not in server.log
    assert "Hasty begins h" not in server.log


def test_times_are_those_of_the_last_reload(launch: Launch) -> None:
    """Without loading a plugin anew."""
    server = launch(handlers("slow"))
    ini = server.folder / "server.ini"
    ini.write_text(ini.read_text() + "[limits]\nhandler_time = 100ms\n")
    assert 200 == server.get("/reload/all").status_code
    assert 504 == server.get("/slow?seconds=5").status_code


@pytest.mark.parametrize(
    ("limits", "pieces"),
    [
        ("body_idle_time = 200ms", [b"1234"]),
        ("body_time = 300ms\nbody_min_rate = none", [b"1"] * 100),
        ("body_time = 300ms\nbody_min_rate = 1KiB/s", [b"1"] * 100),
    ],
)
def test_a_body_that_takes_too_long_is_refused(launch: Launch, limits: str, pieces: list[bytes]) -> None:
    """A gap within it, or a client that sends it in drops."""
    server = launch(handlers("any"), ini_more=f"[limits]\n{limits}\n")
    with Wire(server) as wire:
        wire.send(post("/any", b"").replace(b"Content-Length: 0", b"Content-Length: 1000"))
        wire.socket.settimeout(0.02)
        for piece in pieces:
            wire.send(piece)
            try:
                if wire.socket.recv(1, 2):
                    break
            except TimeoutError:
                pass
        wire.socket.settimeout(10)
        answer = receive_all(wire.socket)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert re.search(rb"(?i)\r\nconnection: close\r\n", answer)


def test_a_large_body_may_take_the_time_that_its_bytes_grant(launch: Launch) -> None:
    """The rate is the lowest that is allowed, and counts for what has arrived."""
    server = launch(handlers("any"), ini_more="[limits]\nbody_time = 200ms\nbody_min_rate = 100\n")
    with Wire(server) as wire:
        wire.send(post("/any", b"").replace(b"Content-Length: 0", b"Content-Length: 101") + b"x" * 100)
        wire.socket.settimeout(0.6)
        with pytest.raises(TimeoutError):
            wire.socket.recv(1)
        wire.socket.settimeout(10)
        wire.send(b"x")
        assert 200 == wire.answer().status


def test_the_number_of_headers_is_what_is_configured(launch: Launch) -> None:
    """More and fewer than usual."""
    for count in (20, 150):
        server = launch(handlers("any"), ini_more=f"[limits]\nhead_fields = {count}\n")
        head = b"GET /any" + HOST
        fields = [f"x-{number}: 1\r\n".encode() for number in range(count)]
        given = head.count(b"\r\n") - 1
        assert server.raw(head + b"".join(fields[given:]) + b"\r\n").startswith(b"HTTP/1.1 200 ")
        refused = server.raw(head + b"".join(fields) + b"\r\n")
        assert refused.startswith(b"HTTP/1.1 431 ")
        assert f"over {count} headers".encode() in refused


def test_the_length_of_a_target_is_what_is_configured(launch: Launch) -> None:
    """Path and query together."""
    server = launch(handlers("any"), ini_more="[limits]\ntarget_size = 100\n")
    path = "/any?tag="
    assert 200 == server.get(path + "x" * (100 - len(path))).status_code
    refused = server.get(path + "x" * (101 - len(path)))
    assert (414, "the request target is too long") == (refused.status_code, refused.json()["error"])


def test_requests_by_http2_have_the_same_times_and_limits(launch: Launch) -> None:
    """A stream whose time is over gets the same answer, and the others of its connection go on."""
    more = "[limits]\nqueue_time = 300ms\n[plugin slow]\nhandler_time = 200ms\nbody_size = 10\n"
    server = launch(handlers("block", "other", "slow"), ini_more=more)
    with Http2(server) as connection:
        late = connection.answer(connection.begin("/slow?seconds=60"))
        assert (504, "the plugin did not answer within 0.2 s") == (late.status, late.error)
        assert 413 == connection.ask("/slow", method="POST", body=b"x" * 11).status
        blocker = connection.begin("/block?block=go&tag=1")
        server.wait_for("Block begins 1")
        waiting = connection.answer(connection.begin("/other?tag=late"))
        assert (503, "1") == (waiting.status, waiting.headers["retry-after"])
        (server.folder / "go").touch()
        assert 200 == connection.answer(blocker).status
        assert 200 == connection.ask("/other?tag=next").status
    server.wait_for("Other begins next")
    assert "Other begins late" not in server.log
