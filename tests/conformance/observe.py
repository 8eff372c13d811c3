"""What is seen of a server's answer: the aspects in which two servers are compared."""

from __future__ import annotations

import json
import re
from types import TracebackType
from typing import Any

from conformance.case import Case
from conformance.server import Server
from conformance.world import World
from support.wire import Answer, ClosedError, HangError, Wire, method_of

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

#: Headers that are lists without an order. pluginserver sends some of them in another order after each start.
LISTS = {"allow", "access-control-allow-methods", "access-control-allow-headers", "access-control-expose-headers"}

#: A request whose answer shows that connection and server are still usable.
ALIVE = b"GET /alive HTTP/1.1\r\nHost: alive\r\n\r\n"


#: What plugincore adds to the body of each of its errors.
ERROR_MEMBERS = re.compile(rb', ?"code": ?"[a-z0-9_]+", ?"request_id": ?"[0-9a-f]{32}"\}$')


def observe(answer: Answer, method: str, more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what is seen of one answer."""
    seen: dict[str, Any] = {"status": answer.status, "framing": answer.framing, "body": answer.body}
    seen.update(without_members(answer.body))
    for name in (*HEADERS, *more_headers):
        if values := answer.all(name):
            if name in LISTS:
                values = [", ".join(sorted(item.strip() for item in value.split(","))) for value in values]
            seen[f"header {name}"] = values if len(values) > 1 else values[0]
    if method == "HEAD":
        seen["header content-length"] = answer.one("content-length")
    return seen


def without_members(body: bytes) -> dict[str, Any]:
    """Return an error's body without what plugincore adds to it, and that it has been there; nothing for others."""
    members = ERROR_MEMBERS.search(body) if body.startswith(b"{") else None
    if members is None:
        return {}
    body = body[: members.start()] + b"}"
    # The message of an exception is there again as the text of the error.
    again = re.search(rb'"message": ("(?:[^"\\]|\\.)*")(, "error": \1)\}$', body)
    if again:
        body = body[: again.start(2)] + b"}"
    return {"body": body, "error members": "code request_id" if again is None else "error code request_id"}


def open_echoes(original: dict[str, Any], ours: dict[str, Any]) -> None:
    """Where both sides answered with what their handler was given, replace these bodies by an aspect for each thing."""
    for aspect in [aspect for aspect in original if aspect.endswith("body") and aspect in ours]:
        echoes = [echo_of(seen[aspect]) for seen in (original, ours)]
        if None not in echoes:
            for seen, echo in zip((original, ours), echoes, strict=True):
                prefix = aspect.removesuffix("body")
                del seen[aspect]
                seen.update({prefix + key: value for key, value in (echo or {}).items()})


def echo_of(body: bytes) -> dict[str, Any] | None:
    """Return what a handler was given, if this is the answer of the plugin that shows it."""
    if not body.startswith(b'{"echo": true'):
        return None
    groups = json.loads(body)
    del groups["echo"]
    return {f"{group} {name}": value for group, names in groups.items() for name, value in names.items()}


def compare(world: World, case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is seen of both servers in a case."""
    original = converse(world.original, case.requests, case.more_headers)
    ours = converse(world.ours, case.requests, case.more_headers)
    open_echoes(original, ours)
    return original, ours


def converse(server: Server, requests: tuple[bytes, ...], more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Send requests, over one connection as far as the server keeps it, and return what is seen of all answers.

    With several requests the aspects of each begin with its number.
    """
    seen: dict[str, Any] = {}
    with Line(server) as line:
        for number, request in enumerate(requests):
            prefix = "" if len(requests) == 1 else f"{number + 1}. "
            seen.update({prefix + aspect: value for aspect, value in line.exchange(request, more_headers).items()})
    return seen


class Line:
    """A line to a server: a connection that is made anew when it is lost, and the server with it if that has died."""

    def __init__(self, server: Server) -> None:
        """Connect."""
        self._server = server
        self._wire = Wire(server)

    def __enter__(self) -> Line:
        """Return the line itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._wire.close()

    def exchange(self, request: bytes, more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
        """Send one request; return what is seen of the answer, and of connection and server afterwards."""
        seen = exchange(self._server, self._wire, request, more_headers)
        if seen["connection"] != "open":
            self._wire.close()
            if seen["server"] != "serves":  # it may still be on its way to its end
                assert self._server.start(), "\n".join(self._server.lines)
            self._wire = Wire(self._server)
        return seen


def exchange(server: Server, wire: Wire, request: bytes, more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Send one request; return what is seen of the answer, and of connection and server afterwards."""
    try:
        seen = observe(wire.fetch(request), method_of(request), more_headers)
        seen["connection"] = state(wire)
    except (ClosedError, HangError) as error:
        seen = {"no answer": type(error).__name__, "connection": "lost"}
    seen["server"] = "serves" if seen["connection"] == "open" else survival(server)
    return seen


def state(wire: Wire) -> str:
    """Return whether a connection is still good for a request."""
    try:
        answer = wire.fetch(ALIVE)
    except ClosedError:
        return "closed"
    except HangError:
        return "hangs"
    return "open" if (answer.status, answer.body) == (200, b"alive") else f"confused: {answer.status}"


def survival(server: Server) -> str:
    """Return whether a server still serves."""
    try:
        with Wire(server) as wire:
            return "serves" if wire.fetch(ALIVE).status == 200 else "confused"
    except ClosedError:
        return "died"
    except HangError:
        return "hangs"
