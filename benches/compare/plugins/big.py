"""About 100 KB of JSON, encoded again for each request."""

from plugincore.baseplugin import BasePlugin

ROWS = [
    {"id": n, "name": f"sensor number {n}", "value": n * 1.25, "active": n % 2 == 0, "tags": ["indoor", "floor"]}
    for n in range(1000)
]


class Big(BasePlugin):
    """Returns a thousand rows."""

    async def request_handler(self, **data):
        """Return all rows."""
        return 200, {"rows": ROWS}
