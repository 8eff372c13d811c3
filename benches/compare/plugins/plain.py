"""A small JSON answer from a plain handler."""

from plugincore.baseplugin import BasePlugin


class Plain(BasePlugin):
    """Answers at once, without a coroutine."""

    def request_handler(self, **data):
        """Return a small dict."""
        return 200, {"message": "hello", "number": 42}
