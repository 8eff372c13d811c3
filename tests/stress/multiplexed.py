"""HTTP/2 from the client's side, with prior knowledge: the frames are those of the library h2, the socket is ours.

A :class:`Multiplexed` is read by one task, which hands out what comes to the requests that wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from stress.wire import Answer, Lost


class Multiplexed:
    """A connection of HTTP/2, which closes with the block that it was opened for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use :meth:`open` instead."""
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.answers: dict[int, Answer] = {}
        self.ended: dict[int, asyncio.Future[None]] = {}
        self.more = asyncio.Event()
        self.h2.initiate_connection()
        self.reading = asyncio.create_task(self.read())

    @classmethod
    async def open(cls, port: int) -> Multiplexed:
        """Connect to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Multiplexed:
        """Return the connection itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.reading.cancel()
        await asyncio.wait({self.reading})
        self.writer.transport.abort()

    async def ask(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Make a request and wait for its whole answer, beside the others of this connection."""
        number = await self.begin(target, method, headers, body)
        await self.ended[number]
        return self.answers[number]

    async def begin(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> int:
        """Send a request; return the number of its stream."""
        number: int = self.h2.get_next_available_stream_id()
        pseudo = {":method": method, ":scheme": "http", ":authority": "localhost", ":path": target}
        self.ended[number] = asyncio.get_running_loop().create_future()
        self.h2.send_headers(number, [*pseudo.items(), *(headers or {}).items()], end_stream=not body)
        await self.flush()
        while body and not self.ended[number].done():
            size = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if size == 0:
                self.more.clear()
                await self.more.wait()
                continue
            piece, body = body[:size], body[size:]
            self.h2.send_data(number, piece, end_stream=not body)
            await self.flush()
        return number

    async def reset(self, number: int) -> None:
        """Give a request up."""
        with suppress(ProtocolError):  # its answer has ended by now
            self.h2.reset_stream(number, ErrorCodes.CANCEL)
        await self.flush()

    async def read(self) -> None:
        """Take what comes until the connection ends, which is the end of all that waits."""
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.take(event)
                self.more.set()
                await self.flush()
            self.end("the connection ends")
        except (ConnectionError, ProtocolError) as error:
            self.end(repr(error))

    def take(self, event: Event) -> None:
        """Add what has come to the answer that it belongs to."""
        match event:
            case ResponseReceived(stream_id=int(number), headers=list(headers)):
                names = dict(headers)
                self.answers[number] = Answer(int(names.pop(":status")), names)
            case DataReceived(stream_id=int(number), data=bytes(data), flow_controlled_length=int(length)):
                self.answers[number].body += data
                with suppress(ProtocolError):  # we have given the request up
                    self.h2.acknowledge_received_data(length, number)
            case StreamEnded(stream_id=int(number)) if not self.ended[number].done():
                self.ended[number].set_result(None)
            case StreamReset(stream_id=int(number)):
                self.lose(self.ended[number], f"the stream is reset: {event}")
            case ConnectionTerminated():
                self.end(str(event))

    def end(self, reason: str) -> None:
        """Let nothing wait any more."""
        self.more.set()
        for ended in self.ended.values():
            self.lose(ended, reason)

    def lose(self, ended: asyncio.Future[None], reason: str) -> None:
        """Say why an answer does not come, to whatever waits for it."""
        if not ended.done():
            ended.set_exception(Lost(reason))
            ended.exception()  # a request that was given up is waited for by nothing

    async def flush(self) -> None:
        """Send what the library has for the server."""
        self.writer.write(self.h2.data_to_send())
        try:
            await self.writer.drain()
        except ConnectionError as error:
            raise Lost(f"the server does not read on: {error!r}") from error
