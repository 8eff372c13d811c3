"""Takes the place of the base class' whole handling of a request."""

import textwrap

from aiohttp import web
from plugincore.baseplugin import BasePlugin


class Whole(BasePlugin):
    async def handle_request(self, **data):
        found = {}
        exec("async def main(plugin, data):\n" + textwrap.indent(data["source"], "    "), {"web": web}, found)
        return await found["main"](self, data)
