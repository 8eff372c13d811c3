"""aiohttp's web sockets and streams; without aiohttp there are none, and nobody asks."""

import asyncio
import contextlib

from common import Stressed

try:
    from aiohttp import WSMsgType, web
except ImportError:
    web = None

GENERATION = 0


class Sockets(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            socket = web.WebSocketResponse(heartbeat=2)
            await socket.prepare(data["request"])
            with contextlib.suppress(ConnectionResetError):  # the client may go while it is answered
                await self.echo(socket)
            return socket

    async def echo(self, socket):
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                if message.data == "close":
                    break
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)


class Foreign(Stressed):
    generation = GENERATION

    async def request_handler(self, **data):
        with self.inside():
            nonce, size = data["nonce"], int(data["size"])
            response = web.StreamResponse(headers={"X-Nonce": nonce})
            await response.prepare(data["request"])
            for number in range(int(data["count"])):
                await response.write(f"{nonce}:{number}:".ljust(size, ".").encode())
                await asyncio.sleep(float(data["seconds"]))
            return response
