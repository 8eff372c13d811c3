"""More requests at once than one plugin has places for.

Right: each gets its own answer, or a 503 with ``Retry-After`` if there was no place, and some get the former.
"""

from __future__ import annotations

import asyncio
import random

from stress.server import MAX_IN_PLUGIN
from stress.traffic.base import Traffic
from stress.wire import request
from stress.world import Wrong


class Crowds(Traffic):
    """More requests at once than one plugin has places for."""

    workers = 1
    pace = 0.5

    async def converse(self, chance: random.Random) -> None:
        """Send a crowd."""
        size = MAX_IN_PLUGIN + chance.randint(-20, 40)
        answers = await asyncio.gather(*(self.one() for _ in range(size)))
        for answer in answers:
            self.count(answer)
        if "200" not in answers:
            raise Wrong(f"none of {size} requests got a place")

    async def one(self) -> str:
        """Send one of the crowd; return the kind of its answer."""
        nonce = self.nonce()
        with self.world.generation("gates") as generation:
            answer = await self.world.ask(request(f"/crowd?nonce={nonce}"))
            if answer.status == 503:
                if answer.headers.get("retry-after") != "1":
                    raise Wrong(f"a 503 without Retry-After: {answer.headers}")
                return "503"
            generation.check(self.accept(answer, nonce)["generation"])
            return "200"
