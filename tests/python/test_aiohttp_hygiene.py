"""Nothing is left of requests that aiohttp's objects answered."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from websockets.sync.client import connect

from support.server import Launch, Server
from support.wait import wait_until

PLUGIN = """
import asyncio, gc, os
from aiohttp import web
from plugincore.baseplugin import BasePlugin

class Mixed(BasePlugin):
    async def request_handler(self, **data):
        return await getattr(self, data["subpath"])(data["request"])

    async def whole(self, request):
        return web.json_response({"a": 1})

    async def compressed(self, request):
        response = web.Response(text="x" * 100)
        response.enable_compression()
        return response

    async def file(self, request):
        return web.FileResponse(__file__)

    async def stream(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"x" * 1000)
        return response

    async def broken(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        raise ValueError("on purpose")

    async def other(self, request):
        await web.StreamResponse().prepare(request)
        return 1

    async def refused(self, request):
        raise web.HTTPNotFound(text=str(request.rel_url))

    async def body(self, request):
        return {"read": len(await request.content.read()), "app": len(request.app)}

    async def endless(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    async def events(self, request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\\n\\n")
        await asyncio.Event().wait()

    async def socket(self, request):
        socket = web.WebSocketResponse(heartbeat=5)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def counts(self, request):
        gc.collect()
        return [len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), len(gc.get_objects())]
"""


def visit(server: Server, rounds: int) -> None:
    """Make a mixture of requests; some clients leave before the end."""
    with server.client(limits=httpx.Limits(max_keepalive_connections=1)) as client:
        for _ in range(rounds):
            for what in ["whole", "compressed", "file", "stream", "refused"]:
                client.get(f"/mixed/{what}").read()
            client.post("/mixed/body", content=b"x" * 100)
            client.head("/mixed/endless")
            for what in ["broken", "other"]:
                with contextlib.suppress(httpx.RemoteProtocolError):
                    client.get(f"/mixed/{what}")
            for what in ["endless", "events"]:
                with server.client() as leaver, leaver.stream("GET", f"/mixed/{what}") as answer:
                    next(answer.iter_raw())
            with connect(server.base_url.replace("http", "ws", 1) + "/mixed/socket") as socket:
                socket.send("hello")
                assert "hello" == socket.recv()
                if rounds % 2:
                    socket.socket.shutdown(2)


def counts(server: Server) -> list[int]:
    """Return the numbers of tasks, descriptors and objects, once the tasks of those who left have ended."""

    def at_rest() -> list[int] | None:
        found: list[int] = server.get("/mixed/counts").json()
        return found if found[0] <= 2 else None

    counted = wait_until(at_rest, "tasks have not ended")
    assert counted is not None
    return counted


@pytest.mark.timeout(240)
def test_nothing_grows(launch: Launch) -> None:
    """After thousands of requests of all kinds there are as many tasks, open files and objects as before."""
    server = launch({"mixed": PLUGIN})
    visit(server, 15)
    before = counts(server)
    visit(server, 151)
    after = counts(server)
    assert before[0] == after[0]
    assert after[1] <= before[1]
    # Less than one object a request; asyncio keeps some hundred cancelled timers for a while.
    assert after[2] - before[2] < 1000, f"{before} became {after}"
