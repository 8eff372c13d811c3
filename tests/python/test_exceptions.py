"""What a handler may raise: the client learns what is its business, the log the rest, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from support.server import Server, serving

RAISE = """
import asyncio
from plugincore.baseplugin import BasePlugin

class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class Deadly(Exception):
    def __str__(self):
        raise KeyboardInterrupt

class Numeric(Exception):
    def __str__(self):
        return 5

class Own(BaseException):
    pass

def looped():
    error = ValueError("looped")
    error.__cause__ = KeyError("cause")
    error.__cause__.__context__ = error
    return error

def endless(n=0):
    return endless(n + 1)

class Asynchronous(BasePlugin):
    async def request_handler(self, **data):
        raise eval(data["expression"], globals())

class Suspended(BasePlugin):
    async def request_handler(self, **data):
        await asyncio.sleep(0)
        raise eval(data["expression"], globals())

class Plain(BasePlugin):
    def request_handler(self, **data):
        raise eval(data["expression"], globals())

class Whole(BasePlugin):
    async def handle_request(self, **data):
        return await super().handle_request(**data)

    def request_handler(self, **data):
        raise eval(data["expression"], globals())

class Tasked(BasePlugin):
    async def request_handler(self, **data):
        async def fail():
            raise eval(data["expression"], globals())
        await asyncio.create_task(fail())

class Cancelled(BasePlugin):
    async def request_handler(self, **data):
        if "self" in data["subpath"]:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        task = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

class Fine(BasePlugin):
    async def request_handler(self, **data):
        await asyncio.sleep(0)
        return 200, "fine"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this page."""
    with serving(tmp_path_factory.mktemp("exceptions"), {"raises": RAISE}) as server:
        yield server
        assert 0 == server.stop()


def raised(server: Server, expression: str, plugin: str = "asynchronous", **headers: str) -> httpx.Response:
    """Return the answer of a handler that raises the value of ``expression``."""
    return server.post(f"/{plugin}", content=json.dumps({"expression": expression}), headers=headers)


EXCEPTIONS = [
    ("ValueError('why')", "ValueError", "why"),
    ("ValueError()", "ValueError", ""),
    ("ValueError", "ValueError", ""),
    ("ValueError('é', 1)", "ValueError", "('é', 1)"),
    ("KeyError('name')", "KeyError", "'name'"),
    ("ValueError('\\ud800')", "ValueError", None),
    ("ValueError('x' * 3_000_000)", "ValueError", "x" * 3_000_000),
    ("ValueError('one\\n2026-01-01 00:00:00,000 - plugincore - INFO - forged\\r')", "ValueError", None),
    ("Silent()", "Silent", ""),
    ("Deadly()", "Deadly", ""),
    ("Numeric()", "Numeric", ""),
    ("Own('own')", "Own", "own"),
    ("BaseException('base')", "BaseException", "base"),
    ("SystemExit(3)", "SystemExit", "3"),
    ("KeyboardInterrupt()", "KeyboardInterrupt", ""),
    ("GeneratorExit()", "GeneratorExit", ""),
    ("asyncio.CancelledError('stop')", "CancelledError", "stop"),
    ("StopAsyncIteration(1)", None, None),
    ("StopIteration(1)", None, None),
    ("endless()", "RecursionError", None),
    ("bytes(2**62)", "MemoryError", ""),
    ("looped()", "ValueError", "looped"),
    ("type('Odd\\nName', (Exception,), {})('x')", "Odd\nName", "x"),
    ("5", "TypeError", "exceptions must derive from BaseException"),
    ("1 / 0", "ZeroDivisionError", "division by zero"),
    ("ExceptionGroup('many', [ValueError(1), KeyError(2)])", "ExceptionGroup", "many (2 sub-exceptions)"),
    ("BaseExceptionGroup('many', [SystemExit(1)])", "BaseExceptionGroup", "many (1 sub-exception)"),
]


@pytest.mark.parametrize("plugin", ["asynchronous", "suspended", "plain", "whole"])
@pytest.mark.parametrize(("expression", "kind", "text"), EXCEPTIONS)
def test_whatever_a_handler_raises_is_a_500_and_ends_that_request_only(
    server: Server, plugin: str, expression: str, kind: str | None, text: str | None
) -> None:
    """The client gets type, text and request id as JSON; the traceback is in the log under the same id."""
    answer = raised(server, expression, plugin)
    assert (500, "application/json; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    told = answer.json()
    assert ["status", "type", "message", "error", "code", "request_id"] == list(told)
    assert "exception" == told["status"]
    if kind is not None:
        assert kind == told["type"]
    if text is not None:
        assert f"{kind} exception handling request: {text}" == told["message"]
    assert answer.headers["x-request-id"] == told["request_id"]
    assert "Traceback" not in answer.text
    assert str(server.folder) not in answer.text
    line = server.wait_for(f"request {told['request_id']}: ")
    assert f"plugin {plugin}: request" in line
    assert "Traceback" in line
    assert "raises.py" in line
    assert "fine" == server.get("/fine").text


def test_an_exception_cannot_forge_a_line_of_the_log(server: Server) -> None:
    """Line breaks inside a text are escaped: one event is one line."""
    answer = raised(server, "ValueError('one\\n<6> - INFO - plugincore - forged\\r\\x1b[2J')")
    line = server.wait_for(answer.json()["request_id"])
    assert "forged" in line
    assert not [line for line in server.lines if line.startswith("<6> - INFO - plugincore - forged")]
    assert not [line for line in server.lines if "\x1b" in line or "\r" in line]


def test_a_clients_own_request_id_is_kept(server: Server) -> None:
    """A proxy's id of a request is the one in the answer and in the log."""
    answer = raised(server, "ValueError('x')", **{"X-Request-Id": "from-the-proxy-1"})
    assert ("from-the-proxy-1", "from-the-proxy-1") == (answer.headers["x-request-id"], answer.json()["request_id"])
    server.wait_for("request from-the-proxy-1: .*Traceback")


def test_each_request_has_an_id_of_its_own(server: Server) -> None:
    """Two failures can be distinguished."""
    assert raised(server, "ValueError()").json()["request_id"] != raised(server, "ValueError()").json()["request_id"]


@pytest.mark.parametrize("how", ["self", "other"])
def test_a_cancellation_ends_the_request_and_nothing_else(server: Server, how: str) -> None:
    """A handler that cancels itself, or awaits what was cancelled, is a failed handler."""
    answer = server.get(f"/cancelled/{how}")
    assert (500, "CancelledError") == (answer.status_code, answer.json()["type"])
    assert "fine" == server.get("/fine").text


@pytest.mark.parametrize("expression", ["SystemExit(3)", "KeyboardInterrupt()", "ValueError('x')"])
def test_an_exit_in_a_task_of_a_handler_does_not_end_the_server(server: Server, expression: str) -> None:
    """Asyncio lets these two through to the loop; the server turns on and the handler sees what it awaited."""
    answer = raised(server, expression, "tasked")
    assert (500, expression.partition("(")[0]) == (answer.status_code, answer.json()["type"])
    assert "fine" == server.get("/fine").text


def test_many_failures_leave_nothing_behind(server: Server) -> None:
    """Failed requests give their places back: more fail one after the other than may run at a time."""
    with server.client() as client:
        for _ in range(600):
            answer = client.post("/asynchronous", content='{"expression": "SystemExit()"}')
            assert 500 == answer.status_code
        assert "fine" == client.get("/fine").text
