"""Requests whose handlers leave garbage in cycles: requests, tasks, streams, coroutines; the collector runs often.

Right: they answer with their nonce, streams come whole, and nothing of it is left when the traffic rests.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import expect


class Garbage(Traffic):
    """Requests whose handlers leave garbage in cycles."""

    workers = 2
    pace = 10

    async def converse(self, chance: random.Random) -> None:
        """Have garbage made."""
        nonce = self.nonce()
        if chance.random() < 0.5:
            deed = chance.choice(("nothing", "log", "soon", "safe", "task", "collect"))
            target = f"/garbage?nonce={nonce}&deed={deed}&times={chance.choice((1, 3, 10))}"
            threshold = chance.choice((1, 10, 50, 200))
            with self.world.generation("garbage") as generation:
                answer = await self.world.ask(request(f"{target}&threshold={threshold}"))
                generation.check(self.accept(answer, nonce)["generation"])
            self.count(f"200 {deed}")
        else:
            count = chance.choice((0, 1, 20))
            answer = await self.world.ask(request(f"/dropped?nonce={nonce}&count={count}"))
            expect(200, answer.status, "the status")
            expect("".join(f"{nonce}:{number}:" for number in range(count)).encode(), answer.body, "the stream")
            self.count("streams")
