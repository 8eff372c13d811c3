"""A WebSocket connection from the client's side, as far as a well-behaved server needs it."""

from __future__ import annotations

import asyncio
import contextlib
import random

from stress.wire import Connection, Lost
from support.websocket import CLOSE, PING, PONG, frame


class Closed(Exception):
    """The server has closed, with a code."""

    def __init__(self, code: int) -> None:
        """Note the code; 1005 stands for none."""
        super().__init__(code)
        self.code = code


class WebSocket:
    """A connection after its upgrade."""

    def __init__(self, connection: Connection, chance: random.Random) -> None:
        """Talk over ``connection``."""
        self.connection = connection
        self.chance = chance

    async def send(self, kind: int, data: bytes) -> None:
        """Send a message, or a control frame, masked as clients must."""
        # The server may close at any time; what it sent before that is still to be read.
        with contextlib.suppress(Lost):
            await self.connection.send(frame(kind, data, mask=self.chance.randbytes(4)))

    async def receive(self) -> tuple[int, bytes]:
        """Return the next frame but for the server's pings, which are answered; a close is answered and raised."""
        while True:
            try:
                first, second = await self.connection.reader.readexactly(2)
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await self.connection.reader.readexactly(2 if size == 126 else 8), "big")
                data = await self.connection.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Lost(f"the WebSocket breaks off: {error!r}") from error
            kind = first & 0x0F
            if kind == CLOSE:
                await self.send(CLOSE, data[:2])
                raise Closed(int.from_bytes(data[:2], "big") or 1005)
            if kind != PING:
                return kind, data
            await self.send(PONG, data)
