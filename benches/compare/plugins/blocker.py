"""A plugin that blocks: asleep, or busy in C with the interpreter held."""

import time

from plugincore.baseplugin import BasePlugin


class Blocker(BasePlugin):
    """Blocks for about 0.2 s."""

    async def request_handler(self, **data):
        """Block in the way that the variable ``how`` names."""
        if data["how"] == "sleep":
            time.sleep(0.2)  # noqa: ASYNC251 - blocking is what is measured
        else:
            sum(range(8_000_000))
        return 200, {"message": "done"}
