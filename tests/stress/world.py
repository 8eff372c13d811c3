"""What all traffic shares: the server, the seed, and which generation of each plugin may answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stress.ledger import Ledger
from stress.server import Server
from stress.wire import Answer, Connection

#: The longest that anything may take, in seconds, on a machine that has other things to do as well.
LIMIT = 60.0


class Wrong(Exception):
    """An answer came, but not the right one."""


@dataclass
class File:
    """A plugin file: the generations that may answer, and how many reloads of it began."""

    serves: int = 0
    written: int = 0
    reloads: int = 0
    reloading: int = 0


@dataclass
class World:
    """What all traffic shares.

    Attributes:
        server: The server process.
        seed: What all decisions follow from.
        ledger: What happened.
        websockets: Whether the server's Python has aiohttp.
        files: The plugin files by their names.

    """

    server: Server
    seed: str
    ledger: Ledger
    websockets: bool = True
    files: dict[str, File] = field(default_factory=dict)

    def chance(self, *where: object) -> random.Random:
        """Return the source of decisions for one place of the run: the same for the same seed."""
        return random.Random("/".join(map(str, (self.seed, *where))))

    async def connect(self) -> Connection:
        """Open a connection."""
        return await Connection.open(self.server.port)

    async def ask(self, data: bytes, method: str = "GET") -> Answer:
        """Make one request on a connection of its own."""
        async with await self.connect() as connection:
            return await connection.ask(data, method)

    @contextmanager
    def reload(self, *names: str) -> Iterator[None]:
        """Mark files as being reloaded."""
        files = [self.files[name] for name in names]
        for file in files:
            file.reloads += 1
            file.reloading += 1
        try:
            yield
        finally:
            for file in files:
                file.reloading -= 1

    @contextmanager
    def generation(self, name: str) -> Iterator[Generation]:
        """Watch over which generations of a file may answer from now on."""
        file = self.files[name]
        yield Generation(file, file.serves, file.reloads, file.reloading > 0)


@dataclass
class Generation:
    """The generations of a file that may answer a request that is sent now."""

    file: File
    lowest: int
    reloads: int
    reloading: bool

    def check(self, number: Any) -> None:
        """Raise unless ``number`` is a generation that served since the request was sent."""
        if not isinstance(number, int) or not self.lowest <= number <= self.file.written:
            raise Wrong(f"generation {number!r} answers, but {self.lowest} to {self.file.written} may")

    @property
    def replaced(self) -> bool:
        """Whether the plugin may have been replaced since, which ends what has no end."""
        return self.reloading or self.reloads != self.file.reloads


def expect(right: object, found: object, what: str) -> None:
    """Raise unless what was found is right."""
    if right != found:
        raise Wrong(f"{what} should be {short(right)}, and is {short(found)}")


def short(value: object) -> str:
    """Return a value as text that a report can show."""
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]}…{text[-60:]} ({len(text)} characters)"
