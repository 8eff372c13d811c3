"""Answers that are sent piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Server, receive_all, serving

PLUGINS = {
    "stream": """
        import asyncio
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        class Stream(BasePlugin):
            gate = asyncio.Event()
            ended = []

            async def pieces(self):
                yield "first "
                await self.gate.wait()
                yield b"second"

            async def endless(self):
                try:
                    while True:
                        yield b"x" * 65536
                finally:
                    self.log("the generator ended")

            async def broken(self):
                yield b"some"
                raise ValueError("no more")

            async def request_handler(self, **data):
                what = data["subpath"]
                if what == "open":
                    self.gate.set()
                    return {"open": True}
                if what == "plain":
                    return StreamingResponse(iter(["a", "b"]), status=201, content_type="text/plain")
                return StreamingResponse(getattr(self, what)())
    """,
    "direct": """
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        class Direct(BasePlugin):
            def request_handler(self, **data):
                return StreamingResponse([b"from ", b"def"], headers={"X-Mine": "1"})
    """,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this module."""
    with serving(tmp_path_factory.mktemp("streaming"), PLUGINS) as running:
        yield running


def test_pieces_reach_the_client_as_they_are_yielded(server: Server) -> None:
    """What was yielded is on its way while the generator waits for something else."""
    with server.client() as client, client.stream("GET", "/stream/pieces") as answer:
        pieces = answer.iter_raw()
        assert b"first " == next(pieces)
        assert {"open": True} == server.get("/stream/open").json()
        assert b"second" == b"".join(pieces)


def test_a_plain_iterable_and_a_plain_handler_stream_too(server: Server) -> None:
    """Neither the generator nor the handler needs to be async."""
    answer = server.get("/stream/plain")
    assert (201, "ab", "text/plain") == (answer.status_code, answer.text, answer.headers["content-type"])
    answer = server.get("/direct")
    assert (200, "from def", "1") == (answer.status_code, answer.text, answer.headers["x-mine"])


def test_a_client_that_leaves_ends_the_generator(server: Server) -> None:
    """The generator is closed, so that it can tidy up; an endless one does not go on for nobody."""
    since = len(server.lines)
    with server.client() as client, client.stream("GET", "/stream/endless") as answer:
        next(answer.iter_raw())
    server.wait_for("the generator ended", since)
    assert 200 == server.get("/stream/open").status_code


def test_a_generator_that_fails_breaks_the_connection_instead_of_ending_it(server: Server) -> None:
    """A client must not take half an answer for a whole one."""
    with server.connect() as connection:
        connection.sendall(b"GET /stream/broken HTTP/1.1\r\nHost: x\r\n\r\n")
        received = receive_all(connection)
    assert b"4\r\nsome\r\n" in received
    assert b"0\r\n\r\n" not in received
    server.wait_for("ValueError: no more")
