"""Requests whose handlers print, log and warn, also from a thread.

Right: they answer with their nonce, however much is written.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.wire import request


class Talk(Traffic):
    """Requests whose handlers print, log and warn."""

    workers = 1
    pace = 10

    async def converse(self, chance: random.Random) -> None:
        """Have something written."""
        nonce = self.nonce()
        with self.world.generation("talking") as generation:
            answer = await self.world.ask(request(f"/talking?nonce={nonce}&times={chance.choice((1, 5, 40))}"))
            generation.check(self.accept(answer, nonce)["generation"])
        self.count("200")
