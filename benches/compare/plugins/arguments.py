"""A handler that reads the query and the headers."""

from plugincore.baseplugin import BasePlugin


class Arguments(BasePlugin):
    """Reads one variable and one header."""

    async def request_handler(self, **data):
        """Return both values and the number of headers."""
        headers = data["request_headers"]
        return 200, {"city": data["city"], "trace": headers["X-Trace"], "headers": len(headers)}
