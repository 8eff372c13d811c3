"""Requests whose handlers start processes: by ``os.fork``, multiprocessing, pools, asyncio, ``subprocess``.

Right: the child gives the nonce back, and the handler answers with it. No child outlives its request, which is looked
at in the end.
"""

from __future__ import annotations

import random

from stress.traffic.base import Traffic
from stress.wire import request


class Forks(Traffic):
    """Requests whose handlers start processes."""

    workers = 2
    pace = 5

    async def converse(self, chance: random.Random) -> None:
        """Have a process started."""
        nonce, how = self.nonce(), chance.choice(("fork", "pool", "process", "program", "blocking"))
        with self.world.generation("forking") as generation:
            answer = await self.world.ask(request(f"/forking?nonce={nonce}&how={how}"))
            generation.check(self.accept(answer, nonce)["generation"])
        self.count(f"{how} 200")
