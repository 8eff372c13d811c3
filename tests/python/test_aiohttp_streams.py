"""Answers that a plugin streams with aiohttp's objects."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import zlib
from collections.abc import Iterator

import aiohttp
import httpx
import pytest

from conftest import Server, receive_all, serving

STREAM = """
import asyncio
from aiohttp import web
from plugincore.baseplugin import BasePlugin

class Stream(BasePlugin):
    gate = asyncio.Event()
    kept = []

    async def request_handler(self, **data):
        request = data["request"]
        return await getattr(self, data["subpath"])(request)

    async def written(self, request):
        response = web.StreamResponse(status=201, reason="Made Up", headers={"X-Mine": "1"})
        response.content_type = "text/plain"
        response.set_cookie("a", "1", path="/p", httponly=True)
        await response.prepare(request)
        await response.write(b"first ")
        await self.gate.wait()
        await response.write(memoryview(b"second"))
        await response.write_eof(b" last")
        return response

    async def open(self, request):
        self.gate.set()
        return {"open": True}

    async def endless(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            self.log("the handler ended")

    async def quiet(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"now")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log("the handler was cancelled")
            raise

    async def unprepared(self, request):
        return web.StreamResponse(status=202, headers={"X-Mine": "1"})

    async def forgotten(self, request):
        response = web.StreamResponse()
        response.enable_compression(web.ContentCoding.deflate)
        await response.prepare(request)
        await response.write(b"all of it")

    async def other(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some")
        return {"not": "it"}

    async def raises(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some")
        raise ValueError("no more")

    async def sized(self, request):
        response = web.StreamResponse(headers={"Content-Length": request.query["length"]})
        await response.prepare(request)
        await response.write(b"12345")
        return response

    async def chunked(self, request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"12345")
        return response
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the plugins of this module."""
    with serving(tmp_path_factory.mktemp("streams"), {"stream": STREAM}) as running:
        yield running


def test_what_is_written_reaches_the_client_while_the_handler_goes_on(server: Server) -> None:
    """Head and pieces are on their way as soon as they are written; status, reason, headers and cookies are there."""
    with server.client() as client, client.stream("GET", "/stream/written") as answer:
        assert (201, "Made Up", "1") == (answer.status_code, answer.reason_phrase, answer.headers["x-mine"])
        assert ("text/plain", "chunked") == (answer.headers["content-type"], answer.headers["transfer-encoding"])
        assert "a=1; HttpOnly; Path=/p" == answer.headers["set-cookie"]
        assert "server" not in answer.headers
        pieces = answer.iter_raw()
        assert b"first " == next(pieces)
        assert {"open": True} == server.get("/stream/open").json()
        assert b"second last" == b"".join(pieces)


@pytest.mark.parametrize(("what", "line"), [("endless", "the handler ended"), ("quiet", "the handler was cancelled")])
def test_a_client_that_leaves_ends_the_handler(server: Server, what: str, line: str) -> None:
    """The handler is cancelled, also while it waits for something else."""
    since = len(server.lines)
    with server.client() as client, client.stream("GET", f"/stream/{what}") as answer:
        next(answer.iter_raw())
    server.wait_for(line, since)
    assert not [text for text in server.lines[since:] if "Traceback" in text]
