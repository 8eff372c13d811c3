"""A plugin that blocks: asleep, or busy in C code that holds the GIL."""

import time

from plugincore.baseplugin import BasePlugin


class Blocker(BasePlugin):
    """Blocks for about 0.2 s."""

    async def request_handler(self, **data):
        """Block in the way given by the variable ``how``."""
        if data["how"] == "sleep":
            time.sleep(0.2)  # noqa: ASYNC251 - blocking is what is measured
        else:
            sum(range(8_000_000))
        return 200, {"message": "done"}
