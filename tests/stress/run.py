"""The order of a run: start, warm-up, traffic, rest, places, stop; and what is said of it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Collection

from stress import ending, figures
from stress.ledger import Ledger
from stress.server import Server
from stress.traffic import KINDS, Traffic
from stress.watch import watch
from stress.wire import Lost
from stress.world import File, World

#: The share of the time that goes into the warm-up, and its least, in seconds.
WARM_UP, LEAST_WARM_UP = 0.1, 4.0


async def run(server: Server, seed: str, seconds: float, only: Collection[str]) -> Ledger:
    """Put a server that has been started under stress, and stop it; return what happened."""
    ledger = Ledger()
    world = World(server, seed, ledger, files={name: File() for name in server.files()})
    try:
        await under_stress(world, seconds, [kind for kind in KINDS if not only or kind.kind() in only])
    except (TimeoutError, Lost, ConnectionError, KeyError) as error:
        ledger.fault("run", f"the server cannot be asked any more: {error!r}", fatal=True)
    if ledger.over.is_set():
        await show_what_hangs(world)
    for complaint in server.complaints():
        ledger.fault("log", complaint[:2000])
    return ledger


async def under_stress(world: World, seconds: float, kinds: Collection[type[Traffic]]) -> None:
    """Run traffic of these kinds, then ask what is to be asked of a server that has rest again."""
    ledger = world.ledger
    world.websockets = (await figures.measured(world))["aiohttp"]
    workers = [kind(world, number) for kind in kinds for number in range(kind.workers)]
    warm_up = max(LEAST_WARM_UP, seconds * WARM_UP)
    watching = asyncio.create_task(watch(world))
    try:
        await traffic(workers, warm_up)
        before = await figures.at_rest(world)
        say(f"warm after {warm_up:.0f} s", before)
        await traffic(workers, max(0.0, seconds - warm_up))
        if ledger.over.is_set():
            return
        after = await figures.at_rest(world, before)
        print(f"  {figures.summary(before, after)}", flush=True)
        if after["inside"]:
            ledger.fault("growth", f"handlers have not ended: {after['inside']}; tasks: {after['waiting']}")
        for complaint in figures.grown(before, after):
            ledger.fault("growth", f"{complaint} (more objects: {figures.newcomers(before, after)})")
        await ending.fill_all_places(world)
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    await ending.stop(world)


async def traffic(workers: Collection[Traffic], seconds: float) -> None:
    """Have the workers converse for this long; each finishes what it is at."""
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run(end))


async def show_what_hangs(world: World) -> None:
    """Have the server write into its log where each of its threads is, and print its tasks, for a look at a hang."""
    world.server.signal(signal.SIGUSR2)
    try:
        async with asyncio.timeout(5):
            for task in (await figures.measured(world))["waiting"]:
                print(f"  waits: {task}", flush=True)
    except (TimeoutError, Lost, ConnectionError) as error:
        print(f"  no plugin answers any more: {error!r}", flush=True)


def say(what: str, measured: figures.Figures) -> None:
    """Print figures."""
    shown = ", ".join(f"{name} {figures.shown(name, measured)}" for name in figures.BOUNDS)
    print(f"  {what}: {shown}", flush=True)
