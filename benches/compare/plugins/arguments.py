"""Query and headers, which the handler gets as dicts."""

from plugincore.baseplugin import BasePlugin


class Arguments(BasePlugin):
    """Looks at one variable and one header."""

    async def request_handler(self, **data):
        """Return what was asked for and how many headers came."""
        headers = data["request_headers"]
        return 200, {"city": data["city"], "trace": headers["X-Trace"], "headers": len(headers)}
