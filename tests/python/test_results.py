"""What a handler may return, and what the client gets for it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.server import Launch, Server, serving
from support.wire import receive_all

#: What results are made of; the server and the tests evaluate the same expressions with these names.
NAMES = """
import collections
import datetime
import decimal
import enum
import http

Point = collections.namedtuple("Point", "x y")

class Code(enum.IntEnum):
    TEAPOT = 418

class Colour(str, enum.Enum):
    RED = "red"

class Text(str):
    pass

class Ordered(dict):
    pass

def cycle():
    value = []
    value.append({"a": value})
    return value

def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value

class Hostile(dict):
    def items(self):
        raise RuntimeError("no items today")

class Mute:
    def __repr__(self):
        raise RuntimeError("no repr today")
"""

RESULT = NAMES + textwrap.dedent(
    """
    import sys
    from plugincore.baseplugin import BasePlugin

    class Result(BasePlugin):
        async def request_handler(self, **data):
            return eval(data["expression"], globals())

    class Plain(BasePlugin):
        def request_handler(self, **data):
            return eval(data["expression"], globals())

    class Whole(BasePlugin):
        async def handle_request(self, **data):
            if "expression" not in data:
                return await super().handle_request(**data)
            return eval(data["expression"], globals())

        async def request_handler(self, **data):
            return 201, data["answer"]

    class Checked(BasePlugin):
        def _check_auth(self, data):
            return data.get("user") == "me"

        def request_handler(self, **data):
            return 202, "in"

    class CheckedLater(BasePlugin):
        async def _check_auth(self, data):
            return data.get("user") == "me"

        def request_handler(self, **data):
            return 202, "in"

    class Modules(BasePlugin):
        def request_handler(self, **data):
            return 200, sorted(name for name in sys.modules if name.partition(".")[0] == "aiohttp")
    """
)

KINDS = """
import asyncio
import functools
import types
from plugincore.baseplugin import BasePlugin

class Awaitable(BasePlugin):
    def request_handler(self, **data):
        return self.later(data)

    async def later(self, data):
        await asyncio.sleep(0)
        return 200, data["subpath"]

class Future(BasePlugin):
    def request_handler(self, **data):
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, (200, data["subpath"]))
        return future

class OwnAwait(BasePlugin):
    class Later:
        def __init__(self, value):
            self.value = value

        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return 200, self.value

    def request_handler(self, **data):
        return self.Later(data["subpath"])

class Generated(BasePlugin):
    @types.coroutine
    def request_handler(self, **data):
        yield
        return 200, data["subpath"]

