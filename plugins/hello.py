"""The smallest useful plugin: ``/hello`` greets, ``/hello?name=Ada`` greets Ada."""

from typing import Any

from plugincore.baseplugin import BasePlugin


class Hello(BasePlugin):
    """Greets the client."""

    async def request_handler(self, **data: Any) -> tuple[int, dict[str, str]]:
        """Return a greeting for the variable `name`."""
        return 200, {"message": f"Hello, {data.get('name', 'world')}!"}
