"""What is seen of a server's answer: the aspects in which two servers are compared."""

from __future__ import annotations

import json
from typing import Any

from conformance.server import Server
from conformance.wire import Answer, Closed, Hangs, Wire

#: The headers that clients rely on, with the reason.
HEADERS = {
    "content-type": "chooses how clients read the body",
    "location": "is followed",
    "set-cookie": "is kept and sent back",
    "allow": "tells what else may be asked",
    "www-authenticate": "makes browsers ask for a password",
    "content-disposition": "names downloads",
    "content-encoding": "says how the body is packed",
    "cache-control": "rules caches",
    "etag": "is sent back in conditional requests",
    "last-modified": "is sent back in conditional requests",
    "expires": "rules caches",
    "retry-after": "tells when to come again",
    "access-control-allow-origin": "is obeyed by browsers",
    "access-control-allow-credentials": "is obeyed by browsers",
    "access-control-allow-methods": "is obeyed by browsers",
    "access-control-allow-headers": "is obeyed by browsers",
    "access-control-expose-headers": "is obeyed by browsers",
    "access-control-max-age": "is obeyed by browsers",
    "x-plugin": "stands for every header that a plugin sets",
}

#: A request whose answer tells that connection and server are still usable.
ALIVE = b"GET /alive HTTP/1.1\r\nHost: alive\r\n\r\n"


def observe(answer: Answer, method: str, more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what is seen of one answer."""
    seen: dict[str, Any] = {"status": answer.status, "framing": answer.framing}
    for name in (*HEADERS, *more_headers):
        if values := answer.all(name):
            seen[f"header {name}"] = values if len(values) > 1 else values[0]
    if method == "HEAD":
        seen["header content-length"] = answer.one("content-length")
    try:
        echo = json.loads(answer.body) if b'"echo": true' in answer.body else None
    except ValueError:
        echo = None
    if echo is None:
        seen["body"] = answer.body
    else:
        for group in ("data", "host keys", "request_headers", "request"):
            seen.update({f"{group}: {name}": value for name, value in echo[group].items()})
    return seen


def converse(server: Server, requests: tuple[bytes, ...], more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Send requests over one connection and return what is seen of all answers, and of the server afterwards."""
    seen: dict[str, Any] = {}
    if not server.alive:
        server.start()
    with Wire(server.port) as wire:
        try:
            for number, request in enumerate(requests):
                method = request.partition(b" ")[0].decode("latin-1")
                prefix = "" if len(requests) == 1 else f"{number + 1}. "
                answer = wire.ask(request)
                seen.update({prefix + key: value for key, value in observe(answer, method, more_headers).items()})
        except (Closed, Hangs) as error:
            seen["no answer"] = type(error).__name__.lower()
        else:
            seen["connection"] = state(wire)
    seen["server"] = survival(server)
    return seen


def state(wire: Wire) -> str:
    """Tell whether a connection is still good for a request."""
    try:
        answer = wire.ask(ALIVE)
    except (Closed, Hangs) as error:
        return type(error).__name__.lower()
    return "open" if (answer.status, answer.body) == (200, b"alive") else f"confused: {answer.status}"


def survival(server: Server) -> str:
    """Tell whether a server still serves."""
    if not server.alive:
        return "died"
    try:
        with Wire(server.port) as wire:
            return "serves" if wire.ask(ALIVE).status == 200 else "confused"
    except (Closed, Hangs) as error:
        return "died" if server.wait(1.0) is not None else type(error).__name__.lower()
