"""A handler that waits for 10 ms."""

import asyncio

from plugincore.baseplugin import BasePlugin


class Wait(BasePlugin):
    """Waits without blocking."""

    async def request_handler(self, **data):
        """Return after 10 ms."""
        await asyncio.sleep(0.01)
        return 200, {"message": "hello", "number": 42}
