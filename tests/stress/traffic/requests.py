"""Small requests to plain and async handlers.

What: conversations of one to twenty requests on a connection that is kept, one at a time or several at once
(pipelined); or one request by HTTP/1.0, or with ``Connection: close``.

Right: each request gets its own answer, in order, from a generation that served meanwhile; the connection stays open,
or closes where that was asked for.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import Wrong


class Requests(Traffic):
    """Small requests to plain and async handlers."""

    workers = 6
    pace = 40

    async def converse(self, chance: random.Random) -> None:
        """Send some requests, and get as many answers."""
        if chance.random() < 0.3:
            await self.one_shot(chance)
        else:
            await self.kept(chance)

    def target(self, chance: random.Random, nonce: str) -> str:
        """Return the address of a handler."""
        handler = chance.choice(("plain", "instant", "threaded", "waiting"))
        return f"/{handler}?nonce={nonce}&seconds={chance.choice((0, 0.001, 0.02, 0.2))}"

    async def one_shot(self, chance: random.Random) -> None:
        """Ask once on a connection that the server has to close."""
        nonce = self.nonce()
        target = self.target(chance, nonce)
        old = chance.random() < 0.5
        data = request(target, version="1.0") if old else request(target, headers={"Connection": "close"})
        with self.world.generation("echo") as generation:
            async with await self.world.connect() as connection:
                body = self.accept(await connection.ask(data), nonce)
                if not await connection.ended():
                    raise Wrong("the server does not close although it was asked to")
            generation.check(body["generation"])
        self.count("one-shot 200")

    async def kept(self, chance: random.Random) -> None:
        """Ask several times on one connection."""
        async with await self.world.connect() as connection:
            for _ in range(chance.randint(1, 20)):
                nonces = [self.nonce() for _ in range(chance.choice((1, 1, 1, 2, 8)))]
                with self.world.generation("echo") as generation:
                    await connection.send(b"".join(request(self.target(chance, nonce)) for nonce in nonces))
                    for nonce in nonces:
                        answer = await connection.answer()
                        generation.check(self.accept(answer, nonce)["generation"])
                        if not answer.keeps_alive:
                            raise Wrong("the server closes although it was not asked to")
                        self.count("200" if len(nonces) == 1 else "pipelined 200")
