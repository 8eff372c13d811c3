"""The client's side of RFC 6455, as far as it takes to talk with a well-behaved server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct

from stress.wire import Connection, Lost

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


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
        size = len(data)
        if size < 126:
            head = bytes([0x80 | kind, 0x80 | size])
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, size)
        mask = self.chance.randbytes(4)
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")
        # The server may close at any time; what it said before that is still to be read.
        with contextlib.suppress(Lost):
            await self.connection.send(head + mask + masked)

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
                raise Lost(f"the web socket breaks off: {error!r}") from error
            kind = first & 0x0F
            if kind == CLOSE:
                await self.send(CLOSE, data[:2])
                raise Closed(int.from_bytes(data[:2], "big") or 1005)
            if kind != PING:
                return kind, data
            await self.send(PONG, data)
