"""How long a posted body is, and how many variables a query has."""

from plugincore.baseplugin import BasePlugin


class Length(BasePlugin):
    """Counts."""

    async def request_handler(self, **data):
        """Return the number of bytes and of variables."""
        return 200, {"bytes": len(await data["request"].read()), "variables": len(data)}
