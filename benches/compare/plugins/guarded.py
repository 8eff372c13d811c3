"""A plugin that requires a key (see the ini file)."""

from plugincore.baseplugin import BasePlugin


class Guarded(BasePlugin):
    """Answers clients that send the key."""

    async def request_handler(self, **data):
        """Return a small dict."""
        return 200, {"message": "hello", "number": 42}
