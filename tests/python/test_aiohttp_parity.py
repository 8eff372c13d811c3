"""The same code in a handler of ours and in one of aiohttp's: each attribute and each answer is the same."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import aiohttp
import multidict
import pytest
from aiohttp import web

from aiohttp_table import ANSWERS, DIFFERENCES, REQUESTS, RESPONSES, SHAPES, SHOW, SOCKETS
from support.aiohttp_server import aiohttp_serving
from support.server import serving
from support.wait import TIMEOUT

#: Runs the code that a request names in a header; a line of it gives a value, several make an answer.
RUN = (
    """
import asyncio, dataclasses, datetime, io, json, textwrap, urllib.parse, warnings, weakref
from collections.abc import Mapping, MutableMapping
import aiohttp, multidict, yarl
from aiohttp import hdrs, web

warnings.simplefilter("ignore")
"""
    + SHOW
    + """
def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return repr(bytes(value))
    if isinstance(value, web.FileField):
        return ["a file", value.name, value.filename, value.content_type, plain(value.file.read())]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, Mapping) and not isinstance(value, web.BaseRequest):
        pairs = [[name.lower(), plain(item)] for name, item in value.items()]
        return sorted(pair for pair in pairs if pair[0] != "x-code")
    return repr(value)

async def run(request):
    code = urllib.parse.unquote(request.headers["X-Code"])
    if "return " not in code and "raise " not in code and "del " not in code and not code.startswith("request.path ="):
        code = "return " + code
    outcomes = []

    async def attempt(action):
        try:
            result = action()
            outcomes.append(repr(await result if asyncio.iscoroutine(result) else result))
        except Exception as error:
            outcomes.append(repr(error))

    names = {**globals(), "outcomes": outcomes, "attempt": attempt}
    exec("async def coroutine(request):\\n" + textwrap.indent(code, "  "), names)
    return await names["coroutine"](request)

async def evaluate(request):
    try:
        return {"value": plain(await run(request))}
    except web.HTTPException as error:
        return {"answer": [type(error).__name__, error.status, error.text]}
    except Exception as error:
        text = str(error).replace("the request has no attribute", "'Request' object has no attribute")
        return {"error": [type(error).__name__, text]}
"""
)

PLUGIN = (
    RUN
    + """
from plugincore.baseplugin import BasePlugin

class Value(BasePlugin):
    http_methods = ("GET", "POST", "PUT")

    async def request_handler(self, **data):
        return await evaluate(data["request"])

class Answer(BasePlugin):
    async def request_handler(self, **data):
        return await run(data["request"])
"""
)

AIOHTTP = (
    RUN
    + """
async def value(request):
    return web.json_response(await evaluate(request))

async def answer(request):
    result = await run(request)
    return result[1] if isinstance(result, tuple) else result

def add_routes(app):
    app.router.add_route("*", "/value", value)
    app.router.add_route("*", "/value/{tail:.*}", value)
    app.router.add_route("*", "/answer", answer)
"""
)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Run our server and aiohttp's own."""
    with (
        serving(tmp_path_factory.mktemp("parity"), {"parity": PLUGIN}) as server,
        aiohttp_serving(AIOHTTP) as port,
    ):
        yield server.port, port


