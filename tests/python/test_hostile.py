"""What clients should not send: a clear refusal or the documented leniency, and a server that goes on."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator

import psutil
import pytest

from support.server import Launch, Server, serving
from support.wait import wait_until
from support.wire import HOST, Wire, ask, post, receive_all

ECHO = """
from plugincore.baseplugin import BasePlugin

class Echo(BasePlugin):
    async def request_handler(self, **data):
        own = ("log", "request", "request_headers", "client_ip", "subpath")
        variables = {name: value for name, value in data.items() if name not in own}
        if "size" in data:
            variables = len(repr(variables))
        return 200, {"subpath": data["subpath"], "variables": variables}
"""

END = b"\r\n"
HEALTHY = b"GET /-/healthy" + HOST + END


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all attacks."""
    with serving(tmp_path_factory.mktemp("hostile"), {"echo": ECHO}) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with a short read timeout."""
    with serving(tmp_path_factory.mktemp("impatient"), {"echo": ECHO}, "[server]\nread_timeout=300ms\n") as running:
        yield running


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """Check after each attack that the server serves and has shown no traceback and no panic."""
    since = len(shared.lines)
    yield shared
    assert {"subpath": "on", "variables": {"still": "1"}} == shared.get("/echo/on?still=1").json()
    assert not re.search(r"Traceback|panick", "\n".join(shared.lines[since:])), shared.log


def refusal(server: Server, data: bytes) -> tuple[int, str]:
    """Send what is to be refused, and check that the answer is JSON and the last one on its connection."""
    with Wire(server) as wire:
        answer = wire.ask(data)
        error = answer.error
        assert "close" == answer.headers["connection"]
        assert wire.is_closed()
    assert not re.search(r"Traceback|\.rs\b|\.py\b", error)
    return answer.status, error


MALFORMED = {
    "nonsense": b"nonsense\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "two targets": b"GET /a /b HTTP/1.1\r\nHost: x\r\n\r\n",
    "only a method": b"GET\r\n\r\n",
    "method with a NUL": b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "method of symbols": b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "lower-case version": b"GET /echo http/1.1\r\nHost: x\r\n\r\n",
    "version 0.9": b"GET /echo\r\n\r\n",
    "another protocol": b"EHLO example.org\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 40,
    "NUL in the target": b"GET /echo\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in a header": b"GET /echo HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "space in a header's name": b"GET /echo HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    "no colon": b"GET /echo HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
    "no header's name": b"GET /echo HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
    "folded header": b"GET /echo HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "white space before the first header": b"GET /echo HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare carriage return": b"GET /echo HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
    "no host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /echo HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_head_is_a_400_and_the_end_of_the_connection(server: Server, case: str) -> None:
    """Whatever follows on the connection could be misread, so nothing is read."""
    status, error = refusal(server, MALFORMED[case] + HEALTHY)
    assert 400 == status
    assert error.startswith("malformed request: "), error


#: Each is followed by a request for another address, which must not be answered as if it stood on its own.
SMUGGLING = {
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": b"Content-Length: 3, 4\r\n\r\nabcd",
    "negative length": b"Content-Length: -1\r\n\r\n",
    "signed length": b"Content-Length: +3\r\n\r\nabc",
    "hexadecimal length": b"Content-Length: 0x3\r\n\r\nabc",
    "length of two words": b"Content-Length: 3 4\r\n\r\nabcd",
    "empty length": b"Content-Length: \r\n\r\n",
    "length beyond 64 bits": b"Content-Length: 18446744073709551619\r\n\r\nabc",
    "space before the colon of an encoding": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "space before the colon of a length": b"Content-Length : 3\r\n\r\nabc",
    "tab before the colon": b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "folded encoding": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "chunked is not the last encoding": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked and unknown": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", SMUGGLING)
def test_a_body_whose_length_is_unclear_is_a_400_and_the_end_of_the_connection(server: Server, case: str) -> None:
    """No part of such a body is ever taken for a request."""
    assert 400 == refusal(server, b"POST /echo" + HOST + SMUGGLING[case] + HEALTHY)[0]


def test_a_chunked_request_of_http_1_0_is_refused(server: Server) -> None:
    """HTTP/1.0 has no chunks, so proxies disagree about where such a body ends."""
    assert 400 == refusal(server, b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HEALTHY)[0]


CHUNKS = {
    "no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "negative": b"-1\r\nabc\r\n0\r\n\r\n",
    "beyond 64 bits": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "too short": b"2\r\nabc\r\n0\r\n\r\n",
    "line feed only": b"3\nabc\n0\n\n",
    "line feed in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "endless size line": b"3;" + b"a" * 40000,
    "endless trailers": b"0\r\n" + b"a: b\r\n" * 20000,
}


@pytest.mark.parametrize("case", CHUNKS)
def test_a_broken_chunk_is_a_400_and_the_end_of_the_connection(server: Server, case: str) -> None:
    """The next request cannot be found behind it."""
    head = b"POST /echo" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert 400 == refusal(server, head + CHUNKS[case] + HEALTHY)[0]


def test_chunks_with_extensions_and_trailers_are_read(server: Server) -> None:
    """They are legal, and the next request follows."""
    head = b"POST /echo" + HOST + b"Transfer-Encoding: Chunked\r\nTrailer: T\r\n\r\n"
    with Wire(server) as wire:
        answer = wire.ask(head + b'6;x="y"\r\n{"a": \r\n002\r\n1}\r\n0\r\nT: u\r\n\r\n')
        assert {"a": 1} == json.loads(answer.body)["variables"]
        assert wire.still_serves()


def test_an_endless_chunked_body_is_a_413(server: Server) -> None:
    """It is counted as it comes, and the client that still sends gets to read the answer."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    data = b"POST /echo" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40
    with Wire(server) as wire:
        answer = wire.ask(data)
        assert (413, "the request body is larger than 1048576 bytes") == (answer.status, answer.error)
        assert "close" == answer.headers["connection"]


