"""HTTP/1.1 to the letter: what RFC 9110 and RFC 9112 want of a server, request by request.

A case is what a client sends on one connection and what has to come back: the statuses, in order, and ``close`` if the
server must then close the connection. A connection that stays open is asked once more, which shows that nothing of the
case was left over and nothing of it was taken for one more request.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from http_cases import HOST, Case, names, target
from http_cases.bodies import CHUNKS, ENCODINGS, LENGTHS
from http_cases.connections import EXPECTATIONS, PIPELINES, UPGRADES
from http_cases.heads import HEADERS, HOSTS, REQUEST_LINES, TARGETS, VERSIONS
from support.server import Server, serving
from support.websocket import handshake_lines
from support.wire import Answer, Wire

ECHO = """
from plugincore.baseplugin import BasePlugin
from plugincore.responses import StreamingResponse

class Echo(BasePlugin):
    http_methods = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH")

    async def request_handler(self, **data):
        request = data["request"]
        if data["subpath"] == "stream":
            return StreamingResponse(iter(["a", "b", "c"]))
        return 200, {
            "method": request.method,
            "host": request.host,
            "url": str(request.url),
            "header": data["request_headers"].get("Host"),
            "subpath": data["subpath"],
            "body": (await request.read()).decode("latin-1"),
        }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all cases."""
    with serving(tmp_path_factory.mktemp("conformance"), {"echo": ECHO}) as running:
        yield running


def talk(wire: Wire, case: Case, method: str = "GET") -> list[Answer]:
    """Have the conversation of a case, check how it ends, and return its answers."""
    wire.send(case.sent)
    *statuses, last = case.expected.split()
    closes = last == "close"
    answers = [wire.answer(method) for _ in (statuses if closes else [*statuses, last])]
    assert case.expected.removesuffix(" close") == " ".join(str(answer.status) for answer in answers), answers[-1].body
    assert all(answer.version == "HTTP/1.1" for answer in answers)
    if closes:
        assert "close" == answers[-1].headers.get("connection"), answers[-1].headers
        assert wire.is_closed()
    else:
        assert wire.still_serves()
    return answers


CASES = [
    *REQUEST_LINES,
    *VERSIONS,
    *HOSTS,
    *TARGETS,
    *HEADERS,
    *LENGTHS,
    *ENCODINGS,
    *CHUNKS,
    *PIPELINES,
    *EXPECTATIONS,
    *UPGRADES,
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_request_is_answered_as_the_rfcs_want_it(server: Server, case: Case) -> None:
    """And so is what follows it on the connection."""
    with Wire(server) as wire:
        for answer in talk(wire, case):
            if answer.status >= 400:
                assert answer.error


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_it_makes_no_difference_how_the_bytes_are_cut(server: Server, case: Case) -> None:
    """Byte by byte, for what is short, and in two."""
    with Wire(server) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(case.sent) < 400:
            for position in range(len(case.sent) - 1):
                wire.send(case.sent[position : position + 1])
            rest = case.sent[-1:]
        else:
            middle = len(case.sent) // 2
            wire.send(case.sent[:middle])
            rest = case.sent[middle:]
        talk(wire, case._replace(sent=rest))


MALFORMED_HEADS = [
    Case("9112-3 a version that is none", b"HEAD /echo HTTP/x\r\nHost: x\r\n\r\n", "400 close"),
    Case("9110-15.6.6 another major version", b"HEAD /echo HTTP/2.0\r\nHost: x\r\n\r\n", "505 close"),
    Case("9112-5 no colon", b"HEAD /echo" + HOST + b"A\r\n\r\n", "400 close"),
    Case("9112-3.2 no host", b"HEAD /echo HTTP/1.1\r\n\r\n", "400 close"),
    Case("9112-3.2 a wrong host", b"HEAD /echo HTTP/1.1\r\nHost: a b\r\n\r\n", "400 close"),
    Case("9112-3.2 a target that is none", b"HEAD echo?" + HOST + b"\r\n", "400 close"),
    Case("9112-3.2 a fragment", b"HEAD /echo#a" + HOST + b"\r\n", "400 close"),
    Case("9110-8.6 a length that is none", b"HEAD /echo" + HOST + b"Content-Length: x\r\n\r\n", "400 close"),
    Case("9112-6.3 a coding that is none", b"HEAD /echo" + HOST + b"Transfer-Encoding: x\r\n\r\n", "400 close"),
    Case("9110-15.5.15 a target above the limit", b"HEAD /" + b"a" * 66000 + HOST + b"\r\n", "414 close"),
    Case("6585-5 a head above the limit", b"HEAD /echo" + HOST + b"A: " + b"a" * 66000 + b"\r\n\r\n", "431 close"),
    Case("9110-9.3.2 no such address", b"HEAD /nowhere" + HOST + b"\r\n", "404"),
    Case("9110-9.3.2 what GET would get", b"HEAD /echo" + HOST + b"\r\n", "200"),
    Case("9110-9.3.2 a stream", b"HEAD /echo/stream" + HOST + b"\r\n", "200"),
]


@pytest.mark.parametrize("case", MALFORMED_HEADS, ids=names(MALFORMED_HEADS))
def test_an_answer_to_head_has_no_body(server: Server, case: Case) -> None:
    """Neither has one to a HEAD that is refused; the length is that of what GET would get."""
    with Wire(server) as wire:
        (answer,) = talk(wire, case, "HEAD")
        if answer.status >= 400:
            assert int(answer.headers["content-length"]) > 0


def asked(server: Server, data: bytes) -> dict[str, str]:
    """Return the request as the plugin saw it."""
    with Wire(server) as wire:
        answer = wire.ask(data)
        assert 200 == answer.status, answer.body
        said: dict[str, str] = json.loads(answer.body)
        return said


def test_the_host_of_a_whole_url_wins_over_the_header(server: Server) -> None:
    """RFC 9112, 3.2.2: the header is to be ignored."""
    said = asked(server, b"GET http://example.org:81/echo/a?b=c HTTP/1.1\r\nHost: other\r\n\r\n")
    assert ("example.org:81", "example.org:81") == (said["host"], said["header"])
    assert ("http://example.org:81/echo/a?b=c", "a") == (said["url"], said["subpath"])
    said = asked(server, b"GET http://example.org/echo HTTP/1.0\r\n\r\n")
    assert ("example.org", "http://example.org/echo") == (said["host"], said["url"])


def test_without_a_whole_url_the_header_names_the_host(server: Server) -> None:
    """Whatever looks like a host in the path is a path."""
    said = asked(server, b"GET /echo//x/y?z HTTP/1.1\r\nHost: example.org\r\n\r\n".replace(b"//x", b"/a//x"))
    assert ("example.org", "http://example.org/echo/a//x/y?z") == (said["host"], said["url"])


def test_options_of_everything_says_what_there_is(server: Server) -> None:
    """RFC 9110, 9.3.7: the asterisk is about the server as a whole."""
    with Wire(server) as wire:
        answer = wire.ask(target(b"*", b"OPTIONS"))
        assert (204, b"") == (answer.status, answer.body)
        assert {"GET", "POST", "OPTIONS"} <= {method.strip() for method in answer.headers["allow"].split(",")}


def test_the_426_says_which_version_is_spoken(server: Server) -> None:
    """RFC 6455, 4.4."""
    with Wire(server) as wire:
        answer = wire.ask(b"GET /echo" + HOST + handshake_lines(version="12") + b"\r\n")
        assert (426, "13") == (answer.status, answer.headers["sec-websocket-version"])
        assert ("websocket", "Upgrade") == (answer.headers["upgrade"], answer.headers["connection"])
        assert answer.error


def test_a_stream_for_a_client_of_http_1_0_ends_with_the_connection(server: Server) -> None:
    """It has neither length nor chunks, but `Connection: close`."""
    with server.connect() as connection:
        connection.sendall(b"GET /echo/stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        received = b""
        while piece := connection.recv(4096):
            received += piece
    head, _, content = received.partition(b"\r\n\r\n")
    answer = Answer(head, content)
    assert ("HTTP/1.1", 200, b"abc") == (answer.version, answer.status, answer.body)
    assert "close" == answer.headers["connection"]
    assert {"transfer-encoding", "content-length"}.isdisjoint(answer.headers)
