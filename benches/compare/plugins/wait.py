"""A handler that waits for something else, 10 ms long."""

import asyncio

from plugincore.baseplugin import BasePlugin


class Wait(BasePlugin):
    """Waits without blocking."""

    async def request_handler(self, **data):
        """Return after 10 ms."""
        await asyncio.sleep(0.01)
        return 200, {"message": "hello", "number": 42}
