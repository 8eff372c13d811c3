"""Requests whose handlers keep Python from everything else for up to 0.2 s.

Right: they answer with their nonce; what the server answers without Python (health, a wrong address) comes meanwhile,
which the watch looks at.
"""

from __future__ import annotations

import asyncio
import random

from stress.traffic.base import Traffic
from stress.wire import request


class Blocking(Traffic):
    """Requests whose handlers keep Python busy."""

    workers = 1
    pace = 4

    async def converse(self, chance: random.Random) -> None:
        """Have Python kept busy."""
        nonce, how = self.nonce(), chance.choice(("sleep", "loop", "lock"))
        target = f"/blocking?nonce={nonce}&how={how}&seconds={chance.choice((0.01, 0.05, 0.2))}"
        with self.world.generation("slow") as generation:
            answer = await self.world.ask(request(target))
            generation.check(self.accept(answer, nonce)["generation"])
        self.count(f"{how} 200")
        await asyncio.sleep(chance.random() * 0.5)
