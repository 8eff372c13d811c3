"""The client's end of a WebSocket, for tests of plugins.

The protocol is that of the package ``websockets``, which only tests need; the bytes pass the server's own code. Caveat:
a message that comes in pieces is handed over whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from plugincore._testing_requests import HandshakeError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from plugincore._core import Connection, Rehearsal

try:
    from websockets.client import ClientProtocol
    from websockets.frames import Frame, Opcode
    from websockets.http11 import Response
    from websockets.protocol import State
    from websockets.uri import parse_uri
except ImportError as _missing:
    raise ImportError("a test with WebSockets needs the package websockets (pip install websockets)") from _missing

__all__ = ["SyncWebSocketClient", "WebSocketClient"]


class WebSocketClient:
    """The client's end of a WebSocket.

    ``async with`` opens and closes it; ``async for`` gives the messages until it is closed.
    """

    def __init__(
        self,
        rehearsal: Rehearsal,
        target: str,
        headers: Iterable[tuple[str, str]],
        client_ip: str,
        protocols: Iterable[str],
        timeout: float | None,
    ) -> None:
        """Prepare it; use `PluginClient.websocket`."""
        self._rehearsal, self._client_ip, self._timeout = rehearsal, client_ip, timeout
        names: Any = list(protocols) or None
        self._protocol = ClientProtocol(parse_uri(f"ws://plugincore.test{target}"), subprotocols=names)
        self._headers = list(headers)
        self._received: asyncio.Queue[bytes] = asyncio.Queue()
        self._events: list[Any] = []
        self._pieces: list[bytes] = []
        self._is_text = False
        self._connection: Connection | None = None

    @property
    def protocol(self) -> str | None:
        """The subprotocol that was agreed on."""
        return self._protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        """The code that the WebSocket was closed with; None while it is open."""
        return self._protocol.close_code if self._protocol.state is State.CLOSED else None

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            HandshakeError: The answer is not that of a WebSocket.

        """
        self._connection = self._rehearsal.connect(self._received.put_nowait, self._client_ip)
        request = self._protocol.connect()
        for name, value in self._headers:
            request.headers[name] = value
        self._protocol.send_request(request)
        answer = await self._event()
        if not isinstance(answer, Response):
            raise ConnectionError("the server has closed the connection without an answer")
        if answer.status_code != 101 or self._protocol.handshake_exc is not None:
            self._connection.close()
            raise HandshakeError(answer.status_code, bytes(answer.body or b""))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, if neither side has."""
        await self.close()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Give the messages until the WebSocket is closed."""
        while (message := await self._message()) is not None:
            yield message

    async def send(self, message: str | bytes) -> None:
        """Send a message: a text, or bytes.

        Raises:
            ConnectionError: The WebSocket is closed.

        """
        if self._protocol.state is not State.OPEN:
            raise ConnectionError(f"the WebSocket is closed: {self._protocol.close_code}")
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    async def receive(self) -> str | bytes:
        """Wait for a message, and return it.

        Raises:
            ConnectionError: The WebSocket is closed.
            TimeoutError: None has come in time.

        """
        message = await self._message()
        if message is None:
            raise ConnectionError(f"the WebSocket is closed: {self._protocol.close_code}")
        return message

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, and wait until the server has done so, too. Messages that come meanwhile are dropped."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
        while await self._event() is not None:
            pass
        if self._connection is not None:
            self._connection.close()

    async def _message(self) -> str | bytes | None:
        """Return the next message; None at the end."""
        while isinstance(frame := await self._event(), Frame):
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                if frame.opcode is not Opcode.CONT:
                    self._is_text = frame.opcode is Opcode.TEXT
                self._pieces.append(bytes(frame.data))
                if frame.fin:
                    message, self._pieces = b"".join(self._pieces), []
                    return message.decode() if self._is_text else message
        return None

    async def _event(self) -> Any:
        """Return what comes next, an answer or a frame; None at the end."""
        self._flush()
        while not self._events:
            if self._protocol.state is State.CLOSED:
                return None
            data = await asyncio.wait_for(self._received.get(), self._timeout)
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._events += self._protocol.events_received()
            self._flush()
        return self._events.pop(0)

    def _flush(self) -> None:
        connection = self._connection
        for data in self._protocol.data_to_send() if connection is not None else ():
            # Empty data stand for the end of what is sent, which the server does not need.
            if data:
                connection.send(data)  # type: ignore[union-attr]


class SyncWebSocketClient:
    """`WebSocketClient` for plain tests: opened by ``with``; ``for`` gives the messages until it is closed."""

    def __init__(self, client: WebSocketClient, run: Callable[[Awaitable[Any]], Any]) -> None:
        """Prepare it; use `SyncPluginClient.websocket`."""
        self._client, self._run = client, run

    @property
    def protocol(self) -> str | None:
        """The subprotocol that was agreed on."""
        return self._client.protocol

    @property
    def close_code(self) -> int | None:
        """The code that the WebSocket was closed with; None while it is open."""
        return self._client.close_code

    def __enter__(self) -> Self:
        """Open it; see `WebSocketClient`."""
        self._run(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, if neither side has."""
        self.close()

    def __iter__(self) -> Iterator[str | bytes]:
        """Give the messages until the WebSocket is closed."""
        messages = self._client.__aiter__()
        while (message := self._run(anext(messages, None))) is not None:
            yield message

    def send(self, message: str | bytes) -> None:
        """Send a message; see `WebSocketClient.send`."""
        self._run(self._client.send(message))

    def receive(self) -> str | bytes:
        """Wait for a message, and return it; see `WebSocketClient.receive`."""
        message: str | bytes = self._run(self._client.receive())
        return message

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; see `WebSocketClient.close`."""
        self._run(self._client.close(code, reason))
