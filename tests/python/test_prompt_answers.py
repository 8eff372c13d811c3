"""An answer that is ready leaves, whatever the next handler does to the thread of all plugins."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.server import Launch, Server
from support.wait import wait_until
from support.wire import receive_all

#: How long a handler of these plugins blocks at most, in seconds.
BLOCKING = 6.0

PLUGINS = {
    "prompt": """
        import asyncio, time
        from pathlib import Path
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        BLOCKING = 6.0

        def block(name):
            Path(f"{name}-began").touch()
            deadline = time.monotonic() + BLOCKING
            while not Path(f"{name}-go").exists() and time.monotonic() < deadline:
                time.sleep(0.001)

        class Blocked(BasePlugin):
            def request_handler(self, **data):
                block(data["subpath"])
                return 200, "blocked"

        class Plain(BasePlugin):
            def request_handler(self, **data):
                return 200, "prompt"

        class Constant(BasePlugin):
            async def request_handler(self, **data):
                return 200, "prompt"

        class Sleeping(BasePlugin):
            # Both are woken in one turn of the loop; the second blocks there.
            woken = asyncio.Event()

            async def request_handler(self, **data):
                if data["subpath"] == "wake":
                    self.woken.set()
                    return 200, "woken"
                Path(f"{data['subpath']}-sleeps").touch()
                await self.woken.wait()
                if data["subpath"] == "second":
                    block("second")
                return 200, "prompt"

        class Pieces(BasePlugin):
            def request_handler(self, **data):
                def pieces():
                    yield "prompt"
                    block("pieces")
                return StreamingResponse(pieces())
    """,
}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Return a pool for requests that wait."""
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def server(launch: Launch) -> Server:
    """Serve plugins some of which block."""
    return launch(PLUGINS)


def until(happened: Callable[[], bool], server: Server) -> None:
    """Wait until something has happened; meanwhile make requests that do not need the plugins' thread."""

    def served_until() -> bool:
        assert 200 == server.get("/-/healthy").status_code
        return happened()

    wait_until(served_until)


def file(server: Server, name: str) -> Path:
    """Return the path of a file by which plugins and tests signal each other."""
    return server.folder / name


@pytest.mark.parametrize("path", ["/plain", "/constant", "/plain?a=1"])
@pytest.mark.parametrize("before", [0, 3])
def test_an_answer_does_not_wait_for_a_blocking_handler_that_was_queued_behind_it(
    server: Server, pool: ThreadPoolExecutor, path: str, before: int
) -> None:
    """Queued together, taken in one turn of the loop: the first is answered while the second blocks."""
    holding = pool.submit(server.get, "/blocked/first")
    until(file(server, "first-began").exists, server)
    with contextlib.ExitStack() as connections:
        asked = []
        for target in [*[path] * (before + 1), "/blocked/second"]:
            asked.append(connections.enter_context(server.connect()))
            asked[-1].sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            # Answered by the thread that has read what was sent before.
            assert 200 == server.get("/-/healthy").status_code
        file(server, "first-go").touch()
        assert "blocked" == holding.result().text
        for connection in asked[:-1]:
            connection.settimeout(BLOCKING / 2)
            assert receive_all(connection).endswith(b"prompt")
        file(server, "second-go").touch()
        assert receive_all(asked[-1]).endswith(b"blocked")


def test_an_answer_does_not_wait_for_another_handler_that_blocks_in_a_later_step(
    server: Server, pool: ThreadPoolExecutor
) -> None:
    """A handler that slept ends in the same turn of the loop in which the next one goes on and blocks."""
    sleepers = []
    for name in ("first", "second"):
        sleepers.append(pool.submit(server.get, f"/sleeping/{name}"))
        until(file(server, f"{name}-sleeps").exists, server)
    woken = pool.submit(server.get, "/sleeping/wake")
    assert ["prompt", "woken"] == [one.result(BLOCKING / 2).text for one in (sleepers[0], woken)]
    file(server, "second-go").touch()
    assert "prompt" == sleepers[1].result().text


def test_the_first_piece_does_not_wait_for_a_generator_that_blocks_before_the_second(server: Server) -> None:
    """What has begun is begun for the client, too."""
    with server.client(timeout=BLOCKING / 2) as client, client.stream("GET", "/pieces") as answer:
        pieces = answer.iter_text()
        assert "prompt" == next(pieces)
        file(server, "pieces-go").touch()
        assert [] == list(pieces)
