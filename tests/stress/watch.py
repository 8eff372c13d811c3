"""Watches the server while traffic runs: what needs no Python is answered at once, whatever the plugins do."""

from __future__ import annotations

import asyncio
import time

from stress.wire import Lost, request
from stress.world import World

#: How long ``/-/healthy`` may take, in seconds, beside everything else that runs on the machine.
AT_ONCE = 5.0
EVERY = 0.1


async def watch(world: World) -> None:
    """Ask for the server's health again and again; end the run when it does not answer."""
    ledger = world.ledger
    while not ledger.over.is_set():
        begin = time.monotonic()
        try:
            async with asyncio.timeout(AT_ONCE):
                answer = await world.ask(request("/-/healthy"))
        except TimeoutError:
            ledger.fault("watch", f"/-/healthy takes more than {AT_ONCE:.0f} s", fatal=True)
        except (Lost, ConnectionError) as error:
            ledger.fault("watch", f"/-/healthy is not answered: {error!r}", fatal=True)
        else:
            if answer.status != 200:
                ledger.fault("watch", f"/-/healthy says {answer.status}", fatal=True)
            ledger.count("watch", "healthy")
        ledger.took("watch", time.monotonic() - begin)
        await asyncio.sleep(EVERY)