def ask(port: int, method: str, path: str, code: str, headers: dict[str, str], body: bytes | None) -> Any:
    """Run code on one of the servers; return status line, headers and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.connect()
        # Head and body arrive together, or aiohttp's own server may call the handler before the body is there.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        connection.request(method, path, body, {"Host": "h.example:80", "X-Code": quote(code), **headers})
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        answer = connection.getresponse()
        named = [(name.lower(), value) for name, value in answer.getheaders()]
        kept = sorted(pair for pair in named if pair[0] not in ("date", "server", "x-request-id", "traceparent"))
        return answer.status, answer.reason, kept, answer.read()


@pytest.mark.parametrize("shape", SHAPES)
def test_each_attribute_of_a_request_is_the_same(ports: tuple[int, int], shape: str) -> None:
    """All that the table names, but for what it lists as different."""
    method, path, headers, body = SHAPES[shape]
    different = {}
    for code in REQUESTS[shape].strip().split("\n"):
        ours, theirs = (json.loads(ask(port, method, f"/value{path}", code, headers, body)[-1]) for port in ports)
        if (ours != theirs) != (code in DIFFERENCES):
            different[code] = (ours, theirs)
    assert {} == different


@pytest.mark.parametrize("code", RESPONSES)
def test_each_answer_is_the_same(ports: tuple[int, int], code: str) -> None:
    """Status, reason, headers and body, to GET and to HEAD, but for what the table lists as different."""
    for method in ("GET", "HEAD"):
        ours, theirs = (ask(port, method, "/answer", code, {"Accept-Encoding": "gzip"}, None) for port in ports)
        if method in ANSWERS.get(code, ("", ""))[0]:
            assert theirs != ours, method
        else:
            assert theirs == ours, method


def exceptions() -> Iterator[str]:
    """Name the exceptions that are answers, with what each needs to be made."""
    for name in web.__all__:
        made: Any = getattr(web, name)
        if isinstance(made, type) and issubclass(made, web.HTTPException) and made.status_code > 0:
            if issubclass(made, web.HTTPMove):
                yield f"{name}('/elsewhere')"
            elif made not in (web.HTTPMethodNotAllowed, web.HTTPUnavailableForLegalReasons):
                yield f"{name}(5, 6)" if made is web.HTTPRequestEntityTooLarge else f"{name}()"


def test_each_exception_is_the_same_answer(ports: tuple[int, int]) -> None:
    """Every one that aiohttp has."""
    assert len(list(exceptions())) > 40
    for code in exceptions():
        ours, theirs = (ask(port, "GET", "/answer", f"raise web.{code}", {}, None) for port in ports)
        assert theirs == ours, code


@pytest.mark.parametrize("code", SOCKETS)
def test_each_web_socket_is_the_same(ports: tuple[int, int], code: str) -> None:
    """What the handler gets and what the client gets, up to the end."""

    async def converse(port: int) -> list[object]:
        url, protocols = f"http://127.0.0.1:{port}/answer", ("a", "b")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers={"X-Code": quote(code)}, protocols=protocols, autoping=False) as ws,
        ):
            heard: list[object] = [ws.protocol, ws.compress]
            headers = [(name.lower(), value) for name, value in ws._response.headers.items()]
            varying = ("date", "server", "sec-websocket-accept", "traceparent")
            heard.append(sorted(pair for pair in headers if pair[0] not in varying))
            with contextlib.suppress(ConnectionResetError):
                await ws.send_str("text")
                await ws.send_bytes(b"bytes")
                await ws.send_bytes(b"more")
                await ws.send_str('{"j": 1}')
            message = await ws.receive(TIMEOUT)
            while message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                heard.append((message.type, message.data))
                message = await ws.receive(TIMEOUT)
            return [*heard, message.type, ws.close_code]

    ours, theirs = (asyncio.run(converse(port)) for port in ports)
    assert theirs == ours


def test_the_tables_leave_nothing_out() -> None:
    """Each public attribute of each class is in them."""
    classes: list[type] = [web.Request, web.StreamResponse, web.Response, web.FileResponse, web.WebSocketResponse]
    classes += [web.FileField, web.UrlMappingMatchInfo, web.HTTPException, web.HTTPMethodNotAllowed, web.HTTPMove]
    classes += [aiohttp.BodyPartReader, aiohttp.MultipartReader, aiohttp.StreamReader]
    classes += [multidict.MultiDictProxy, multidict.CIMultiDictProxy]
    text = "\n".join([*REQUESTS.values(), SHOW, *RESPONSES, *SOCKETS])
    tried = set(re.findall(r"\w+", text))
    python = {*dir(dict), *dir(Exception)}
    own = [(cls, name) for cls in classes for name in dir(cls) if not name.startswith("_") and name not in python]
    assert [] == [f"{cls.__name__}.{name}" for cls, name in own if name not in tried]
    assert DIFFERENCES.keys() <= {line for shape in REQUESTS.values() for line in shape.split("\n")}
    assert ANSWERS.keys() <= set(RESPONSES)
