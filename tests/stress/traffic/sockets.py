"""WebSockets, which aiohttp speaks at the server's side.

What: up to 60 messages, of text and of bytes, one at a time or several at once, with pings in between; then one side
closes.

Right: each message comes back, in order; each ping has its pong; the close is answered and the connection ends. A
reload of the plugin closes with 1001.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.websocket import Closed, WebSocket
from stress.wire import request
from stress.world import Wrong, expect
from support.websocket import BINARY, CLOSE, PING, PONG, TEXT, handshake_headers

#: A whole frame.
EMPTY_PING = bytes([0x80 | PING, 0])


class Sockets(Traffic):
    """WebSockets."""

    workers = 3
    pace = 10

    async def converse(self, chance: random.Random) -> None:
        """Have a conversation by WebSocket."""
        if not self.world.websockets:
            return
        with self.world.generation("sockets") as generation:
            async with await self.world.connect() as connection:
                await connection.send(request("/sockets", headers=upgrade(chance)))
                expect(101, (await connection.head()).status, "the status")
                try:
                    await self.talk(WebSocket(connection, chance), chance)
                except Closed as closed:
                    if closed.code != 1001 or not generation.replaced:
                        raise Wrong(f"the server closes with {closed.code}") from closed
                    self.count("closed by a reload")
                else:
                    self.count("closed")
                # A ping of aiohttp's heartbeat that was due before the close may follow it.
                if (rest := await connection.rest()) not in (b"", EMPTY_PING):
                    raise Wrong(f"the connection goes on after the close: {rest[:100]!r}")

    async def talk(self, socket: WebSocket, chance: random.Random) -> None:
        """Send messages, compare what comes back, and close."""
        for _ in range(chance.randint(0, 20)):
            sent = []
            for _ in range(chance.choice((1, 1, 3))):
                kind = chance.choice((TEXT, BINARY))
                data = self.nonce().encode() * chance.choice((1, 1, 100, 2000))
                await socket.send(kind, data)
                sent.append((kind, data))
            if chance.random() < 0.1:
                await socket.send(PING, b"p")
                sent.append((PONG, b"p"))
            for frame in sent:
                found = await socket.receive()
                expect(frame, found, "the message")
                self.count("pongs" if frame[0] == PONG else "messages")
        if chance.random() < 0.5:
            await socket.send(TEXT, b"close")
        else:
            await socket.send(CLOSE, (1000).to_bytes(2, "big"))
        try:
            raise Wrong(f"{await socket.receive()!r} comes instead of the close")
        except Closed as closed:
            if closed.code != 1000:
                raise


def upgrade(chance: random.Random) -> dict[str, str]:
    """Return the headers that request a WebSocket."""
    return handshake_headers(chance.randbytes(16))
