"""Requests as RFC 9110 and RFC 9112 allow or forbid them, each with its section and with the answers that it gets."""

from __future__ import annotations

from typing import NamedTuple

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


def names(cases: list[Case]) -> list[str]:
    """Return the names under which the cases are reported."""
    return [case.why for case in cases]


def first_line(line: bytes) -> bytes:
    """Return a request with a first line and a host, and one behind it that a misread one would let through."""
    return line + b"\r\nHost: x\r\n\r\n"


def hosted(value: bytes) -> bytes:
    """Return a request with this value of Host."""
    return b"GET /echo HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


def target(text: bytes, method: bytes = b"GET") -> bytes:
    """Return a request for this target."""
    return method + b" " + text + HOST + b"\r\n"


def header(line: bytes) -> bytes:
    """Return a request with one more line in its head."""
    return b"GET /echo" + HOST + line + b"\r\n\r\n"


def body(head: bytes, content: bytes = b"") -> bytes:
    """Return a POST with these lines in its head."""
    return POST + head + b"\r\n\r\n" + content


def encoded(value: bytes, version: bytes = b"1.1") -> bytes:
    """Return a POST with this transfer coding and an empty chunked body."""
    return b"POST /echo HTTP/" + version + b"\r\nHost: x\r\nTransfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n"