class Partial(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.request_handler = functools.partial(self.answer, 200)

    async def answer(self, code, **data):
        return code, data["subpath"]

class Callable(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.request_handler = self

    def __call__(self, **data):
        return 200, data["subpath"]

class Static(BasePlugin):
    @staticmethod
    def request_handler(**data):
        return 200, data["subpath"]

class OfClass(BasePlugin):
    @classmethod
    async def request_handler(cls, **data):
        return 200, data["subpath"]

class Function(BasePlugin):
    request_handler = staticmethod(lambda **data: (200, data["subpath"]))

class Inherited(Awaitable):
    pass

class Cached(BasePlugin):
    @functools.cached_property
    def request_handler(self):
        return lambda **data: (200, data["subpath"])

class Unmade(BasePlugin):
    async def request_handler(self, **data):
        yield 200, data["subpath"]

class Generator(BasePlugin):
    def request_handler(self, **data):
        yield 200, data["subpath"]

class Forgotten(BasePlugin):
    async def request_handler(self, **data):
        return asyncio.get_running_loop().create_future()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this page."""
    with serving(tmp_path_factory.mktemp("results"), {"result": RESULT, "kinds": KINDS}) as server:
        yield server


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """Serve them for one test: of the same mistake, only so many are logged in a minute."""
    with serving(tmp_path, {"result": RESULT, "kinds": KINDS}) as server:
        yield server


@pytest.fixture(scope="module")
def names() -> Mapping[str, Any]:
    """Return what expressions may name."""
    scope: dict[str, Any] = {}
    exec(NAMES, scope)
    return scope


def result(server: Server, expression: str, plugin: str = "result") -> httpx.Response:
    """Return the answer of a handler that returns the value of ``expression``, as a client gets it uncompressed."""
    headers = {"Accept-Encoding": "identity"}
    return server.post(f"/{plugin}", content=json.dumps({"expression": expression}), headers=headers)


JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
OCTETS = "application/octet-stream"

AS_JSON = [
    "{}",
    "[]",
    "()",
    "None",
    "True",
    "False",
    "0",
    "-7",
    "1.0",
    "1e16",
    "1e-7",
    "5e-324",
    "0.1 + 0.2",
    "float('nan')",
    "[float('inf'), -float('inf')]",
    "2**200",
    "-2**63 - 1",
    "{'b': 1, 'a': {'d': [], 'c': {}}}",
    "{1: 'int', None: 'none', True: 'bool', 1.5: 'float', 2**70: 'big', 'x': 'str'}",
    "{1: 'a', '1': 'b'}",
    "[1, (2, 3), [4, [5]]]",
    "Point(1, y='z')",
    "{'p': Point(1, 2)}",
    "Code.TEAPOT",
    "[Code.TEAPOT, http.HTTPStatus.OK, Colour.RED]",
    "[Text('t'), {Text('k'): Text('v')}]",
    "Ordered(b=1, a=2)",
    "collections.OrderedDict([('z', 1), ('a', 2)])",
    "collections.Counter('abca')",
    "collections.defaultdict(list, a=[1])",
    "['é', '\\u2028', '\\x7f', '\\0\\n\\t\"\\\\/', '😀', '\\ud800']",
    "{'\\udfff': 1}",
    "list(range(1000))",
    "deep(900)",
    "['x' * 5_000_000]",
]


@pytest.mark.parametrize("expression", AS_JSON)
def test_values_are_written_as_json_dumps_writes_them(server: Server, names: dict[str, Any], expression: str) -> None:
    """Clients compare texts: each byte is what pluginserver's `json.dumps` made of it."""
    answer = result(server, f"(200, {expression})")
    assert (200, JSON) == (answer.status_code, answer.headers["content-type"])
    assert json.dumps(eval(expression, names)).encode() == answer.content


@pytest.mark.parametrize("plugin", ["result", "plain"])
@pytest.mark.parametrize(
    ("expression", "content_type", "body"),
    [
        ("'<p>é</p>'", HTML, "<p>é</p>".encode()),
        ("''", HTML, b""),
        ("Text('t')", HTML, b"t"),
        ("'{\"a\": 1}'", HTML, b'{"a": 1}'),
        ("b'\\x00\\xff'", OCTETS, b"\x00\xff"),
        ("b''", OCTETS, b""),
        ("bytearray(b'ab')", OCTETS, b"ab"),
        ("memoryview(b'abcd')[1:3]", OCTETS, b"bc"),
        ("memoryview(b'abcd')[::2]", OCTETS, b"ac"),
        ("'x' * 5_000_000", HTML, b"x" * 5_000_000),
        ("b'x' * 5_000_000", OCTETS, b"x" * 5_000_000),
        ("{'a': 1}", JSON, b'{"a": 1}'),
        ("[1]", JSON, b"[1]"),
        ("7", JSON, b"7"),
        ("1.5", JSON, b"1.5"),
        ("True", JSON, b"true"),
        ("None", JSON, b"null"),
    ],
)
def test_a_bare_value_is_answered_like_one_with_the_code_200(
    server: Server, plugin: str, expression: str, content_type: str, body: bytes
) -> None:
    """Text is HTML, bytes are bytes, everything else is JSON; plugins of before 0.5 return no code."""
    for written in (expression, f"(200, {expression})"):
        answer = result(server, written, plugin)
        assert (200, content_type, str(len(body))) == (
            answer.status_code,
            answer.headers["content-type"],
            answer.headers["content-length"],
        )
        assert body == answer.content


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("200", 200),
        ("201", 201),
        ("299", 299),
        ("404", 404),
        ("599", 599),
        ("Code.TEAPOT", 418),
        ("http.HTTPStatus.CREATED", 201),
    ],
)
@pytest.mark.parametrize("value", ["{'a': 1}", "[1]", "'text'", "None", "b'x'"])
def test_the_handlers_code_is_the_status(server: Server, code: str, status: int, value: str) -> None:
    """The first of the tuple is the status, whatever the second is."""
    assert status == result(server, f"({code}, {value})").status_code


