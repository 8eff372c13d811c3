"""Tells from inside what the server holds: memory, descriptors, tasks, threads, objects, old generations."""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from collections import Counter

from common import STATE, Stressed

GENERATION = 0
PAGE = os.sysconf("SC_PAGE_SIZE")


class Probe(Stressed):
    generation = GENERATION

    def initialize(self, **kwargs):
        # Shows on request where every thread is, which is what one wants to know of a hang.
        faulthandler.register(signal.SIGUSR2, all_threads=True)

    async def request_handler(self, **data):
        for _ in range(3):
            gc.collect()
            await asyncio.sleep(0)
        objects = gc.get_objects()
        kinds = Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in objects)
        # Counted here: finalisers run on any thread, where counting up and down would lose some.
        inside = {**STATE.inside, "cycles": sum(type(item).__name__ == "Cycle" for item in objects)}
        names = sys.modules.keys()
        tasks = asyncio.all_tasks()
        return 200, {
            "memory": self.memory(),
            "descriptors": len(os.listdir("/dev/fd")),
            "threads": self.threads(),
            "tasks": len(tasks),
            "waiting": [repr(task)[:300] for task in tasks if task is not asyncio.current_task()],
            "objects": len(objects),
            "modules": len(names),
            "generations": max(len(alive) for alive in STATE.instances.values()),
            "inside": {name: number for name, number in inside.items() if number},
            "kinds": dict(kinds.most_common(400)),
            "aiohttp": "aiohttp" in names,
        }

    def threads(self):
        """Return how many threads there are, those of Rust too; 0 where the system does not tell it so simply."""
        return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

    def memory(self):
        """Return the resident memory in bytes; 0 where the system does not tell it so simply."""
        try:
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * PAGE
        except FileNotFoundError:
            return 0
