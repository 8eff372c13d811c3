"""A plugin that computes for about half a millisecond."""

from plugincore.baseplugin import BasePlugin


class Work(BasePlugin):
    """Adds up numbers."""

    def request_handler(self, **data):
        """Return the sum."""
        return 200, {"sum": sum(range(20_000))}