@pytest.mark.parametrize(
    "code", ["99", "100", "101", "600", "-1", "0", "2**70", "True", "'200'", "200.0", "None", "Mute()"]
)
def test_a_code_that_is_no_status_is_a_500_that_says_so(server: Server, code: str) -> None:
    """A code that cannot be sent, or that only looks like one, is an error of the plugin's author."""
    answer = result(server, f"({code}, {{}})")
    assert (500, JSON) == (answer.status_code, answer.headers["content-type"])
    assert answer.json()["error"].endswith("is not a whole number from 200 to 599")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("()", "a tuple of 0 items"),
        ("(200,)", "a tuple of 1 items"),
        ("(200, {}, {}, {})", "a tuple of 4 items"),
        ("(200, {b'a'})", "Object of type bytes is not JSON serializable"),
        ("(200, [datetime.timedelta(1)])", "Object of type timedelta is not JSON serializable"),
        ("(200, {'a': 1j})", "Object of type complex is not JSON serializable"),
        ("(200, collections.UserDict(a=1))", "Object of type UserDict is not JSON serializable"),
        ("(200, {(1, 2): 3})", "keys must be str, int, float, bool or None, not tuple"),
        ("(200, {b'a': 3})", "keys must be str, int, float, bool or None, not bytes"),
        ("(200, [b'a'])", "Object of type bytes is not JSON serializable"),
        ("(200, cycle())", "deep"),
        ("(200, deep(100_000))", "deep"),
        ("(200, Hostile(a=1))", "no items today"),
        ("(200, '\\ud800')", "surrogates not allowed"),
        ("(200, object)", "Object of type type is not JSON serializable"),
        ("(200, 10**5000)", "digit"),
        ("(200, {}, 5)", "headers must be a dict or a list of pairs"),
        ("(200, {}, [1])", "headers must be a dict or a list of pairs"),
        ("(200, {}, {'X-A': 'b\\r\\nX-B: c'})", "header x-a has a line break"),
        ("(200, {}, {'X-A': 'b\\nc'})", "header x-a has a line break"),
        ("(200, {}, {'X-A': '\\0'})", "header x-a has a line break or another control character"),
        ("(200, {}, {'X A': 'b'})", "is not a header name"),
        ("(200, {}, {'X-A\\r\\n': 'b'})", "is not a header name"),
        ("(200, {}, {'': 'b'})", "is not a header name"),
        ("(200, {}, {'X-A': None})", "the value of header x-a is of type NoneType"),
        ("(200, {}, {5: 'x', 'X-B': object()})", "the value of header x-b is of type object"),
        ("(200, {}, {None: 'x'})", 'the header name "None" is not text'),
    ],
)
def test_a_result_that_cannot_be_sent_is_a_500_with_the_reason_in_the_log(
    fresh: Server, expression: str, reason: str
) -> None:
    """The client gets JSON with the request's id, and the log names plugin, request and reason; the server lives on."""
    since = len(fresh.lines)
    answer = result(fresh, expression)
    assert (500, JSON) == (answer.status_code, answer.headers["content-type"])
    told = answer.json()
    assert reason in told["error"]
    assert answer.headers["x-request-id"] == told["request_id"]
    assert reason in fresh.wait_for(f"plugin result: request {told['request_id']}: the handler's result", since)
    assert 200 == result(fresh, "(200, 'still here')").status_code


@pytest.mark.parametrize(
    ("expression", "body"),
    [
        ("(200, {1})", "[1]"),
        ("[datetime.datetime(2026, 1, 2, 3, 4)]", '["2026-01-02T03:04:00"]'),
        ("200, datetime.date(2026, 1, 2)", '"2026-01-02"'),
        ("{'a': decimal.Decimal('1.10')}", '{"a": "1.10"}'),
    ],
)
def test_objects_with_an_obvious_form_are_written_as_json(server: Server, expression: str, body: str) -> None:
    """Also alone; `json.dumps` refuses them."""
    answer = result(server, expression)
    assert (200, JSON, body) == (answer.status_code, answer.headers["content-type"], answer.text)


def test_an_error_deep_inside_a_value_is_told_with_its_place(server: Server) -> None:
    """In a large result it matters where the one bad value is; the log names it, the answer does not."""
    answer = result(server, "(200, {'rows': [1, {'when': 3j}]})").json()
    server.wait_for(rf'{answer["request_id"]}: .*result\["rows"\]\[1\]\["when"\]: TypeError')
    assert "rows" not in answer["error"]


