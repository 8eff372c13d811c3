"""The length of a posted body and the number of variables in a query."""

from plugincore.baseplugin import BasePlugin


class Length(BasePlugin):
    """Counts bytes and variables."""

    async def request_handler(self, **data):
        """Return the number of bytes and of variables."""
        return 200, {"bytes": len(await data["request"].read()), "variables": len(data)}
