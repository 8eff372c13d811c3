"""HTTP/1.1 from the client's side, byte by byte, with the standard library alone.

A :class:`Connection` can do what no library lets a client do: stop in the middle of anything, and go away politely or
not. What it reads it checks: an answer that is cut off is no answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any


class Lost(Exception):
    """The server closed the connection although an answer, or the rest of one, was due."""


@dataclass
class Answer:
    """An answer: status, headers by their lower-case names, and what has come of the body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """Return what the body says, or a text that shows that it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return f"no JSON: {self.body[:200]!r}"

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow."""
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """A connection to the server, which closes with the block that it was opened for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use :meth:`open` instead."""
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Connection:
        """Return the connection itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.writer.transport.abort() if error else self.writer.close()

    async def send(self, data: bytes) -> None:
        """Send bytes; wait while the server takes none."""
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError as error:
            raise Lost(f"the server does not read on: {error!r}") from error

    def say_no_more(self) -> None:
        """Close the sending half: the server sees the end of what comes."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Go away without a word (RST)."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def head(self) -> Answer:
        """Read the head of the next answer."""
        try:
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Lost(f"no answer: {error!r}") from error
        first, *lines = text.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split(" ")[1]), headers)

    async def pieces(self, answer: Answer, method: str = "GET") -> AsyncIterator[bytes]:
        """Yield the body of ``answer`` as it comes, by whichever of the three ways it is framed."""
        try:
            if method == "HEAD" or answer.status in (204, 304):
                return
            if answer.headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    yield (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readuntil(b"\r\n")
            elif "content-length" in answer.headers:
                left = int(answer.headers["content-length"])
                while left:
                    piece = await self.reader.read(min(left, 65536))
                    if not piece:
                        raise Lost(f"{left} bytes of the body are missing")
                    left -= len(piece)
                    yield piece
            else:
                while piece := await self.reader.read(65536):
                    yield piece
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Lost(f"the body breaks off: {error!r}") from error

    async def answer(self, method: str = "GET") -> Answer:
        """Read the next answer whole."""
        answer = await self.head()
        answer.body = b"".join([piece async for piece in self.pieces(answer, method)])
        return answer

    async def ask(self, data: bytes, method: str = "GET") -> Answer:
        """Send a request and read its answer."""
        try:
            await self.send(data)
        except Lost:
            # A server that refuses a body answers first and closes then; the answer is still to be read.
            return await self.answer(method)
        return await self.answer(method)

    async def ended(self) -> bool:
        """Wait for the server to close; false if it says something else instead."""
        try:
            return not await self.reader.read(1)
        except ConnectionError:
            return True

    async def rest(self) -> bytes:
        """Return what comes until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


def request(
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    version: str = "1.1",
    chunks: int = 0,
) -> bytes:
    """Return the bytes of a whole request; with ``chunks`` the body goes in chunks of that size."""
    lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is None:
        sent = b""
    elif chunks:
        lines.append("Transfer-Encoding: chunked")
        cut = (body[start : start + chunks] for start in range(0, len(body), chunks))
        sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in cut) + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")
        sent = body
    return "\r\n".join([*lines, "", ""]).encode() + sent
