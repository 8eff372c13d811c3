"""WebSockets that plugins open with aiohttp, with aiohttp's client and that of `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import WSCloseCode, WSMsgType
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect as connect_sync

from support.server import Launch, Server, serving
from support.wait import wait_until

SOCKETS = """
import asyncio
from aiohttp import web, WSMsgType
from plugincore.baseplugin import BasePlugin

class Sockets(BasePlugin):
    open = set()

    async def request_handler(self, **data):
        request = data["request"]
        return await getattr(self, data["subpath"] or "echo")(request)

    async def echo(self, request):
        options = {name: eval(value) for name, value in request.query.items()}
        socket = web.WebSocketResponse(**options)
        await socket.prepare(request)
        self.open.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    if message.data.startswith("close "):
                        await socket.close(code=int(message.data.split()[1]), message=b"as asked")
                    else:
                        await socket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
                elif message.type is WSMsgType.PING:
                    await socket.send_str(f"ping {message.data.decode()}")
                    await socket.pong(message.data)
                elif message.type is WSMsgType.ERROR:
                    self.log(f"error {socket.exception()!r}")
        finally:
            self.open.discard(socket)
            self.log(f"closed {socket.close_code}")
        return socket

    async def broadcast(self, request):
        count = len(self.open)
        for socket in list(self.open):
            await socket.send_str(request.query["text"])
        return {"sent": count}

    async def writers(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async def write(name):
            for number in range(100):
                await socket.send_str(f"{name} {number}")
                await asyncio.sleep(0)
        await asyncio.gather(*(write(name) for name in "abc"))
        return socket

    async def patient(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            await socket.receive(timeout=0.05)
        except asyncio.TimeoutError:
            await socket.send_str("nothing came")
        return socket

    async def can(self, request):
        ready = web.WebSocketResponse(protocols=["chat"]).can_prepare(request)
        return {"ok": ready.ok, "protocol": ready.protocol}

    async def flood(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sent = 0
        try:
            while True:
                await socket.send_bytes(b"x" * 65536)
                sent += 1
        finally:
            self.log("the flood ended")

    async def count(self, request):
        return len(self.open)

    async def early(self, request):
        await web.WebSocketResponse().send_str("too early")

    async def returned(self, request):
        return web.WebSocketResponse()

    async def reading(self, request):
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        message = await socket.receive()
        await socket.send_str(str(len(message.data)))
        return socket
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugin of this page; an idle connection and one that stalls have a second."""
    more = "[server]\nread_timeout = float:1.0\nplugin_timeout = float:1.0\n"
    with serving(tmp_path_factory.mktemp("sockets"), {"sockets": SOCKETS}, more) as running:
        yield running


def at(server: Server, path: str = "") -> str:
    """Return the address of a socket."""
    return server.base_url.replace("http", "ws", 1) + "/sockets/" + path


def session(use: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    """Run a conversation with aiohttp's client."""

    async def main() -> None:
        async with aiohttp.ClientSession() as client:
            await use(client)

    asyncio.run(main())


@pytest.mark.parametrize("compress", [0, 15], ids=["plain", "compressed"])
def test_messages_come_back(server: Server, compress: int) -> None:
    """Text and bytes of all sizes, compressed or not, pass in both directions."""

    async def talk(client: aiohttp.ClientSession) -> None:
        options = {"max_msg_size": 0, "compress": compress}
        async with client.ws_connect(at(server, "echo?max_msg_size=0"), **options) as socket:
            assert compress == socket.compress
            for text in ["", "é", "x" * 125, "y" * 126, "z" * 65_536, "w" * 3_000_000]:
                await socket.send_str(text)
                assert text == await socket.receive_str()
            for content in [b"", bytes(range(256)), b"\0" * 9_000_000]:
                await socket.send_bytes(content)
                assert content == await socket.receive_bytes()

    session(talk)
    with connect_sync(at(server), compression="deflate" if compress else None) as socket:
        for content in ["text", b"bytes", ["in ", "frag", "ments"]]:
            socket.send(content)
            assert ("".join(content) if isinstance(content, list) else content) == socket.recv()


def test_either_side_closes_with_its_code(server: Server) -> None:
    """The code of the side that closes first arrives at the other side."""

    async def talk(client: aiohttp.ClientSession) -> None:
        for code in [1000, 1001, 1008, 1011, 3000, 4999]:
            async with client.ws_connect(at(server)) as socket:
                await socket.send_str(f"close {code}")
                message = await socket.receive()
                assert (WSMsgType.CLOSE, code, "as asked") == (message.type, message.data, message.extra)
            since = len(server.lines)
            async with client.ws_connect(at(server)) as socket:
                await socket.close(code=code)
            server.wait_for(f"closed {code}", since)

    session(talk)


def test_pings_are_answered_by_either_side(server: Server) -> None:
    """By aiohttp itself, or by the handler when it asks to do so; heartbeats keep an idle socket open."""

    async def talk(client: aiohttp.ClientSession) -> None:
        async with connect(at(server)) as other:
            await asyncio.wait_for(await other.ping(b"mine"), 10)
        async with client.ws_connect(at(server, "echo?autoping=False")) as socket:
            await socket.ping(b"hello")
            assert "ping hello" == await socket.receive_str()
        async with client.ws_connect(at(server, "echo?heartbeat=0.1"), autoping=False) as socket:
            message = await socket.receive(timeout=10)
            assert WSMsgType.PING is message.type
            # One that does not answer is taken for gone.
            assert WSMsgType.CLOSED is (await socket.receive(timeout=10)).type

    session(talk)


def test_an_idle_socket_stays_open(server: Server) -> None:
    """The timeouts of requests do not apply to it."""
    with connect_sync(at(server), ping_interval=None) as socket:
        with pytest.raises(TimeoutError):
            socket.recv(timeout=2.5)
        socket.send("still there")
        assert "still there" == socket.recv()


def test_the_sub_protocol_is_agreed_on(server: Server) -> None:
    """The first of the client's that the plugin knows, or none."""
    with connect_sync(at(server, "echo?protocols=['chat','talk']"), subprotocols=["x", "talk", "chat"]) as socket:
        assert "talk" == socket.subprotocol
    with connect_sync(at(server, "echo")) as socket:
        assert socket.subprotocol is None


def test_a_plain_request_gets_400(server: Server) -> None:
    """As with aiohttp; a handler may check first whether it is a WebSocket."""
    answer = server.get("/sockets/echo")
    assert 400 == answer.status_code
    assert "No WebSocket UPGRADE hdr" in answer.text
    assert {"ok": False, "protocol": None} == server.get("/sockets/can").json()
    assert 400 == server.get("/sockets/returned").status_code
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "99"}
    assert 426 == server.get("/sockets/echo", headers=headers).status_code
    with pytest.raises(InvalidStatus) as refused, connect_sync(at(server, "can")):
        pass
    assert 200 == refused.value.response.status_code
    assert b'{"ok": true, "protocol": null}' == refused.value.response.body


def test_a_socket_that_is_used_too_early_or_never_is_a_clear_error(server: Server) -> None:
    """What is sent before `prepare()` raises; a socket that is just returned is opened and closed."""
    answer = server.get("/sockets/early")
    assert (500, "RuntimeError") == (answer.status_code, answer.json()["type"])
    with connect_sync(at(server, "returned")) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv()
    assert closed.value.rcvd is not None
    assert 1000 == closed.value.rcvd.code


def test_a_message_that_is_too_long_closes_with_1009(server: Server) -> None:
    """The client gets the code, although it is still sending."""
    address = at(server, "echo?max_msg_size=1000")
    with connect_sync(address, compression=None) as socket:

        def say_too_much() -> None:
            socket.send(b"x" * 5_000_000)
            socket.recv()

        with pytest.raises(ConnectionClosedError) as closed:
            say_too_much()
    assert closed.value.rcvd is not None
    assert 1009 == closed.value.rcvd.code


def test_others_send_through_a_socket(server: Server) -> None:
    """Another request's handler broadcasts, and several tasks of one handler write at the same time."""

    async def talk(client: aiohttp.ClientSession) -> None:
        async with client.ws_connect(at(server)) as one, client.ws_connect(at(server)) as two:
            async with client.get(server.base_url + "/sockets/broadcast?text=all") as answer:
                assert {"sent": 2} == await answer.json()
            assert "all" == await one.receive_str()
            assert "all" == await two.receive_str()
        async with client.ws_connect(at(server, "writers")) as socket:
            lines = [message.data async for message in socket]
        for name in "abc":
            assert [f"{name} {n}" for n in range(100)] == [line for line in lines if line.startswith(name)]

    session(talk)


def test_a_receive_that_takes_too_long_times_out(server: Server) -> None:
    """The handler goes on, and the socket with it."""
    with connect_sync(at(server, "patient")) as socket:
        assert "nothing came" == socket.recv()


def test_a_client_that_vanishes_ends_the_socket(server: Server) -> None:
    """The handler's loop comes to its end, whether the client closes or just goes."""
    since = len(server.lines)
    with connect_sync(at(server)) as socket:
        socket.socket.shutdown(2)
        server.wait_for("closed 1006", since)
    since = len(server.lines)
    with connect_sync(at(server, "flood")) as socket:
        socket.recv()
        socket.socket.shutdown(2)
        server.wait_for("the flood ended", since)
    assert 0 == server.get("/sockets/count").json()


def test_a_slow_reader_holds_up_the_writer_and_a_slow_handler_the_client(server: Server) -> None:
    """Neither fills the memory of the server; a client that takes nothing for `read_timeout` is given up."""
    since = len(server.lines)
    with connect_sync(at(server, "flood"), max_queue=1) as socket:
        socket.recv()
        server.wait_for("the flood ended", since)
    with connect_sync(at(server, "reading"), compression=None, max_size=None) as socket:
        socket.send(b"x" * 20_000_000)
        assert "20000000" == socket.recv()


GUARDED = {
    "guarded": """
        from aiohttp import web
        from plugincore.baseplugin import BasePlugin

        class Guarded(BasePlugin):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self._auth_type, self._apikey = "plugin", "sesame"

            async def request_handler(self, **data):
                socket = web.WebSocketResponse()
                await socket.prepare(data["request"])
                async for message in socket:
                    await socket.send_str(message.data)
                return socket
    """
}


def test_a_socket_stands_behind_authentication_cors_and_tls(launch: Launch, tmp_path: Path) -> None:
    """The key is checked before the handler runs, in the header or the query; the answer carries CORS headers."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    more = f"""
        [SSL]
        enabled = bool:true
        certfile = {tmp_path / "server.pem"}
        keyfile = {tmp_path / "server.pem"}
        [cors]
        enabled = bool:true
        origin_url = https://app.example
    """
    server = launch(GUARDED, ini_more=more)
    address = server.base_url.replace("http", "ws", 1) + "/guarded"
    with pytest.raises(InvalidStatus) as refused, connect_sync(address, ssl=context):
        pass
    assert refused.value.response.status_code in {401, 403}
    with connect_sync(f"{address}?apikey=sesame", ssl=context) as socket:
        socket.send("by query")
        assert "by query" == socket.recv()
    headers = {"X-Custom-Auth": "sesame", "Origin": "https://app.example"}
    with connect_sync(address, ssl=context, additional_headers=headers) as socket:
        assert socket.response is not None
        assert "https://app.example" == socket.response.headers["Access-Control-Allow-Origin"]
        socket.send("by header")
        assert "by header" == socket.recv()


ENDLESS = {
    "endless": """
        import asyncio
        from aiohttp import web
        from plugincore.baseplugin import BasePlugin

        class Endless(BasePlugin):
            go = asyncio.Event()

            async def request_handler(self, **data):
                return await getattr(self, data["subpath"])(data["request"])

            async def socket(self, request):
                socket = web.WebSocketResponse()
                await socket.prepare(request)
                await socket.send_str("open")
                async for message in socket:
                    pass
                self.log(f"closed {socket.close_code}")
                return socket

            async def deaf(self, request):
                socket = web.WebSocketResponse()
                await socket.prepare(request)
                await socket.send_str("open")
                try:
                    await asyncio.Event().wait()
                finally:
                    self.log("the deaf one was cancelled")

            async def events(self, request):
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                await response.write(b"data: 1\\n\\n")
                try:
                    await asyncio.Event().wait()
                finally:
                    self.go.set()
                    self.log("the events ended")

            async def download(self, request):
                response = web.StreamResponse(headers={"Content-Length": "6"})
                await response.prepare(request)
                await response.write(b"one")
                await self.go.wait()
                await response.write(b"two")
                return response

            def terminate_plugin(self):
                self.log("terminated")
    """
}


@pytest.mark.parametrize("way", ["stop", "restart", "reload", "removal"])
def test_what_has_no_end_is_ended_when_the_server_or_the_plugin_goes(launch: Launch, way: str) -> None:
    """WebSockets get 1001 and streams of events end, at once, also where their handlers do not listen."""
    server = launch(ENDLESS, ini_more="[server]\nshutdown_timeout = int:60\n")
    address = at(server).replace("/sockets/", "/endless/")
    since = len(server.lines)
    with (
        connect_sync(address + "socket") as socket,
        connect_sync(address + "deaf") as deaf,
        server.client() as client,
        client.stream("GET", "/endless/events") as events,
    ):
        pieces = events.iter_raw()
        assert ("open", "open", b"data: 1\n\n") == (socket.recv(), deaf.recv(), next(pieces))
        if way == "removal":
            (server.plugins / "endless.py").unlink()
        if way in {"reload", "removal"}:
            assert 200 == server.get("/reload/all" if way == "removal" else "/reload/endless").status_code
        else:
            server.send(signal.SIGTERM if way == "stop" else signal.SIGUSR1)
        for connection in (socket, deaf):
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv()
            assert closed.value.rcvd is not None
            assert WSCloseCode.GOING_AWAY == closed.value.rcvd.code
        assert b"" == b"".join(pieces)
    server.wait_for("closed 1000", since)  # what aiohttp tells the side that closes
    server.wait_for("the deaf one was cancelled", since)
    server.wait_for("the events ended", since)
    server.wait_for("terminated", since)
    if way == "stop":
        assert 0 == server.wait()
    assert not [line for line in server.lines[since:] if "Traceback" in line or "requests still run" in line]


def test_a_handshake_that_a_stop_overtakes_is_one_that_clients_accept(launch: Launch, tmp_path: Path) -> None:
    """The client of aiohttp accepts no other `Connection` than `upgrade`; the socket is closed with 1001 then."""
    late = """
        import asyncio
        from pathlib import Path
        from aiohttp import web
        from plugincore.baseplugin import BasePlugin

        class Late(BasePlugin):
            async def request_handler(self, **data):
                self.log("the handshake waits")
                while not Path(data["file"]).exists():
                    await asyncio.sleep(0.005)
                socket = web.WebSocketResponse()
                await socket.prepare(data["request"])
                async for message in socket:
                    pass
                return socket
    """
    server = launch({"late": late})

    def is_closed() -> bool:
        # Reset is what the kernel answers when the listener closes while the connection is being opened.
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
            server.connect().close()
            return False
        return True

    async def visit() -> object:
        async with aiohttp.ClientSession() as session:
            opening = asyncio.ensure_future(session.ws_connect(f"{server.base_url}/late?file={tmp_path / 'go'}"))
            await asyncio.to_thread(server.wait_for, "the handshake waits")
            server.send(signal.SIGTERM)
            await asyncio.to_thread(wait_until, is_closed)
            (tmp_path / "go").touch()
            socket = await opening
            # What was sent: aiohttp's `close_code` is 1006 if its own reply finds the connection closed already, since
            # its server does not wait for that while a handler receives.
            return (await socket.receive(20)).data

    assert WSCloseCode.GOING_AWAY == asyncio.run(visit())
    assert 0 == server.wait()


def test_an_open_socket_outlives_a_garbage_collection(launch: Launch) -> None:
    """Tasks are held weakly by asyncio; a handler whose client is there stays, whatever it waits for."""
    collector = """
        import gc
        from plugincore.baseplugin import BasePlugin

        class Collect(BasePlugin):
            def request_handler(self, **data):
                return {"collected": gc.collect() >= 0}
    """
    server = launch({**ENDLESS, "collect": collector})
    address = at(server).replace("/sockets/", "/endless/")
    with connect_sync(address + "socket") as socket, connect_sync(address + "deaf") as deaf:
        assert ("open", "open") == (socket.recv(), deaf.recv())
        for _ in range(3):
            assert {"collected": True} == server.get("/collect").json()
        assert socket.ping().wait(20)
        assert 0 == server.stop()
    assert server.log.index("Received SIGTERM") < server.log.index("the deaf one was cancelled")
    assert "destroyed" not in server.log


def test_a_download_is_finished_before_a_stop(launch: Launch) -> None:
    """What has an end may come to it, within `shutdown_timeout`; here it comes when the events have been ended."""
    server = launch(ENDLESS)
    with (
        server.client() as client,
        client.stream("GET", "/endless/download") as answer,
        client.stream("GET", "/endless/events") as events,
    ):
        pieces = answer.iter_raw()
        assert (b"one", b"data: 1\n\n") == (next(pieces), next(events.iter_raw()))
        server.send(signal.SIGTERM)
        assert b"two" == b"".join(pieces)
    assert 0 == server.wait()
