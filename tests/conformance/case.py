"""What a case is, and short ways to write requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class Case:
    """Requests that go over one connection of a world, byte by byte."""

    name: str
    requests: tuple[bytes, ...]
    world: str = "open"
    #: Headers to compare beside those of every answer.
    more_headers: tuple[str, ...] = ()

    @property
    def request(self) -> bytes:
        """The first request."""
        return self.requests[0]


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    """Return a request without a body; everything goes out as latin-1."""
    lines = "".join(f"{header}\r\n" for header in headers)
    host = "" if any(header.lower().startswith("host:") for header in headers) else "Host: server\r\n"
    return f"{method} {target} HTTP/1.1\r\n{host}{lines}\r\n".encode("latin-1")


def post(target: str, body: bytes | str, *headers: str, method: str = "POST") -> bytes:
    """Return a request with a body."""
    data = body.encode() if isinstance(body, str) else body
    return get(target, f"Content-Length: {len(data)}", *headers, method=method) + data


def post_json(target: str, value: Any, *headers: str) -> bytes:
    """Return a request with a JSON body."""
    return post(target, json.dumps(value), "Content-Type: application/json", *headers)


def run(source: str, target: str = "/run") -> bytes:
    """Return a request that makes a plugin run ``source``."""
    return post_json(target, {"source": source})


def run_by_get(source: str, method: str = "GET") -> bytes:
    """Return a request without a body that makes a plugin run ``source``."""
    return get(f"/run?source={quote(source)}", method=method)