def test_a_huge_length_is_a_413_without_reading(server: Server) -> None:
    """As soon as the head is there."""
    answer = ask(server, b"POST /echo" + HOST + b"Content-Length: 9223372036854775807\r\n\r\n")
    assert (413, "close") == (answer.status, answer.headers["connection"])
    assert answer.error


HUGE = {
    "long target": (414, b"GET /" + b"a" * 70000 + HOST + END),
    "long header": (431, b"GET /echo" + HOST + b"A: " + b"a" * 70000 + END + END),
    "many long headers": (
        431,
        b"GET /echo" + HOST + b"".join(b"A%d: %s\r\n" % (n, b"a" * 1000) for n in range(80)) + END,
    ),
    "over a hundred headers": (431, b"GET /echo" + HOST + b"A: b\r\n" * 100 + END),
    "endless header": (431, b"GET /echo" + HOST + b"A: " + b"a" * (3 << 20)),
    "endless target": (414, b"GET /" + b"a" * (3 << 20)),
    "endless method": (400, b"A" * (1 << 20)),
    "endless empty lines": (400, END * (1 << 19)),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_head_beyond_the_limits_is_refused(server: Server, case: str) -> None:
    """431 for headers, 414 for the target; a client that goes on sending gets to read it."""
    expected, data = HUGE[case]
    status, _ = refusal(server, data)
    assert status in {400: (400, 431)}.get(expected, (expected,))


def test_a_hundred_headers_pass(server: Server) -> None:
    """The limit is the documented one."""
    assert 200 == ask(server, b"GET /echo" + HOST + b"A: b\r\n" * 99 + END).status


def test_http_2_in_a_request_of_http_1_is_refused(server: Server) -> None:
    """The answer names the version that is meant for such requests."""
    status, error = refusal(server, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n")
    assert (505, "HTTP/2 is not spoken here: use HTTP/1.1") == (status, error)


def test_an_upgrade_is_not_taken_up(server: Server) -> None:
    """The request is answered as if nothing had been offered."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    with Wire(server) as wire:
        assert 200 == wire.ask(b"GET /echo" + HOST + upgrade).status
        assert wire.still_serves()


PATHS = {
    "/echo/a/../b": 400,
    "/echo/..": 400,
    "/../echo": 400,
    "/echo/%2e%2e/b": 400,
    "/echo/%2E%2e": 400,
    "/echo/.%2e/b": 400,
    "/echo/a%2f..%2fb": 400,
    "/echo/%252e%252e/b": "%2e%2e/b",
    "/echo/%c0%ae%c0%ae/b": "%c0%ae%c0%ae/b",
    "/echo/a/..b/b..": "a/..b/b..",
    "/echo/...": "...",
    "/echo/./a": "./a",
    "/echo//etc/passwd": 400,
    "/echo/%2Fetc/passwd": 400,
    "/echo/a//b": "a//b",
    "//echo": 404,
    "/echo/a%00b": 400,
    "/echo/%ff": "%ff",
    "/echo/%C3%A9": "é",
    "/echo/%": "%",
    "/echo/%zz%4": "%zz%4",
    "/echo/%0d%0aX-Evil:%201": "\r\nX-Evil: 1",
    "/echo/..%5c..%5cb": "..\\..\\b",
    "/echo/..\\b": "..\\b",
    "/echo/a;b=c": "a;b=c",
    "/echo/%2e%2e%2f%2e%2e%2fetc": 400,
    "/echo%2fa": "a",
    "/echo/" + "a/" * 5000: "a/" * 5000,
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_cannot_leave_the_folder_of_a_plugin(server: Server, path: str) -> None:
    """It is decoded once; `..` segments, a second slash, NUL and what is no UTF-8 are refused, all else is kept."""
    with Wire(server) as wire:
        answer = wire.ask(b"GET " + path.encode() + HOST + END)
        if answer.status == 200:
            assert PATHS[path] == json.loads(answer.body)["subpath"]
        else:
            assert PATHS[path] == answer.status, answer.error
            assert answer.error
        assert wire.still_serves()


def test_bytes_beyond_ascii_in_a_target_are_refused(server: Server) -> None:
    """They have to be escaped; sent as they are, their charset is unclear."""
    assert 400 == refusal(server, b"GET /echo/\xc3\xa9" + HOST + END)[0]
    assert 400 == refusal(server, b"GET /echo?n=\xff" + HOST + END)[0]


def test_bytes_that_are_no_text_in_a_header_do_no_harm(server: Server) -> None:
    """Headers may hold any byte but control characters."""
    with Wire(server) as wire:
        for value in (b"\xff\xfe", b"\xc3", bytes(range(128, 256))):
            lines = b"".join(
                name + b": " + value + END for name in (b"X-A", b"X-Custom-Auth", b"X-Forwarded-For", b"Cookie")
            )
            assert 200 == wire.ask(b"GET /echo" + HOST + lines + b"Content-Type: " + value + END + END).status
        assert wire.still_serves()


QUERIES = {
    "self=1&__class__=2&=3&cls=4": {"__class__": "2", "": "3", "cls": "4"},
    "request=1&log=2&request_headers=3&subpath=4&client_ip=5": {},
    "a=%&b=%zz&c=%4": {"a": "%", "b": "%zz", "c": "%4"},
    "a=%ff&%ff=b": {"a": "\ufffd", "\ufffd": "b"},
    "a%00b=%00": {"a\0b": "\0"},
    "a=1&a=2": {"a": "1"},
    "&&&=&a&": {"": "", "a": ""},
    "a=b=c;d=e": {"a": "b=c;d=e"},
    "a?b=c?d": {"a?b": "c?d"},
    "__init__=1&__dict__=2&_apikey=3&_auth_type=4": {
        "__init__": "1",
        "__dict__": "2",
        "_apikey": "3",
        "_auth_type": "4",
    },
    "%F0%9F%98%80=%ED%A0%80": {"😀": "\ufffd\ufffd\ufffd"},
    "n" * 20000 + "=1": {"n" * 20000: "1"},
}


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_hostile_names_and_values_are_data_like_any_other(server: Server, query: str) -> None:
    """A name can neither replace what the host passes nor break the call; a form means the same as a query."""
    assert QUERIES[query] == json.loads(ask(server, b"GET /echo?" + query.encode() + HOST + END).body)["variables"]
    form = ask(server, post("/echo", query.encode(), "Content-Type: application/x-www-form-urlencoded"))
    assert QUERIES[query] == json.loads(form.body)["variables"]


@pytest.mark.parametrize("query", list(QUERIES)[:6], ids=range(6))
def test_the_same_names_in_json_are_data_like_any_other(server: Server, query: str) -> None:
    """A name can neither replace what the host passes nor break the call."""
    names = {"self": "x", "request": 1, "log": None, "request_headers": {}, "subpath": [], "client_ip": "1.2.3.4"}
    answer = server.post("/echo/s", json={**names, **QUERIES[query]})
    assert {"subpath": "s", "variables": QUERIES[query]} == answer.json()


def test_ten_thousand_variables_are_read(server: Server) -> None:
    """In a query as far as the head limit goes, in a form as far as the body limit goes."""
    variables = {f"a{number}": "" for number in range(10000)}
    assert variables == server.get("/echo?" + "&".join(variables)).json()["variables"]
    variables = {f"a{number}": str(number) for number in range(60000)}
    assert variables == server.post("/echo", data=variables).json()["variables"]


BODIES = [
    b"{",
    b"}",
    b'{"a": 1',
    b'{"a": 1}x',
    b'{"a": 1}{"b": 2}',
    b"{'a': 1}",
    b'{"a": 1,}',
    b"{a: 1}",
    b'{"a": 01}',
    b'{"a": "\n"}',
    b'{"a": "\\x"}',
    b'{"a": "\\u12"}',
    b'{"a": tru}',
    b'{"a": "\xff"}',
    b'{"\xff": 1}',
    b'\xef\xbb\xbf{"a": 1}',
    b'{"a": 1e}',
    b'{"a"}',
    b"[]",
    b'[["a", 1]]',
    b'["ab"]',
    b"null",
    b"1",
    b'"text"',
    b"\0",
    b"   ",
    b"\xff\xfe{\0}\0",
    b'{"a": ' * 50000,
    b"[" * 1000000,
    b'{"a": ' + b"[" * 1000000,
    b'{"a": ' + b"[" * 400000 + b"]" * 400000 + b"}",
    b'{"a": ' * 100000 + b"1" + b"}" * 100000,
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_is_no_json_object_is_no_data(server: Server, body: bytes) -> None:
    """It is ignored, as pluginserver did, and the request goes on; depth is no danger."""
    for content_type in ("application/json", "text/plain"):
        with Wire(server) as wire:
            answer = wire.ask(post("/echo", body, f"Content-Type: {content_type}"))
            assert (200, {}) == (answer.status, json.loads(answer.body)["variables"])
            assert wire.still_serves()


NUMBERS = {
    b'{"a": NaN}': "NaN",
    b'{"a": 1e400}': "Infinity",
    b'{"a": ' + b"1" * 3000 + b"}": "1" * 3000,
    b'{"a": -0}': "0",
    b'{"a": "\\ud83d\\ude00"}': '"\\ud83d\\ude00"',
}


@pytest.mark.parametrize("body", NUMBERS, ids=range(len(NUMBERS)))
def test_odd_values_are_those_of_pythons_json(server: Server, body: bytes) -> None:
    """As json.loads reads and json.dumps writes them."""
    expected = '{"subpath": null, "variables": {"a": ' + NUMBERS[body] + "}}"
    assert expected == ask(server, post("/echo", body)).body.decode()


@pytest.mark.parametrize("body", [b'{"a": "\\ud800"}', b'{"a": ' + b"9" * 5000 + b"}"], ids=["surrogate", "digits"])
def test_values_that_python_can_not_hold_or_write_end_in_an_answer(server: Server, body: bytes) -> None:
    """A lone surrogate, or more digits than Python converts, is ignored or a 500, never a hang."""
    with Wire(server) as wire:
        assert wire.ask(post("/echo", body)).status in (200, 500)
        assert wire.still_serves()


MULTIPART = [
    b"",
    b"--b",
    b"--b\r\n",
    b"--b--",
    b"--b\r\n\r\n\r\n--b--",
    b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    b'--b\r\nContent-Disposition: form-data; name="a\r\n\r\nx\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nnever ends',
    b"--b\r\n" + b"A: b\r\n" * 50000,
    b"--b\r\nContent-Disposition: form-data; name=" + b"a" * 500000,
    b"--b\r\n" * 100000,
]


@pytest.mark.parametrize("body", MULTIPART, ids=range(len(MULTIPART)))
def test_a_broken_multipart_body_is_no_data(server: Server, body: bytes) -> None:
    """It is ignored, and the request goes on."""
    with Wire(server) as wire:
        answer = wire.ask(post("/echo", body, "Content-Type: multipart/form-data; boundary=b"))
        assert (200, {}) == (answer.status, json.loads(answer.body)["variables"])
        assert wire.still_serves()


def test_a_head_that_does_not_end_is_a_408(impatient: Server) -> None:
    """A client may not hold a connection for longer than the read timeout."""
    with Wire(impatient) as wire:
        wire.send(b"GET /echo HTTP/1.1\r\nHo")
        answer = wire.answer()
        assert (408, "request line and headers took too long to arrive") == (answer.status, answer.error)
        assert wire.is_closed()


def test_a_body_that_does_not_end_is_a_408(impatient: Server) -> None:
    """Neither with a length nor in chunks; the plugin is never called."""
    for head in (b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"):
        with Wire(impatient) as wire:
            answer = wire.ask(b"POST /echo" + HOST + head)
            assert (408, "the request body did not arrive in time") == (answer.status, answer.error)
            assert wire.is_closed()


def test_an_idle_connection_is_closed_without_a_word(impatient: Server) -> None:
    """Before its first request and after one."""
    with Wire(impatient) as fresh, Wire(impatient) as used:
        assert used.still_serves()
        assert fresh.is_closed()
        assert used.is_closed()


WAITING = """
import asyncio
import os
from plugincore.baseplugin import BasePlugin

class Waiting(BasePlugin):
    async def request_handler(self, **data):
        while not os.path.exists("go"):
            await asyncio.sleep(0.005)
        return 200, {}

class Tasks(BasePlugin):
    async def request_handler(self, **data):
        return 200, len(asyncio.all_tasks())
"""

LEAVING = {
    "in the head": b"GET /wai",
    "in the body": b"POST /waiting" + HOST + b"Content-Length: 10\r\n\r\nabc",
    "before the answer": b"GET /waiting" + HOST + END,
}


@pytest.mark.parametrize("when", LEAVING)
def test_clients_that_leave_early_are_forgotten(launch: Launch, when: str) -> None:
    """Descriptors, tasks and places are free again, the places of handlers that run when these return."""
    places = 8
    server = launch({"waiting": WAITING}, ini_more=f"[server]\nmax_in_flight={places}\n")
    process = psutil.Process(server.pid)
    count = b"GET /tasks" + HOST + END
    tasks = ask(server, count).body
    descriptors = process.num_fds()
    for _ in range(5):  # so that each place would be lost more than once
        wires = [Wire(server) for _ in range(places)]
        for wire in wires:
            wire.send(LEAVING[when])
        if when == "before the answer":
            wait_until(lambda: ask(server, count).status == 503, "not all are inside")
        for wire in wires:
            wire.close()
        (server.folder / "go").touch()
        wait_until(lambda: ask(server, count).body == tasks, lambda: ask(server, count).body)
        (server.folder / "go").unlink()
    wait_until(lambda: process.num_fds() <= descriptors, lambda: f"{descriptors} became {process.num_fds()}")


def test_a_client_that_expects_100_continue_gets_it_or_the_refusal(server: Server) -> None:
    """Before it sends the body."""
    with Wire(server) as wire:
        answer = wire.ask(b"POST /echo" + HOST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert 100 == answer.status
        assert {"a": 123} == json.loads(wire.ask(b'{"a": 123}').body)["variables"]
        assert wire.still_serves()
    for path, status in (("/nowhere", 404), ("/echo//x", 400)):
        head = f"POST {path}".encode() + HOST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
        answer = ask(server, head)
        assert (status, "close") == (answer.status, answer.headers["connection"])
    head = b"POST /echo" + HOST + b"Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n"
    assert 413 == ask(server, head).status


def test_what_follows_a_refused_body_is_not_taken_for_a_request(server: Server) -> None:
    """The body of a refused request may look like one."""
    with Wire(server) as wire:
        assert 404 == wire.ask(post("/nowhere", HEALTHY)).status
        assert wire.is_closed()


def test_a_thousand_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """With bodies between them."""
    requests = b"".join(post(f"/echo/{number}", b'{"n": %d}' % number) for number in range(1000))
    with Wire(server) as wire:
        wire.send(requests)
        for number in range(1000):
            expected = {"subpath": str(number), "variables": {"n": number}}
            assert expected == json.loads(wire.answer().body)
        assert wire.still_serves()


def test_http_1_0_is_closed_unless_it_asks_otherwise(server: Server) -> None:
    """It needs no host either."""
    with Wire(server) as wire:
        assert 200 == wire.ask(b"GET /echo HTTP/1.0\r\n\r\n").status
        assert wire.is_closed()
    with Wire(server) as wire:
        for _ in range(2):
            answer = wire.ask(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert ("HTTP/1.1", 200, "keep-alive") == (answer.version, answer.status, answer.headers["connection"])


def test_the_absolute_form_of_a_target_is_read(server: Server) -> None:
    """As clients of a proxy send it."""
    answer = ask(server, b"GET http://other.example/echo/a?b=c" + HOST + END)
    assert {"subpath": "a", "variables": {"b": "c"}} == json.loads(answer.body)


@pytest.mark.parametrize("target", [b"CONNECT example.org:443", b"CONNECT /echo", b"GET echo", b"GET *"])
def test_targets_that_are_no_path_are_refused(server: Server, target: bytes) -> None:
    """The server is not a tunnel, and no plugin answers."""
    assert refusal(server, target + HOST + END)[0] in (400, 501)


def test_idle_connections_do_not_keep_others_out(launch: Launch) -> None:
    """Five hundred at once; they cost a descriptor each, not a thread."""
    server = launch({"echo": ECHO})
    idle = [server.connect() for _ in range(500)]
    try:
        assert 200 == server.get("/echo").status_code
        assert 200 == ask(server, HEALTHY).status
        with Wire(idle[-1]) as last:
            assert last.still_serves()
    finally:
        for connection in idle:
            connection.close()


def test_a_client_that_only_closes_its_sending_side_does_no_harm(server: Server) -> None:
    """It counts as gone, so an answer is possible but not promised; either way the connection ends."""
    with Wire(server) as wire:
        wire.send(b"GET /echo" + HOST + END)
        wire.socket.shutdown(socket.SHUT_WR)
        assert receive_all(wire.socket)[:12] in (b"HTTP/1.1 200", b"")


GRAMMAR = [
    b"GET ", b"POST ", b"/echo", b"/", b"?", b"%", b"=", b"&", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n", b"\n",
    b"\r", b"Host: x\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: keep-alive\r\n",
    b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"3\r\nabc\r\n", b"{", b'"apikey"', b": ", b"\0", b"\xff", b"12",
    b"Origin: ", b"..", b"//", b"Content-Type: multipart/form-data; boundary=b\r\n", b"--b\r\n",
    b"Upgrade: websocket\r\n", b"PRI * HTTP/2.0\r\n",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_never_break_the_server(server: Server, seed: int) -> None:
    """Noise and shuffled pieces of HTTP: each connection gets whole answers or none, and none is a server error."""
    source = random.Random(seed)
    for _ in range(100):
        if source.random() < 0.3:
            data = source.randbytes(source.randrange(1, 2000))
        else:
            data = b"".join(source.choices(GRAMMAR, k=source.randrange(1, 40)))
        with Wire(server) as wire:
            wire.send(data)
            wire.socket.shutdown(socket.SHUT_WR)
            received = receive_all(wire.socket)
        for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received):
            assert status < b"500" or status == b"505", (data, received)
        beginnings = (b"HTTP/1.", b"\0\0") if data.lstrip().startswith(b"PRI ") else b"HTTP/1."  # or SETTINGS
        assert received == b"" or received.startswith(beginnings), (data, received)