FORGETFUL = """
import asyncio
from plugincore.baseplugin import BasePlugin

class Forgetful(BasePlugin):
    async def helper(self):
        return {}

    async def items(self):
        yield 1

    async def request_handler(self, **data):
        return eval(data["expression"])
"""


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        (
            "self.helper()",
            "Object of type coroutine is not JSON serializable; an await is missing before Forgetful.helper()",
        ),
        ("(200, self.helper())", "an await is missing before Forgetful.helper()"),
        ("(200, {'a': [self.helper()]})", "an await is missing before Forgetful.helper()"),
        ("(200, asyncio.ensure_future(self.helper()))", "an await is missing"),
        (
            "(self.helper(), {})",
            "the code of type coroutine is not a whole number from 200 to 599; an await is missing",
        ),
        ("(200, {}, {'X-One': self.helper()})", "an await is missing before Forgetful.helper()"),
        ("(200, self.items())", "[item async for item in ...]"),
    ],
)
def test_a_forgotten_await_is_called_by_its_name(launch: Launch, expression: str, told: str) -> None:
    """`Object of type coroutine is not JSON serializable` does not lead to the helper that was not awaited."""
    answer = launch({"forgetful": FORGETFUL}).get("/forgetful", params={"expression": expression})
    assert 500 == answer.status_code
    assert told in answer.json()["error"], answer.text


def test_what_stands_in_the_codes_place_is_not_shown(server: Server) -> None:
    """Swapped items must not send the plugin's data to a stranger."""
    assert "hunter2" not in result(server, "({'password': 'hunter2'}, 200)").text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{'X-One': '1', 'x-two': 2}", [("x-one", "1"), ("x-two", "2")]),
        ("[('X-One', '1'), ('X-One', '2')]", [("x-one", "1"), ("x-one", "2")]),
        ("{'Set-Cookie': ['a=1', 'b=2']}", [("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        ("{'Set-Cookie': ('a=1', 'b=2')}", [("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        ("{b'X-One': b'bytes'}", [("x-one", "bytes")]),
        ("{'X-One': 'tab\\there'}", [("x-one", "tab\there")]),
        ("{'X-One': ''}", [("x-one", "")]),
        ("{'X-One': Code.TEAPOT, 'X-Two': 1.5}", [("x-two", "1.5")]),
        ("{'Location': '/é'}", [("location", "/é")]),
        ("None", []),
        ("{}", []),
    ],
)
def test_the_third_of_the_tuple_is_headers(server: Server, given: str, expected: list[tuple[str, str]]) -> None:
    """A dict or a list of pairs; a list of values repeats the header."""
    answer = result(server, f"(201, {{}}, {given})")
    assert 201 == answer.status_code, answer.text
    sent = [(name.decode().lower(), value.decode()) for name, value in answer.headers.raw]
    assert expected == [pair for pair in sent if pair[0] in {name for name, _ in expected}]
    assert JSON == answer.headers["content-type"]


def test_a_handlers_own_content_type_replaces_ours(server: Server) -> None:
    """There is one content type, the handler's."""
    answer = result(server, "(200, 'a,b', {'content-TYPE': 'text/csv'})")
    assert ["text/csv"] == answer.headers.get_list("content-type")


def test_headers_of_the_connection_are_the_hosts_business(server: Server) -> None:
    """A wrong length or an own transfer coding would break the connection, so they are not sent."""
    given = "{'Content-Length': '999', 'Transfer-Encoding': 'chunked', 'Connection': 'upgrade', 'Keep-Alive': '1'}"
    with server.client() as client:
        answer = client.post("/result", content=json.dumps({"expression": f"(200, 'abc', {given})"}))
        assert (b"abc", "3") == (answer.content, answer.headers["content-length"])
        assert not {"transfer-encoding", "connection", "keep-alive"} & set(answer.headers)


def test_a_handler_may_have_the_connection_closed(server: Server) -> None:
    """`Connection: close` is sent and done, whatever kind of result it comes with."""

    def asking(expression: str) -> bytes:
        body = json.dumps({"expression": expression}).encode()
        return f"POST /result HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    for expression in ("(200, 'abc', {'Connection': 'Close'})", "(200, {'a': 1}, [('connection', b'close')])"):
        with server.connect() as connection:
            connection.sendall(asking(expression))
            assert b"\r\nconnection: close\r\n" in receive_all(connection).lower()


@pytest.mark.parametrize("code", [204, 205, 304])
def test_a_status_without_a_body_leaves_the_connection_whole(server: Server, code: int) -> None:
    """What a handler returns beside such a code is not sent, and the next answer comes on the same connection."""

    def asking(expression: str, connection: str) -> bytes:
        body = json.dumps({"expression": expression}).encode()
        head = f"POST /result HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    with server.connect() as connection:
        connection.sendall(asking(f"({code}, {{'a': 1}})", "keep-alive") + asking("(200, 'next')", "close"))
        head, _, rest = receive_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % code)
    assert b"content-type" not in head.lower()
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
    assert rest.endswith(b"\r\n\r\nnext")


