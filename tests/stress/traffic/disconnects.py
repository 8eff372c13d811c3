"""Clients that go away at every stage, with a word (FIN) or without (RST), some with another request behind.

What: before the first byte; in the head; in the body; while the handler works; while the answer streams, or events, or
a web socket is open; as soon as the answer is there. Some close their sending half only and wait for the answer.

Right: a client that has closed only its sending half gets its answer, or what of it was sent before the server saw the
end. The others get nothing; that the server forgets them, their handlers and their places is looked at when the traffic
rests.
"""

from __future__ import annotations

import asyncio
import random

from stress.traffic.base import Traffic
from stress.traffic.sockets import upgrade
from stress.wire import Connection, Lost, request


class Disconnects(Traffic):
    """Clients that go away at every stage."""

    workers = 4
    pace = 30

    async def converse(self, chance: random.Random) -> None:
        """Begin something and go away."""
        stage = chance.choice((self.head, self.body, self.handler, self.stream, self.socket))
        async with await self.world.connect() as connection:
            await stage(connection, chance)
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.02)))
            self.leave(connection, chance, stage.__name__)

    def leave(self, connection: Connection, chance: random.Random, stage: str) -> None:
        """Go away, one way or the other."""
        if chance.random() < 0.5:
            connection.reset()
            self.count(f"RST in {stage}")
        else:
            self.count(f"FIN in {stage}")

    async def send(self, connection: Connection, data: bytes, chance: random.Random) -> None:
        """Send a request, perhaps with others behind it, whole or not."""
        behind = request("/plain?nonce=behind")
        more = chance.choice((b"", b"", behind, behind * 50, behind[:20], b"\r\n"))
        await connection.send(data + more)

    async def head(self, connection: Connection, chance: random.Random) -> None:
        """Send a part of a head, or nothing."""
        data = request("/plain?nonce=never")
        await connection.send(data[: chance.randrange(len(data) - 1)])

    async def body(self, connection: Connection, chance: random.Random) -> None:
        """Send a head and a part of a body."""
        data = request(
            "/bodies",
            method="POST",
            headers={"X-Nonce": "never", "Content-Type": "application/x-www-form-urlencoded"},
            body=b"a=" + b"b" * chance.choice((10, 10_000, 200_000)),
            chunks=chance.choice((0, 100_000)),
        )
        begin = data.index(b"\r\n\r\n") + 4
        await connection.send(data[: chance.randrange(begin, len(data) - 1)])

    async def handler(self, connection: Connection, chance: random.Random) -> None:
        """Send a request and leave while the handler works, or when it has answered."""
        target = chance.choice(("/waiting?seconds=0.2", "/waiting?seconds=0.005", "/plain?", "/threaded?", "/crowd?"))
        data = request(f"{target}&nonce={self.nonce()}")
        if chance.random() < 0.2:
            await connection.send(data)
            connection.say_no_more()
            try:
                answer = await connection.answer()
            except Lost:
                self.count("nothing after half a close")
            else:
                self.count(f"{answer.status} after half a close")
        else:
            await self.send(connection, data, chance)
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.01, 0.05)))

    async def stream(self, connection: Connection, chance: random.Random) -> None:
        """Leave an answer that is on its way, after some of it."""
        handlers = ("pieces", "plainpieces", "events", "dropped", "files", "foreign")
        handler = chance.choice(handlers if self.world.websockets else handlers[:-1])
        seconds = chance.choice((0, 0.001, 0.02))
        target = f"/{handler}?nonce={self.nonce()}&count={chance.choice((5, 100, 2000))}&size=2000&name=large.bin"
        await self.send(connection, request(f"{target}&seconds={seconds}&ping=0.01"), chance)
        try:
            async with asyncio.timeout(chance.choice((0.02, 0.2))):
                await connection.reader.readexactly(chance.choice((0, 1, 500, 50_000)))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass  # what came by then has to do

    async def socket(self, connection: Connection, chance: random.Random) -> None:
        """Open a web socket and leave it as it is, with a message on its way or with half of one."""
        if self.world.websockets:
            await connection.send(request("/sockets", headers=upgrade(chance)))
            if chance.random() < 0.8:
                await connection.head()
                message = b"\x81\x84\0\0\0\0ping"
                await connection.send(message[: chance.randint(0, len(message))])
