"""WebSockets of `plugincore.testing`: a test speaks to a plugin as a client of the server would."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from plugincore.baseplugin import BasePlugin
from plugincore.testing import HandshakeError, PluginClient
from plugincore.testing_pytest import OpenClient

pytest_plugins = ["plugincore.testing_pytest"]


class Echo(BasePlugin):
    """Says again what it hears, three times if it is a number; "bye" ends it."""

    async def request_handler(self, *, request: Any, **data: Any) -> Any:
        """Speak."""
        socket = web.WebSocketResponse(protocols=("loud", "soft"))
        await socket.prepare(request)
        await socket.send_str(f"{request.query.get('name')} {request.cookies.get('c')} {request.headers.get('X-Own')}")
        async for message in socket:
            if message.data == "bye":
                await socket.close(code=4001, message=b"as asked")
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            else:
                await socket.send_str(message.data)
        return socket


class Plain(BasePlugin):
    """Answers without a WebSocket."""

    def request_handler(self, **data: Any) -> Any:
        """Answer."""
        return 404, {"error": "no socket here"}


def test_messages_go_both_ways(plugin_client: OpenClient) -> None:
    """Texts and bytes, also large ones; with the query, headers and cookies of the request."""
    client = plugin_client(Echo)
    client.cookies["c"] = "1"
    with client.websocket(query={"name": "Ada"}, headers={"X-Own": "2"}, protocols=["soft"]) as socket:
        assert ("soft", "Ada 1 2") == (socket.protocol, socket.receive())
        for message in ("text", b"\x00\xff", "é" * 300_000, b"x" * 500_000):
            socket.send(message)
            assert message == socket.receive()
        assert socket.close_code is None
    assert 1000 == socket.close_code


def test_the_messages_end_when_the_plugin_closes_it(plugin_client: OpenClient) -> None:
    """The code says why; what is sent or awaited afterwards raises."""
    with plugin_client(Echo).websocket() as socket:
        for message in ("a", "b", "bye"):
            socket.send(message)
        assert ["None None None", "a", "b"] == list(socket)
        assert 4001 == socket.close_code
        with pytest.raises(ConnectionError, match="closed: 4001"):
            socket.send("c")
        with pytest.raises(ConnectionError, match="closed: 4001"):
            socket.receive()


def test_another_answer_is_an_error_with_status_and_body(plugin_client: OpenClient) -> None:
    """Of the plugin, or of the server before it."""
    with pytest.raises(HandshakeError, match=r"404: .*no socket here") as refused, plugin_client(Plain).websocket():
        pass
    assert (404, b'{"error": "no socket here"}') == (refused.value.status, refused.value.body)
    guarded = plugin_client(Echo, params={"auth_type": "plugin", "apikey": "sesame"})
    with pytest.raises(HandshakeError, match="403"), guarded.websocket():
        pass
    with guarded.websocket(headers={"Authorization": "Bearer sesame"}) as socket:
        assert "None None None" == socket.receive()


def test_sockets_of_one_client_are_open_at_a_time() -> None:
    """On the loop of the test; one that waits in vain gets a TimeoutError."""

    async def check() -> None:
        async with PluginClient(Echo) as client, client.websocket(timeout=0.1) as one, client.websocket() as other:
            assert await one.receive() == await other.receive()
            await other.send("other")
            with pytest.raises(TimeoutError):
                await one.receive()
            assert "other" == await other.receive()

    asyncio.run(check())


def test_a_client_that_is_closed_ends_its_sockets() -> None:
    """Nothing waits for ever."""

    async def check() -> None:
        async with PluginClient(Echo) as client:
            socket = await client.websocket().__aenter__()
            await socket.receive()
        assert [] == [message async for message in socket]
        with pytest.raises(ConnectionError, match="closed"):
            await socket.receive()

    asyncio.run(check())
