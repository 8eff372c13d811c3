"""A small JSON answer from an async handler."""

from plugincore.baseplugin import BasePlugin


class Small(BasePlugin):
    """Answers at once."""

    async def request_handler(self, **data):
        """Return a small dict."""
        return 200, {"message": "hello", "number": 42}
