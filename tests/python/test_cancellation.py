"""Requests that are cancelled, and clients that are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.server import Server, serving
from support.wait import wait_for_file, wait_until
from support.websocket import handshake_lines
from support.wire import receive_all

PLUGINS = {
    "tasks": """
        import asyncio
        from plugincore.baseplugin import BasePlugin

        class Tasks(BasePlugin):
            task = None

            async def request_handler(self, **data):
                Tasks.task = asyncio.current_task()
                return await getattr(self, data["subpath"])()

            async def plain(self):
                await asyncio.Event().wait()

            async def tidy(self):
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0.001)

            async def stubborn(self):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    await asyncio.sleep(0)
                return 200, "all the same"

            async def changed(self):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise ValueError("instead")

            async def itself(self):
                asyncio.current_task().cancel("of my own")
                future = asyncio.get_running_loop().create_future()
                try:
                    await future
                except asyncio.CancelledError as error:
                    return {"args": error.args, "cancelled": future.cancelled()}

            async def raised(self):
                raise asyncio.CancelledError("of my own")

        class Cancel(BasePlugin):
            async def request_handler(self, **data):
                async with asyncio.timeout(5):
                    while Tasks.task is None:
                        await asyncio.sleep(0.001)
                    task, Tasks.task = Tasks.task, None
                    if data["subpath"] == "cancel":
                        task.cancel("from outside")
                    await asyncio.wait([task])
                try:
                    result = task.result()
                except BaseException as error:
                    result = [type(error).__name__, *error.args]
                return {"cancelled": task.cancelled(), "result": result}
    """,
    "gone": """
        import asyncio
        from pathlib import Path
        from aiohttp import web
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import EventSource, StreamingResponse

        async def pieces():
            yield "a piece"
            await asyncio.sleep(0)
            yield "another"

        async def waiting():
            await asyncio.sleep(0.001)
            yield "a piece"

        class Gone(BasePlugin):
            async def request_handler(self, **data):
                Path("entered").touch()
                while not Path("go").exists():
                    await asyncio.sleep(0.001)
                try:
                    return await getattr(self, data["subpath"])(data["request"])
                finally:
                    self.log("the handler ended")

            async def plain(self, request):
                return StreamingResponse(iter(["a", "b"]))

            async def pieces(self, request):
                return StreamingResponse(pieces())

            async def waiting(self, request):
                return StreamingResponse(waiting())

            async def events(self, request):
                return EventSource(pieces())

            async def aiohttp(self, request):
                answer = web.StreamResponse()
                await answer.prepare(request)
                await answer.write(b"a piece")
                return answer

            async def socket(self, request):
                socket = web.WebSocketResponse()
                try:
                    await socket.prepare(request)
                except ConnectionResetError:
                    self.log("told at once")
                    raise
                await asyncio.Event().wait()

            async def wrong(self, request):
                raise ValueError("the plugin's own mistake")
    """,
    "ends": """
        import asyncio
        from aiohttp import web
        from plugincore._aiohttp import _Transport
        from plugincore.baseplugin import BasePlugin

        class Ends(BasePlugin):
            calls = {}

            async def request_handler(self, **data):
                if data["subpath"] == "calls":
                    return Ends.calls
                if data["subpath"] == "lost":
                    return await self.lost(data["request"])
                number = data["number"]
                Ends.calls[number] = "begun"
                try:
                    await asyncio.sleep(0.25 + int(number) / 1000)
                    Ends.calls[number] = "prepares"
                    socket = web.WebSocketResponse()
                    await socket.prepare(data["request"])
                    Ends.calls[number] = "receives"
                    await socket.receive()
                except ConnectionResetError:
                    pass
                except BaseException as error:
                    Ends.calls[number] = repr(error)
                    raise
                Ends.calls[number] = "ended"

            async def lost(self, request):
                on_change = _Transport.on_change
                _Transport.on_change = _Transport._on_disconnect
                socket = web.WebSocketResponse()
                try:
                    await socket.prepare(request)
                finally:
                    _Transport.on_change = on_change
                self.log(f"lost: {(await socket.receive()).type.name}")
                return socket
    """,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve plugins whose requests are cancelled."""
    with serving(tmp_path_factory.mktemp("cancellation"), PLUGINS) as server:
        yield server
        assert 0 == server.stop()


@pytest.mark.parametrize(
    ("handler", "way", "ending", "answer"),
    [
        ("plain", "cancel", (True, ["CancelledError", "from outside"]), (500, "CancelledError")),
        ("tidy", "cancel", (True, ["CancelledError", "from outside"]), (500, "CancelledError")),
        ("stubborn", "cancel", (False, None), (200, None)),
        ("changed", "cancel", (False, None), (500, "ValueError")),
        ("itself", "wait", (False, None), (200, None)),
        ("raised", "wait", (True, ["CancelledError", "of my own"]), (500, "CancelledError")),
    ],
)
def test_a_cancelled_request_ends_its_task_as_cancelled_unless_it_goes_on(
    server: Server, handler: str, way: str, ending: tuple[bool, object], answer: tuple[int, str | None]
) -> None:
    """Code that cancels and awaits a request's task gets what asyncio promises, the message too."""
    with ThreadPoolExecutor() as pool:
        request = pool.submit(server.get, f"/tasks/{handler}")
        told = server.get(f"/cancel/{way}").json()
        assert ending == (told["cancelled"], told["result"])
        answered = request.result()
    assert answer[0] == answered.status_code
    if answer[1] is not None:
        assert answer[1] == answered.json()["type"]


