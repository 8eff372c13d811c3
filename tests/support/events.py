"""Server-sent events, read as a client does it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from support.server import Server

#: Where the server tells what happens.
ADDRESS = "/-/api/events"


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        id: What a client sends as ``Last-Event-ID`` when it comes back.
        name: Its type.
        data: Its data.

    """

    id: str
    name: str
    data: dict[str, Any]


class Events:
    """The events of a server, one after the other.

    Attributes:
        response: The response that they come in.

    """

    def __init__(self, response: httpx.Response) -> None:
        """Read from a response that is a stream."""
        self.response = response
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Event]:
        """Return the events up to the end of the stream; each one has to come in time."""
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, text = line.partition(": ")
            if line:
                fields[name] = text
            elif "data" in fields:
                yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}

    def until(self, name: str) -> list[Event]:
        """Return the events up to the next one of this type."""
        seen = []
        for event in self:
            seen.append(event)
            if event.name == name:
                return seen
        raise AssertionError(f"the stream ended without {name}: {seen}")


@contextlib.contextmanager
def events(server: Server, **headers: str) -> Iterator[Events]:
    """Read the events of a server from now on."""
    with server.client() as client, client.stream("GET", ADDRESS, headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield Events(response)
