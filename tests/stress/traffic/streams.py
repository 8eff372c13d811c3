"""Answers that come piece by piece: from plain and async generators, and by aiohttp's ``StreamResponse``.

What: up to 100 pieces of up to 8 KB, read as fast as they come or slowly, with a length or without.

Right: every piece in its order, then the end, and the connection serves on. A reload lets an answer that has begun come
to its end.
"""

from __future__ import annotations

import asyncio
import random

from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import expect


class Streams(Traffic):
    """Answers that come piece by piece."""

    workers = 4
    pace = 20

    async def converse(self, chance: random.Random) -> None:
        """Read some streams on one connection."""
        handlers = ("pieces", "plainpieces", "foreign") if self.world.websockets else ("pieces", "plainpieces")
        async with await self.world.connect() as connection:
            for _ in range(chance.randint(1, 3)):
                nonce, handler = self.nonce(), chance.choice(handlers)
                size = chance.choice((64, 64, 1000, 8000))
                count, seconds = chance.choice(((0, 0), (1, 0), (5, 0.01), (25, 0.001), (100, 0)))
                length = "&length=1" if chance.random() < 0.3 else ""
                target = f"/{handler}?nonce={nonce}&count={count}&size={size}&seconds={seconds}{length}"
                slowly = chance.random() < 0.1
                await connection.send(request(target))
                answer = await connection.head()
                expect(200, answer.status, "the status")
                received = []
                async for piece in connection.pieces(answer):
                    received.append(piece)
                    if slowly:
                        await asyncio.sleep(0.005)
                expect(whole(nonce, count, size), b"".join(received), "the stream")
                self.count("slowly read stream" if slowly else f"stream of /{handler}")


def whole(nonce: str, count: int, size: int) -> bytes:
    """Return what the pieces of an answer are together."""
    return "".join(f"{nonce}:{number}:".ljust(size, ".") for number in range(count)).encode()