def test_a_handler_that_cancels_itself_finds_its_message(server: Server) -> None:
    """What it waits for next is cancelled with it, though the first step was taken before the task's own."""
    assert {"args": ["of my own"], "cancelled": True} == server.get("/tasks/itself").json()


def leave(server: Server, handler: str, headers: bytes = b"") -> int:
    """Ask for ``handler`` and leave; return the number of the line of the log since when the client is gone."""
    for name in ("entered", "go"):
        (server.folder / name).unlink(missing_ok=True)
    before = len(server.lines)
    with server.connect() as leaving:
        leaving.sendall(b"GET /gone/" + handler.encode() + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        wait_for_file(server.folder / "entered")
        since = len(server.lines)
    # For a moment it could be one that has only finished sending.
    server.wait_for("connection ended", since)
    (server.folder / "go").touch()
    server.wait_for("the handler ended", before)
    return before


@pytest.mark.parametrize("handler", ["plain", "pieces", "waiting", "events", "aiohttp"])
def test_a_client_that_leaves_before_the_first_piece_is_no_error_of_the_plugin(server: Server, handler: str) -> None:
    """The log notes at DEBUG that no client waits any more."""
    before = leave(server, handler)
    server.wait_for("DEBUG - plugincore - plugin gone: .*nobody waits for more", before)
    assert not any("ERROR" in line for line in server.lines[before:])


def test_a_web_socket_whose_client_is_gone_at_the_upgrade_is_told_at_once(server: Server) -> None:
    """It need not wait for a message or a timeout, and it is no error of the plugin."""
    before = leave(server, "socket", handshake_lines())
    server.wait_for("told at once", before)
    server.wait_for("DEBUG - plugincore - plugin gone: .*nobody waits for more", before)
    assert not any("ERROR" in line for line in server.lines[before:])


def test_a_web_socket_ends_whether_its_client_left_before_the_upgrade_or_at_it_or_after_it(server: Server) -> None:
    """The handler finds out by `prepare()` or by `receive()`, and never waits for a client that is gone."""
    clients = [server.connect() for _ in range(100)]
    for number, client in enumerate(clients):
        # A client that has only finished sending looks the same for 0.3 s; the upgrades come around the end of that.
        target = f"GET /ends/socket?number={number}"
        client.sendall(target.encode() + b" HTTP/1.1\r\nHost: x\r\n" + handshake_lines() + b"\r\n")

    def calls() -> Counter[str]:
        return Counter(server.get("/ends/calls").json().values())

    wait_until(lambda: calls().total() == len(clients), calls)
    for client in clients:
        client.close()
    wait_until(lambda: calls()["ended"] == len(clients), calls)


def test_the_end_of_a_web_socket_that_is_found_while_it_is_prepared_is_received(server: Server) -> None:
    """Nothing could read it yet, so the handler waited until it was cancelled, half a minute later."""
    before = len(server.lines)
    with server.connect() as client:
        client.sendall(b"GET /ends/lost HTTP/1.1\r\nHost: x\r\n" + handshake_lines() + b"\r\n")
        server.wait_for("lost: CLOSED$", before)


def test_a_mistake_of_the_plugin_is_told_though_its_client_is_gone(server: Server) -> None:
    """Only what comes of the leaving is passed over."""
    before = leave(server, "wrong")
    server.wait_for("ERROR - plugincore - plugin gone: .*the plugin's own mistake", before)


DROPPED = """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin

class Dropped(BasePlugin):
    kept = []
    task = None

    async def request_handler(self, **data):
        request = data["request"]
        if data["subpath"] == "drop":
            self.task.get_coro().close()
            return {"kept": len(self.kept)}
        answer = web.WebSocketResponse() if data["subpath"] == "socket" else web.StreamResponse()
        await answer.prepare(request)
        Dropped.kept.append(answer)
        Dropped.task = asyncio.current_task()
        if data["subpath"] == "stream":
            await answer.write(b"a piece")
        await asyncio.Event().wait()
"""


@pytest.mark.parametrize(("handler", "headers"), [("stream", b""), ("socket", handshake_lines())])
def test_an_answer_under_way_ends_with_the_call_though_somebody_keeps_its_channel(
    tmp_path_factory: pytest.TempPathFactory, handler: str, headers: bytes
) -> None:
    """A coroutine that is closed from outside leaves no client waiting."""
    folder = tmp_path_factory.mktemp("dropped")
    with serving(folder, {"dropped": DROPPED}) as server, server.connect() as client:
        client.sendall(b"GET /dropped/" + handler.encode() + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        begun = client.recv(4096)
        assert begun.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101"))
        assert {"kept": 1} == server.get("/dropped/drop").json()
        assert not receive_all(client).endswith(b"0\r\n\r\n")
