"""Counts what a server could leak."""

import asyncio
import collections
import gc
import os

from plugincore.baseplugin import BasePlugin


class Census(BasePlugin):
    async def request_handler(self, **data):
        gc.collect()
        kinds = collections.Counter(type(thing).__name__ for thing in gc.get_objects())
        return 200, {
            "tasks": len(asyncio.all_tasks()),
            "objects": sum(kinds.values()),
            "kinds": dict(kinds.most_common(40)),
            "files": len(os.listdir("/proc/self/fd")),
        }
