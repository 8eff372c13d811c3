"""A WebSocket at /template; needs the package aiohttp."""

from __future__ import annotations

#: background
import asyncio
#: end
from typing import Any

from aiohttp import WSMsgType, web
from plugincore.baseplugin import BasePlugin


class Template(BasePlugin):
    """Sends each message to all who are connected."""

    def initialize(self, *, greeting: str = "Hello", **_: Any) -> None:
        """Take the parameters, which stand in the line `template` of [plugin_parms] in the ini file."""
        self.greeting = greeting
        self.open: set[web.WebSocketResponse] = set()
        #: background
        # The task belongs to the plugin: it is cancelled when the plugin ends or is replaced.
        self.ticker = asyncio.create_task(self.tick())
        #: end

    async def request_handler(self, **data: Any) -> web.WebSocketResponse:
        """Answer until the client leaves."""
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(data["request"])
        await socket.send_str(f"{self.greeting}!")
        self.open.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self.send_to_all(message.data)
        finally:
            self.open.discard(socket)
        return socket

    async def send_to_all(self, text: str) -> None:
        """Send a message to all who are connected."""
        for socket in list(self.open):
            # The next one may have left while this one was sent to.
            if not socket.closed:
                await socket.send_str(text)

    #: background
    async def tick(self) -> None:
        """Send a message each second for as long as the plugin serves."""
        while True:
            await asyncio.sleep(1)
            await self.send_to_all("tick")

    #: end
    def terminate_plugin(self) -> None:
        """Close what the plugin has opened; called when it ends or is replaced."""
