"""HTTP/1.1 to the letter: what RFC 9110 and RFC 9112 want of a server, request by request.

A case is what a client sends on one connection and what has to come back: the statuses, in order, and ``close`` if the
server must then close the connection. A connection that stays open is asked once more, which shows that nothing of the
case was left over and nothing of it was taken for one more request.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from conftest import Server, serving
from wire import Answer, Wire

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

#: The end of a request's first line, and a host.
HOST = b" HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /echo" + HOST + b"\r\n"
POST = b"POST /echo" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Case(NamedTuple):
    """What is sent, and what comes back."""

    why: str
    sent: bytes
    expected: str


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


def names(cases: list[Case]) -> list[str]:
    """Return the names under which the cases are reported."""
    return [case.why for case in cases]


def first_line(line: bytes) -> bytes:
    """Return a request with a first line and a host, and one behind it that a misread one would let through."""
    return line + b"\r\nHost: x\r\n\r\n"


REQUEST_LINES = [
    Case("9112-3 the usual one", first_line(b"GET /echo HTTP/1.1"), "200"),
    Case("9112-2.2 one empty line before it", b"\r\n" + GET, "200"),
    Case("9112-2.2 several empty lines before it", b"\r\n\r\n\r\n" + GET, "200"),
    Case("9112-2.2 a bare line feed may end a line", b"GET /echo HTTP/1.1\nHost: x\n\n", "200"),
    Case("9112-2.2 a bare line feed at the end only", b"GET /echo HTTP/1.1\r\nHost: x\r\n\n", "200"),
    Case("9112-2.2 a bare carriage return ends no line", b"GET /echo HTTP/1.1\rHost: x\r\n\r\n" + GET, "400 close"),
    Case("9112-2.2 white space before it", b" GET /echo HTTP/1.1\r\nHost: x\r\n\r\n" + GET, "400 close"),
    Case("9112-2.2 white space before the first header", b"GET /echo HTTP/1.1\r\n Host: x\r\n\r\n" + GET, "400 close"),
    Case("9112-3 two spaces behind the method", first_line(b"GET  /echo HTTP/1.1") + GET, "400 close"),
    Case("9112-3 two spaces before the version", first_line(b"GET /echo  HTTP/1.1") + GET, "400 close"),
    Case("9112-3 a space behind the version", first_line(b"GET /echo HTTP/1.1 ") + GET, "400 close"),
    Case("9112-3 a tab for a space", first_line(b"GET\t/echo HTTP/1.1") + GET, "400 close"),
    Case("9112-3 a space in the target", first_line(b"GET /echo/a b HTTP/1.1") + GET, "400 close"),
    Case("9112-3 no target", first_line(b"GET HTTP/1.1") + GET, "400 close"),
    Case("9112-3 no version", first_line(b"GET /echo") + GET, "400 close"),
    Case("9112-3 a NUL in the target", first_line(b"GET /echo\0 HTTP/1.1") + GET, "400 close"),
    Case("9112-3 a control character in the target", first_line(b"GET /echo\x01 HTTP/1.1") + GET, "400 close"),
    Case("9112-3 DEL in the target", first_line(b"GET /echo\x7f HTTP/1.1") + GET, "400 close"),
    Case("9110-9.1 methods are case-sensitive", first_line(b"get /echo HTTP/1.1"), "405"),
    Case("9110-9.1 a method that is not known", first_line(b"BREW /echo HTTP/1.1"), "405"),
    Case("9110-5.6.2 a method of every token character", first_line(b"!#$%&'*+-.^_`|~9 /echo HTTP/1.1"), "405"),
    Case("9110-5.6.2 a method with a parenthesis", first_line(b"G(T /echo HTTP/1.1") + GET, "400 close"),
    Case("9110-5.6.2 a method with a colon", first_line(b"G:T /echo HTTP/1.1") + GET, "400 close"),
    Case("9110-5.6.2 a method beyond ASCII", first_line(b"G\xc3\xa9T /echo HTTP/1.1") + GET, "400 close"),
    Case("9110-9.3.6 CONNECT, which only proxies take up", b"CONNECT x:80" + HOST + b"\r\n" + GET, "501 close"),
    Case("9112-3.2.3 CONNECT with a path", b"CONNECT /echo" + HOST + b"\r\n" + GET, "400 close"),
]

VERSIONS = [
    Case("9110-2.5 a higher minor version is served as 1.1", first_line(b"GET /echo HTTP/1.2"), "200"),
    Case("9110-2.5 the highest minor version", first_line(b"GET /echo HTTP/1.9"), "200"),
    Case("9110-2.5 1.0 gets an answer in 1.1", first_line(b"GET /echo HTTP/1.0") + GET, "200 close"),
    Case("9112-3.2 1.0 needs no host", b"GET /echo HTTP/1.0\r\n\r\n" + GET, "200 close"),
    Case("9112-9.3 1.0 with keep-alive", first_line(b"GET /echo HTTP/1.0\r\nConnection: keep-alive"), "200"),
    Case(
        "9112-9.3 1.0 with close, too",
        first_line(b"GET /echo HTTP/1.0\r\nConnection: keep-alive, close") + GET,
        "200 close",
    ),
    Case("9110-15.6.6 another major version", first_line(b"GET /echo HTTP/2.0") + GET, "505 close"),
    Case("9110-15.6.6 version 3", first_line(b"GET /echo HTTP/3.0") + GET, "505 close"),
    Case("9110-15.6.6 version 0.9 by name", first_line(b"GET /echo HTTP/0.9") + GET, "505 close"),
    Case("9112-2.3 lower case", first_line(b"GET /echo http/1.1") + GET, "400 close"),
    Case("9112-2.3 two digits behind the point", first_line(b"GET /echo HTTP/1.10") + GET, "400 close"),
    Case("9112-2.3 two digits before the point", first_line(b"GET /echo HTTP/01.1") + GET, "505 close"),
    Case("9112-2.3 no point", first_line(b"GET /echo HTTP/11") + GET, "400 close"),
    Case("9112-2.3 no minor version", first_line(b"GET /echo HTTP/1") + GET, "400 close"),
    Case("9112-2.3 another protocol", first_line(b"GET /echo HTCPCP/1.0") + GET, "400 close"),
    Case("9112-2.3 a sign", first_line(b"GET /echo HTTP/1.+1") + GET, "400 close"),
]


def hosted(value: bytes) -> bytes:
    """Return a request with this value of Host."""
    return b"GET /echo HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


GOOD_HOSTS = [
    "example.org",
    "example.org:80",
    "example.org:",
    "EXAMPLE.org",
    "example.org.",
    "my_service:8080",
    "127.0.0.1:9192",
    "[::1]",
    "[::1]:9192",
    "[2001:db8::192.0.2.1]",
    "[v7.a:b]",
    "a-b.c~d",
    "a%20b",
    "a!$&'()*+,;=b",
    "x:0",
    "x:65535",
    "x:00080",
    "",
]
BAD_HOSTS = [
    "x/",
    "x/y?z",
    "/",
    "x?",
    "x#",
    "user@x",
    "user:pass@x",
    "@",
    "a b",
    "a\tb",
    "a, b",
    "x:80:80",
    "::1",
    "x:y",
    "x:-1",
    "x:+1",
    "x:65536",
    "x:99999999999999999999",
    "x: 80",
    "x :80",
    ":80",
    ":",
    "http://x",
    "[::1",
    "::1]",
    "[::1]x",
    "[::1]80",
    "[]",
    "[x]",
    "[1.2.3.4]",
    "[::1%25lo]",
    "[v.a]",
    "[vg.a]",
    "[v7.]",
    "x%",
    "x%2",
    "x%zz",
    "x\\y",
    "x|y",
    "x<y>",
    'x"y',
    "x^y",
    "x`y",
    "{x}",
    "é",
    "\xff",
]
HOSTS = [
    *(Case(f"9110-7.2 {host!r} is a host", hosted(host.encode()), "200") for host in GOOD_HOSTS),
    *(Case(f"9112-3.2 {host!r} is none", hosted(host.encode("latin-1")) + GET, "400 close") for host in BAD_HOSTS),
    Case("9112-3.2 no Host", b"GET /echo HTTP/1.1\r\n\r\n" + GET, "400 close"),
    Case("9112-3.2 two of them", b"GET /echo" + HOST + b"Host: y\r\n\r\n" + GET, "400 close"),
    Case("9112-3.2 the same one twice", b"GET /echo" + HOST + b"Host: x\r\n\r\n" + GET, "400 close"),
    Case("9112-3.2 two of HTTP/1.0", b"GET /echo HTTP/1.0\r\nHost: x\r\nhost: y\r\n\r\n" + GET, "400 close"),
    Case("9112-3.2 a wrong one of HTTP/1.0", b"GET /echo HTTP/1.0\r\nHost: x/y\r\n\r\n" + GET, "400 close"),
    Case("9112-3.2 no Host beside a whole URL", b"GET http://x/echo HTTP/1.1\r\n\r\n" + GET, "400 close"),
    Case(
        "9112-3.2 a wrong one beside a whole URL", b"GET http://x/echo HTTP/1.1\r\nHost: a b\r\n\r\n" + GET, "400 close"
    ),
    Case("9110-5.1 any case of the name", b"GET /echo HTTP/1.1\r\nhOsT: x\r\n\r\n", "200"),
    Case("9112-5 white space around the value", b"GET /echo HTTP/1.1\r\nHost: \t x \t\r\n\r\n", "200"),
    Case("9112-3.2 on a wrong path, too", b"GET /nowhere HTTP/1.1\r\nHost: a b\r\n\r\n" + GET, "400 close"),
    Case("9112-3.2 on an address of the server", b"GET /-/healthy HTTP/1.1\r\nHost: a b\r\n\r\n" + GET, "400 close"),
]


def target(text: bytes, method: bytes = b"GET") -> bytes:
    """Return a request for this target."""
    return method + b" " + text + HOST + b"\r\n"


TARGETS = [
    Case("9112-3.2.1 origin form", target(b"/echo/a?b=c"), "200"),
    Case("9112-3.2.1 an empty query", target(b"/echo?"), "200"),
    Case("9112-3.2.1 question marks in a query", target(b"/echo?a=?/b?"), "200"),
    Case("9112-3.2.1 a path that does not begin with a slash", target(b"echo") + GET, "400 close"),
    Case("9112-3.2.1 a query alone", target(b"?a=b") + GET, "400 close"),
    Case("9112-3.2.2 absolute form", target(b"http://x/echo"), "200"),
    Case("9112-3.2.2 any case of the scheme", target(b"HTTP://x/echo"), "200"),
    Case("9112-3.2.2 with a port", target(b"http://x:80/echo"), "200"),
    Case("9112-3.2.2 with an address", target(b"http://[::1]:80/echo"), "200"),
    Case("9112-3.2.2 without a path", target(b"http://x"), "404"),
    Case("9112-3.2.2 a query and no path", target(b"http://x?a=b"), "404"),
    Case("9110-4.2.1 no host", target(b"http:///echo") + GET, "400 close"),
    Case("9110-4.2.1 a port alone", target(b"http://:80/echo") + GET, "400 close"),
    Case("9110-4.2.4 user information", target(b"http://user@x/echo") + GET, "400 close"),
    Case("9110-4.2.4 user and password", target(b"http://user:pass@x/echo") + GET, "400 close"),
    Case("9110-4.2.4 empty user information", target(b"http://@x/echo") + GET, "400 close"),
    Case("9110-7.4 https on a plain port", target(b"https://x/echo") + GET, "400 close"),
    Case("9110-7.4 another scheme", target(b"ftp://x/echo") + GET, "400 close"),
    Case("9110-7.4 the scheme of web sockets", target(b"ws://x/echo") + GET, "400 close"),
    Case("9110-4.2.1 a port that is none", target(b"http://x:y/echo") + GET, "400 close"),
    Case("9110-4.2.1 a port that is too large", target(b"http://x:65536/echo") + GET, "400 close"),
    Case("9110-4.2.1 two ports", target(b"http://x:1:2/echo") + GET, "400 close"),
    Case("9112-3.2.3 authority form is for CONNECT", target(b"x:80") + GET, "400 close"),
    Case("9112-3.2.3 a host alone", target(b"x") + GET, "400 close"),
    Case("9112-3.2.4 asterisk form", target(b"*", b"OPTIONS"), "204"),
    Case("9112-3.2.4 is for OPTIONS", target(b"*") + GET, "400 close"),
    Case("9112-3.2.4 is for OPTIONS, not POST", target(b"*", b"POST") + GET, "400 close"),
    Case("9112-3.2.4 more than an asterisk", target(b"*a", b"OPTIONS") + GET, "400 close"),
    Case("9112-3.2 OPTIONS of a path", target(b"/echo", b"OPTIONS"), "204"),
    Case("9112-3.2 a fragment", target(b"/echo#a") + GET, "400 close"),
    Case("9112-3.2 an empty fragment", target(b"/echo#") + GET, "400 close"),
    Case("9112-3.2 a fragment behind a query", target(b"/echo?a#b") + GET, "400 close"),
    Case("9112-3.2 a fragment of a whole URL", target(b"http://x/echo#b") + GET, "400 close"),
    Case("9112-3.2 a number sign that is escaped", target(b"/echo/%23"), "200"),
    Case("3986-2 UTF-8 that is not escaped", target("/echo/é".encode()) + GET, "400 close"),
    Case("3986-2 UTF-8 in a query", target("/echo?é".encode()) + GET, "400 close"),
    Case("3986-2 Latin-1", target(b"/echo/\xe9") + GET, "400 close"),
    Case("3986-2 UTF-8 that is escaped", target(b"/echo/%C3%A9"), "200"),
    Case("9110-4.1 a target of 60000 bytes", target(b"/echo?" + b"a" * 60000), "200"),
    Case("9110-15.5.15 a target above the limit", target(b"/echo?" + b"a" * 66000) + GET, "414 close"),
    Case("9110-15.5.15 a target much above it", target(b"/echo?" + b"a" * 300000) + GET, "414 close"),
    Case("9110-15.5.15 a whole URL above it", target(b"http://x/echo?" + b"a" * 66000) + GET, "414 close"),
    Case(
        "6585-5 headers above the limit", b"GET /echo" + HOST + b"A: " + b"a" * 66000 + b"\r\n\r\n" + GET, "431 close"
    ),
    Case("6585-5 too many headers", b"GET /echo" + HOST + b"A: b\r\n" * 100 + b"\r\n" + GET, "431 close"),
]


def header(line: bytes) -> bytes:
    """Return a request with one more line in its head."""
    return b"GET /echo" + HOST + line + b"\r\n\r\n"


HEADERS = [
    Case("9112-5 no white space behind the colon", header(b"A:b"), "200"),
    Case("9112-5 white space around the value", header(b"A: \t b \t "), "200"),
    Case("9112-5 an empty value", header(b"A:"), "200"),
    Case("9112-5 an empty value of white space", header(b"A: \t"), "200"),
    Case("9110-5.5 a value of bytes beyond ASCII", header(b"A: \xc3\xa9\xff"), "200"),
    Case("9110-5.5 a tab in a value", header(b"A: b\tc"), "200"),
    Case("9110-5.6.2 a name of every token character", header(b"!#$%&'*+-.^_`|~9: b"), "200"),
    Case("9112-5.1 a space before the colon", header(b"A : b") + GET, "400 close"),
    Case("9112-5.1 a tab before the colon", header(b"A\t: b") + GET, "400 close"),
    Case("9112-5.2 a folded line", header(b"A: b\r\n c") + GET, "400 close"),
    Case("9112-5.2 a line folded by a tab", header(b"A: b\r\n\tc") + GET, "400 close"),
    Case("9112-5.2 a folded line behind an empty value", header(b"A:\r\n b") + GET, "400 close"),
    Case("9112-5 no colon", header(b"A") + GET, "400 close"),
    Case("9112-5 no name", header(b": b") + GET, "400 close"),
    Case("9112-5 a space in the name", header(b"A b: c") + GET, "400 close"),
    Case("9112-5 a space before the name", header(b" A: b") + GET, "400 close"),
    Case("9110-5.1 a name in brackets", header(b"(A): b") + GET, "400 close"),
    Case("9110-5.1 a name beyond ASCII", header(b"\xc3\xa9: b") + GET, "400 close"),
    Case("9110-5.1 a NUL in the name", header(b"A\0: b") + GET, "400 close"),
    Case("9110-5.5 a NUL in the value", header(b"A: b\0c") + GET, "400 close"),
    Case("9110-5.5 a bare carriage return in the value", header(b"A: b\rc") + GET, "400 close"),
    Case("9110-5.5 a bare carriage return at its end", header(b"A: b\r\r") + GET, "400 close"),
    Case("9110-5.5 a control character in the value", header(b"A: b\x01c") + GET, "400 close"),
    Case("9110-5.5 DEL in the value", header(b"A: b\x7f") + GET, "400 close"),
    Case("9110-5.5 a vertical tab around the value", header(b"A: \x0bb") + GET, "400 close"),
    Case("9112-2.2 a line feed alone begins the next header", header(b"A: b\nC: d"), "200"),
]


def body(head: bytes, content: bytes = b"") -> bytes:
    """Return a POST with these lines in its head."""
    return POST + head + b"\r\n\r\n" + content


LENGTHS = [
    Case("9112-6.3 neither length nor encoding is no body", body(b"A: b"), "200"),
    Case("9110-8.6 a length", body(b"Content-Length: 3", b"abc"), "200"),
    Case("9110-8.6 zero", body(b"Content-Length: 0"), "200"),
    Case("9110-8.6 zeros before it", body(b"Content-Length: 0003", b"abc"), "200"),
    Case("9110-8.6 the same line twice may be one", body(b"Content-Length: 3\r\nContent-Length: 3", b"abc"), "200"),
    Case("9110-8.6 the same value in a list may be refused", body(b"Content-Length: 3, 3", b"abc") + GET, "400 close"),
    Case("9112-6.3 two values", body(b"Content-Length: 3\r\nContent-Length: 4", b"abcd") + GET, "400 close"),
    Case("9112-6.3 two values in a list", body(b"Content-Length: 3, 4", b"abcd") + GET, "400 close"),
    *(
        Case(f"9110-8.6 {value!r} is no length", body(b"Content-Length: " + value, b"abc") + GET, "400 close")
        for value in (
            b"",
            b"-1",
            b"+3",
            b"3.0",
            b"0x3",
            b"3 4",
            b"3;",
            b"3_0",
            b"three",
            b'"3"',
            b"\xb2",
            b"18446744073709551616",
            b"9" * 40,
        )
    ),
    Case("9110-8.6 of GET", b"GET /echo" + HOST + b"Content-Length: 3\r\n\r\nabc", "200"),
    Case("9110-15.5.14 a length above the limit", body(b"Content-Length: 9223372036854775807") + GET, "413 close"),
    Case(
        "9112-6.3 the rest of a refused request is not read as one",
        b"POST /nowhere" + HOST + b"Content-Length: %d\r\n\r\n" % len(GET) + GET,
        "404 close",
    ),
]


def encoded(value: bytes, version: bytes = b"1.1") -> bytes:
    """Return a POST with this transfer coding and an empty chunked body."""
    return b"POST /echo HTTP/" + version + b"\r\nHost: x\r\nTransfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n"


ENCODINGS = [
    Case("9112-7.1 chunked", encoded(b"chunked"), "200"),
    Case("9112-7 any case", encoded(b"CHUNKED"), "200"),
    Case("9112-7 white space around it", encoded(b" \tchunked\t "), "200"),
    Case("9110-5.6.1 an empty element before it", encoded(b", chunked"), "200"),
    Case("9112-6.1 chunked twice", encoded(b"chunked, chunked") + GET, "400 close"),
    Case("9112-6.1 chunked in two lines", encoded(b"chunked\r\nTransfer-Encoding: chunked") + GET, "400 close"),
    Case("9112-6.1 chunked three times", encoded(b"chunked,chunked,chunked") + GET, "400 close"),
    Case("9112-6.1 chunked around another", encoded(b"chunked, gzip, chunked") + GET, "400 close"),
    Case("9112-6.1 another before it is not implemented", encoded(b"gzip, chunked") + GET, "501 close"),
    Case("9112-6.1 another in a line before it", encoded(b"gzip\r\nTransfer-Encoding: chunked") + GET, "501 close"),
    Case("9112-6.1 one that nobody knows", encoded(b"x, chunked") + GET, "501 close"),
    Case("9112-6.1 identity before it", encoded(b"identity, chunked") + GET, "501 close"),
    Case("9112-6.3 chunked is not the last", encoded(b"chunked, gzip") + GET, "400 close"),
    Case("9112-6.3 chunked is not in the last line", encoded(b"chunked\r\nTransfer-Encoding: x") + GET, "400 close"),
    Case("9112-6.3 not chunked", encoded(b"gzip") + GET, "400 close"),
    Case("9112-7 identity is none any more", encoded(b"identity") + GET, "400 close"),
    Case("9112-6.3 none", encoded(b"") + GET, "400 close"),
    Case("9112-6.3 an empty list", encoded(b",") + GET, "400 close"),
    Case("9112-7.1 with a parameter", encoded(b"chunked;a=b") + GET, "400 close"),
    Case("9112-7.1 in quotes", encoded(b'"chunked"') + GET, "400 close"),
    Case("9112-7.1 with more behind it", encoded(b"chunkedx") + GET, "400 close"),
    Case("9112-7.1 two words", encoded(b"x chunked") + GET, "400 close"),
    Case("9110-5.5 a vertical tab before it", encoded(b"\x0bchunked") + GET, "400 close"),
    Case(
        "9112-5.1 a space before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + GET, "400 close"
    ),
    Case("9112-6.1 of HTTP/1.0", encoded(b"chunked", b"1.0") + GET, "400 close"),
    Case("9112-6.1 of HTTP/1.0, with a length", encoded(b"chunked\r\nContent-Length: 5", b"1.0") + GET, "400 close"),
    Case("9112-6.3 with a length", encoded(b"chunked\r\nContent-Length: 5") + GET, "400 close"),
    Case(
        "9112-6.3 with a length before it",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        "400 close",
    ),
    Case("9112-6.3 with a length that is none", encoded(b"chunked\r\nContent-Length: x") + GET, "400 close"),
    Case("9110-10.1.4 TE is no transfer coding", header(b"TE: trailers, gzip\r\nConnection: TE"), "200"),
    Case("9112-6.1 of GET", b"GET /echo" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200"),
]

CHUNKS = [
    *(
        Case(f"9112-7.1 {content!r}", CHUNKED + content, "200")
        for content in (
            b"0\r\n\r\n",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"003\r\nabc\r\n000\r\n\r\n",
            b"A\r\n0123456789\r\n0\r\n\r\n",
            b"a\r\n0123456789\r\n0\r\n\r\n",
            b"00000000000000000003\r\nabc\r\n0\r\n\r\n",
            b"3;a\r\nabc\r\n0\r\n\r\n",
            b"3;a=b\r\nabc\r\n0;c=d\r\n\r\n",
            b"3;a=b;c;d=e\r\nabc\r\n0\r\n\r\n",
            b'3;a="b;c"\r\nabc\r\n0\r\n\r\n',
            b'3;a="\\"\\\\"\r\nabc\r\n0\r\n\r\n',
            b'3;a=""\r\nabc\r\n0\r\n\r\n',
            b"3 ; a = b\r\nabc\r\n0\r\n\r\n",
            b"3\t;\ta\r\nabc\r\n0\r\n\r\n",
            b'3;a="\xc3\xa9\t"\r\nabc\r\n0\r\n\r\n',
            b"0\r\nA: b\r\n\r\n",
            b"0\r\nA: b\r\nC:\r\n\r\n",
            b"0\r\nContent-Length: 5\r\nHost: y\r\n\r\n",
            b"1a\r\n" + GET[:26] + b"\r\n0\r\n\r\n",
        )
    ),
    *(
        Case(f"9112-7.1 not {content[:40]!r}", CHUNKED + content + GET, "400 close")
        for content in (
            b"\r\n\r\n",
            b"x\r\n\r\n",
            b"-1\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"3h\r\nabc\r\n0\r\n\r\n",
            b"3 3\r\nabc\r\n0\r\n\r\n",
            b"3_0\r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"10000000000000000\r\nabc\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabc\r\n0\n\r\n",
            b"3\rabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"4\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabc\r\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"3;\r\nabc\r\n0\r\n\r\n",
            b"3;;a\r\nabc\r\n0\r\n\r\n",
            b"3;=b\r\nabc\r\n0\r\n\r\n",
            b"3;a=\r\nabc\r\n0\r\n\r\n",
            b"3;a b\r\nabc\r\n0\r\n\r\n",
            b"3;a=b c\r\nabc\r\n0\r\n\r\n",
            b"3;a=b \r\nabc\r\n0\r\n\r\n",
            b"3;a,b\r\nabc\r\n0\r\n\r\n",
            b'3;a="b\r\nabc\r\n0\r\n\r\n',
            b'3;a="b"c\r\nabc\r\n0\r\n\r\n',
            b'3;"a"=b\r\nabc\r\n0\r\n\r\n',
            b"3;a\0\r\nabc\r\n0\r\n\r\n",
            b'3;a="\0"\r\nabc\r\n0\r\n\r\n',
            b"3;a\x7f\r\nabc\r\n0\r\n\r\n",
            b"3;\xc3\xa9\r\nabc\r\n0\r\n\r\n",
            b"3;a\nabc\r\n0\r\n\r\n",
            b"3;a\rb\r\nabc\r\n0\r\n\r\n",
            b"0;a b\r\n\r\n",
            b"3;" + b"a" * 20000 + b"\r\nabc\r\n0\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA\r\n\r\n",
            b"0\r\n A: b\r\n\r\n",
            b"0\r\nA: b\r\n c\r\n\r\n",
            b"0\r\nA: b\0\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA: " + b"b" * 70000 + b"\r\n\r\n",
        )
    ),
]

PIPELINES = [
    Case("9112-9.3.2 two requests", GET * 2, "200 200"),
    Case("9112-9.3.2 many requests", GET * 40, " ".join(["200"] * 40)),
    Case("9112-9.3.2 with bodies between them", (body(b"Content-Length: 3", b"abc") + GET) * 2, "200 200 200 200"),
    Case("9112-9.3.2 with chunks between them", (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + GET) * 2, "200 200 200 200"),
    Case("9112-9.3.2 refusals between them", target(b"/nowhere") + GET, "404 200"),
    Case("9112-2.2 empty lines between them", GET + b"\r\n\r\n" + GET, "200 200"),
    Case("9112-9.6 nothing is read behind close", header(b"Connection: close") + GET, "200 close"),
    Case("9112-9.6 close in a list", header(b"Connection: a, Close, b") + GET, "200 close"),
    Case("9112-9.6 close in a second line", header(b"Connection: keep-alive\r\nConnection: close") + GET, "200 close"),
    Case("9112-9.6 close before keep-alive", header(b"Connection: close\r\nConnection: keep-alive") + GET, "200 close"),
    Case("9112-9.3 keep-alive", header(b"Connection: keep-alive") + GET, "200 200"),
    Case("9112-9.3 options that nobody knows", header(b"Connection: x, y") + GET, "200 200"),
    Case("9112-9.3 an empty list", header(b"Connection:") + GET, "200 200"),
    Case("9112-2.2 nonsense behind a request", GET + b"nonsense\r\n\r\n" + GET, "200 400 close"),
    Case("9112-6.3 an unclear body behind a request", GET + encoded(b"chunked, chunked") + GET, "200 400 close"),
    Case("9112-3.2 a fragment behind a request", GET + target(b"/echo#a") + GET, "200 400 close"),
    Case("9112-7.1 a bad chunk behind a request", GET + CHUNKED + b"3;=\r\nabc\r\n0\r\n\r\n" + GET, "200 400 close"),
    Case(
        "9112-3.2 a wrong host behind a body",
        body(b"Content-Length: 3", b"abc") + hosted(b"a b") + GET,
        "200 400 close",
    ),
    Case("9110-2.5 1.0 behind 1.1", GET + first_line(b"GET /echo HTTP/1.0") + GET, "200 200 close"),
    Case("9110-2.5 1.2 behind 1.1", GET + first_line(b"GET /echo HTTP/1.2") + GET, "200 200 200"),
]

EXPECTATIONS = [
    Case("9110-10.1.1 without a body it may be left out", header(b"Expect: 100-continue"), "200"),
    Case("9110-10.1.1 an empty body", body(b"Expect: 100-continue\r\nContent-Length: 0"), "200"),
    Case("9110-10.1.1 any case", body(b"Expect: 100-CONTINUE\r\nContent-Length: 3", b"abc"), "100 200"),
    Case(
        "9110-10.1.1 chunked",
        CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + b"0\r\n\r\n",
        "100 200",
    ),
    Case(
        "9110-10.1.1 a final answer before the body",
        b"POST /nowhere" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        "404 close",
    ),
    *(
        Case(
            f"9110-10.1.1 {value!r} cannot be met",
            body(b"Expect: " + value + b"\r\nContent-Length: 3", b"abc") + GET,
            "417 close",
        )
        for value in (
            b"x",
            b"100-continue, x",
            b"x, 100-continue",
            b"100-continue;a=b",
            b"200-ok",
            b'"100-continue"',
            b"100-continue\r\nExpect: x",
            b"x\r\nExpect: 100-continue",
            b"100-continue, 100-continue",
        )
    ),
    Case("9110-10.1.1 without a body, too", header(b"Expect: x"), "417 close"),
    Case(
        "9110-10.1.1 of HTTP/1.0 is ignored",
        b"POST /echo HTTP/1.0\r\nExpect: x\r\nContent-Length: 3\r\n\r\nabc" + GET,
        "200 close",
    ),
    Case(
        "9110-10.1.1 100-continue of HTTP/1.0",
        b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + GET,
        "200 close",
    ),
]

HANDSHAKE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
UPGRADES = [
    Case("9110-7.8 an offer may be ignored", header(b"Upgrade: h2c\r\nConnection: Upgrade"), "200"),
    Case("9110-7.8 one without the option", header(b"Upgrade: h2c"), "200"),
    Case("9110-7.8 one with a body", body(b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3", b"abc"), "200"),
    Case(
        "9110-7.8 what follows an offer that is ignored",
        header(b"Upgrade: h2c\r\nConnection: Upgrade") + GET,
        "200 200",
    ),
    Case("6455-4.2.2 another version", b"GET /echo" + HOST + HANDSHAKE + b"Sec-WebSocket-Version: 12\r\n\r\n", "426"),
    Case("6455-4.2.2 no number", b"GET /echo" + HOST + HANDSHAKE + b"Sec-WebSocket-Version: x\r\n\r\n", "426"),
]

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
    """Return what the plugin says that it was asked."""
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
        answer = wire.ask(b"GET /echo" + HOST + HANDSHAKE + b"Sec-WebSocket-Version: 12\r\n\r\n")
        assert (426, "13") == (answer.status, answer.headers["sec-websocket-version"])
        assert ("websocket", "Upgrade") == (answer.headers["upgrade"], answer.headers["connection"])
        assert answer.error


def test_a_stream_for_a_client_of_http_1_0_ends_with_the_connection(server: Server) -> None:
    """It has neither length nor chunks, and says that it closes."""
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