@pytest.mark.parametrize(
    "plugin",
    [
        "awaitable",
        "future",
        "ownawait",
        "generated",
        "partial",
        "callable",
        "static",
        "ofclass",
        "function",
        "inherited",
        "cached",
    ],
)
def test_a_handler_may_be_anything_that_can_be_called(server: Server, plugin: str) -> None:
    """Plain or async, bound or not, made of what Python lets one call and await."""
    answer = server.get(f"/{plugin}/x")
    assert (200, "x") == (answer.status_code, answer.text)


@pytest.mark.parametrize(
    ("plugin", "kind"), [("unmade", "async_generator"), ("generator", "generator"), ("forgotten", "Future")]
)
def test_a_handler_that_returns_something_unfinished_is_told_what_it_returned(
    server: Server, plugin: str, kind: str
) -> None:
    """A generator, or an awaitable that was not awaited, is not a result."""
    answer = server.get(f"/{plugin}")
    assert 500 == answer.status_code
    assert f"Object of type {kind} is not JSON serializable" in answer.json()["error"]


@pytest.mark.parametrize(
    ("expression", "status", "content_type", "body"),
    [
        ("{'a': 1}", 200, JSON, b'{"a": 1}'),
        ("[1]", 200, JSON, b"[1]"),
        ("'text'", 200, "text/plain; charset=utf-8", b"text"),
        ("(404, 'text')", 404, HTML, b"text"),
        ("(404, {'a': 1}, {'X-A': 'b'})", 404, JSON, b'{"a": 1}'),
    ],
)
def test_an_overloaded_handle_request_answers_for_itself(
    server: Server, expression: str, status: int, content_type: str, body: bytes
) -> None:
    """A plugin may take the whole request over; bare text is then plain, as it was in pluginserver."""
    answer = result(server, expression, "whole")
    assert (status, content_type, body) == (answer.status_code, answer.headers["content-type"], answer.content)


def test_an_overloaded_handle_request_may_call_the_one_it_overloads(server: Server) -> None:
    """`super().handle_request` runs `request_handler` and gives a response of what that returned."""
    answer = server.get("/whole?answer=text")
    assert (201, HTML, "text") == (answer.status_code, answer.headers["content-type"], answer.text)


@pytest.mark.parametrize("plugin", ["checked", "checkedlater"])
def test_an_overloaded_check_decides_who_comes_in(server: Server, plugin: str) -> None:
    """`_check_auth` of the plugin, plain or async, is called for each request."""
    assert (202, "in") == ((answer := server.get(f"/{plugin}?user=me")).status_code, answer.text)
    refused = server.get(f"/{plugin}", headers={"X-Request-Id": "mine"})
    expected = {"error": "unauthorized", "code": "unauthorized", "request_id": "mine"}
    assert (403, expected) == (refused.status_code, refused.json())


def test_the_host_never_imports_aiohttp(server: Server) -> None:
    """Plugins that do not use aiohttp do not pay for it, even where it is installed."""
    result(server, "(200, object())")
    server.get("/whole?expression=1/0")
    assert [] == server.get("/modules").json()


@pytest.mark.parametrize("code", [200, 201, 404, 500])
def test_legacy_status_answers_200_whatever_the_code(launch: Launch, code: int) -> None:
    """`[compat] legacy_status` is for clients that were written for pluginserver, which always answered 200."""
    server = launch({"result": RESULT}, ini_more="[compat]\nlegacy_status = bool:true\n")
    answer = result(server, f"({code}, {{'a': 1}})")
    assert (200, {"a": 1}) == (answer.status_code, answer.json())
    failed = result(server, "1/0")
    assert (200, "exception") == (failed.status_code, failed.json()["status"])
    assert 500 == result(server, "(200, 1j)").status_code
