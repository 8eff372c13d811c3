"""One request with both answers, as the rows of the table look at it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from conformance.case import Case
from conformance.difference import Observation

#: The aspects of an answer's body.
BODY = {"body", "header content-type", "header content-length"}

#: What aiohttp says when a handler fails.
TROUBLE = b"500 Internal Server Error\n\nServer got itself in trouble"

#: The start of the body of a plugin that answers with what it was given.
ECHO = b'{"echo": true'


class Seen(dict[str, Any]):
    """What was seen of one answer. An aspect that was not seen is empty, so that predicates need not ask twice."""

    def __missing__(self, aspect: str) -> Any:
        """Return what stands for an aspect that was not seen."""
        return {"body": b"", "status": 0}.get(aspect, "")


@dataclass(frozen=True)
class Exchange:
    """A request of a case, and what was seen of both answers to it."""

    case: Case
    request: bytes
    original: Seen
    ours: Seen

    @cached_property
    def head(self) -> str:
        """Request line and headers."""
        return self.request.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def method(self) -> str:
        """The method."""
        return self.head.partition(" ")[0]

    @property
    def target(self) -> str:
        """The target."""
        return self.head.partition("\r\n")[0].partition(" ")[2].rpartition(" ")[0]

    @cached_property
    def sent(self) -> bytes:
        """The request's body, without the framing of chunks."""
        rest = self.request.partition(b"\r\n\r\n")[2]
        if self.header("Transfer-Encoding") != "chunked":
            return rest
        body = b""
        while (size := re.match(rb"([0-9A-Fa-f]+)\r\n", rest)) and (length := int(size[1], 16)):
            body += rest[size.end() : size.end() + length]
            rest = rest[size.end() + length + 2 :]
        return body

    def header(self, name: str) -> str | None:
        """Return the first value of a header of the request."""
        match = re.search(rf"^{re.escape(name)}:[ \t]*(.*?)[ \t]*\r?$", self.head, re.IGNORECASE | re.MULTILINE)
        return match[1] if match else None

    @cached_property
    def source(self) -> str:
        """What the plugin was to run, if it was."""
        try:
            return str(json.loads(self.sent)["source"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""

    def statuses(self, original: int, ours: int) -> bool:
        """Return whether the answers had these statuses."""
        return (self.original["status"], self.ours["status"]) == (original, ours)

    def says(self, side: Seen, text: str) -> bool:
        """Return whether one side's body is JSON with an `error` that begins with ``text``."""
        error = json_of(side).get("error")
        return isinstance(error, str) and error.startswith(text)

    @property
    def shielded(self) -> bool:
        """Whether the original's answer is an exception of the handler, with status 200."""
        return self.original["status"] == 200 and self.exception is not None

    @property
    def exception(self) -> dict[str, Any] | None:
        """The exception that the original's answer describes."""
        told = json_of(self.original)
        return told if list(told) == ["status", "type", "message"] and told["status"] == "exception" else None


def echoed(body: object) -> bool:
    """Return whether a body is what a handler was given."""
    return isinstance(body, bytes) and body.startswith(ECHO)


def json_of(side: Seen) -> dict[str, Any]:
    """Return the JSON object in a body, or an empty one."""
    try:
        value = json.loads(side["body"])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def answers(predicate: Callable[[Exchange], Collection[str]]) -> Callable[[Any, Observation, Observation], set[str]]:
    """Make an ``explains`` of a function that looks at one exchange and returns the aspects it explains."""

    def explains(case: Any, original: Observation, ours: Observation) -> set[str]:
        if not isinstance(case, Case):
            return set()
        explained = set()
        for number, request in enumerate(case.requests):
            prefix = "" if len(case.requests) == 1 else f"{number + 1}. "
            sides = (
                Seen((name.removeprefix(prefix), value) for name, value in side.items() if name.startswith(prefix))
                for side in (original, ours)
            )
            explained |= {prefix + aspect for aspect in predicate(Exchange(case, request, *sides))}
        return explained

    return explains


def everything(exchange: Exchange) -> set[str]:
    """Return every aspect of an exchange but what all errors have, for differences that leave nothing to compare."""
    return {*exchange.original, *exchange.ours} - {"error members"}
