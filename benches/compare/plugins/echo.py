"""The posted JSON, sent back."""

from plugincore.baseplugin import BasePlugin


class Echo(BasePlugin):
    """Returns the posted variable."""

    async def request_handler(self, **data):
        """Return the variable ``items``."""
        return 200, {"items": data["items"]}
