"""A plugin that tests construct and call by hand, without a server."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from plugincore.baseplugin import BasePlugin
from plugincore.configfile import Config

ARGS = argparse.Namespace(ini_file="server.ini", log=None, level="ERROR")
KEY = "own"
UNAUTHORIZED = (403, {"error": "unauthorized", "code": "unauthorized"})


class Shop(BasePlugin):
    """A plugin as one would write it."""

    async def request_handler(self, **data: Any) -> tuple[int, dict[str, Any]]:
        """Answer with the item that was requested."""
        return 200, {"item": data.get("item"), "ip": data.get("client_ip")}


def make(kind: type[BasePlugin] = Shop, **kwargs: Any) -> Any:
    """Construct a plugin by hand, as a plugin's own tests do."""
    return kind(**{"prog_args": ARGS, "config": Config(items={"auth": {"apikey": "host-key"}}), **kwargs})


def ask(plugin: Any, **data: Any) -> Any:
    """Await `handle_request` in plain asyncio; return status and value of its response."""
    response = asyncio.run(plugin.handle_request(**data))
    return response.status, json.loads(response.body)
