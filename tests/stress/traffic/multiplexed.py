"""Requests of all kinds by HTTP/2, many at once on one connection.

What: up to twelve at once, some of them bodies, streams, refusals; some are given up by a reset of their stream.

Right: each request gets its own answer, whole, from a generation that served meanwhile; what is given up leaves the
others of the connection alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import random

from stress.multiplexed import Multiplexed as Connection
from stress.traffic.base import Traffic
from stress.traffic.streams import whole
from stress.world import expect


class Multiplexed(Traffic):
    """Requests of all kinds by HTTP/2."""

    workers = 3
    pace = 15

    async def converse(self, chance: random.Random) -> None:
        """Make some requests at once, and some more on the same connection."""
        async with await Connection.open(self.world.server.port) as connection:
            for _ in range(chance.randint(1, 4)):
                kinds = (self.small, self.small, self.small, self.body, self.stream, self.refused, self.given_up)
                requests = [chance.choice(kinds)(connection, chance) for _ in range(chance.randint(1, 12))]
                await asyncio.gather(*requests)

    async def small(self, connection: Connection, chance: random.Random) -> None:
        """Ask a plain or an async handler."""
        nonce, handler = self.nonce(), chance.choice(("plain", "instant", "threaded", "waiting"))
        with self.world.generation("echo") as generation:
            answer = await connection.ask(f"/{handler}?nonce={nonce}&seconds={chance.choice((0, 0.001, 0.02))}")
            generation.check(self.accept(answer, nonce)["generation"])
        self.count("200")

    async def body(self, connection: Connection, chance: random.Random) -> None:
        """Post a body that takes one frame, or many."""
        nonce, body = self.nonce(), chance.randbytes(chance.choice((1, 1000, 100_000)))
        headers = {"x-nonce": nonce, "content-type": "application/octet-stream"}
        said = self.accept(await connection.ask("/bodies", "POST", headers, body), nonce)
        expect(hashlib.sha256(body).hexdigest(), said["digest"], "the digest of the body")
        self.count("body 200")

    async def stream(self, connection: Connection, chance: random.Random) -> None:
        """Read an answer that comes piece by piece."""
        nonce, (count, size) = self.nonce(), chance.choice(((0, 64), (5, 1000), (100, 8000)))
        target = f"/{chance.choice(('pieces', 'plainpieces'))}?nonce={nonce}&count={count}&size={size}&seconds=0"
        answer = await connection.ask(target)
        expect((200, whole(nonce, count, size)), (answer.status, answer.body), "the stream")
        self.count("stream 200")

    async def refused(self, connection: Connection, chance: random.Random) -> None:
        """Ask for what there is not."""
        answer = await connection.ask("/nothing/here")
        expect(404, answer.status, "the status")
        self.count("404")

    async def given_up(self, connection: Connection, chance: random.Random) -> None:
        """Reset a request while its handler works, or while its answer comes."""
        target = chance.choice(("/waiting?seconds=0.2&", "/pieces?count=100&size=8000&seconds=0.001&", "/plain?"))
        number = await connection.begin(f"{target}nonce={self.nonce()}")
        await asyncio.sleep(chance.choice((0, 0.001, 0.02)))
        await connection.reset(number)
        self.count("given up")
