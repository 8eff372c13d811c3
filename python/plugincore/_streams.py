"""Answers that are sent piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugincore._core import Channel, Request


class _Sender:
    """Writes to a channel at the pace of its client, in the task of the request."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._room = asyncio.Event()
        self._task = asyncio.current_task()
        channel.watch(self._look)
        self._look()

    def _look(self) -> None:
        if self._channel.is_gone() and self._task is not None:
            self._task.cancel()
        self._room.set()

    async def send(self, piece: bytes | str) -> None:
        while not self._channel.has_room():
            self._room.clear()
            await self._room.wait()
        self._channel.write(piece.encode() if isinstance(piece, str) else piece)

    def close(self) -> None:
        self._channel.watch(None)


class StreamingResponse:
    """An answer that is sent piece by piece, as an iterable gives them.

    Args:
        content: Pieces of the body, ``bytes`` or ``str`` (sent as UTF-8); an async or a plain iterable.
        status: The status code.
        headers: Headers of the answer.
        content_type: The ``Content-Type``, unless ``headers`` names one.

    """

    def __init__(
        self,
        content: AsyncIterable[bytes | str] | Iterable[bytes | str],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> None:
        """Make an answer of ``content``; nothing is taken from it before the handler has returned."""
        self.content = content
        self.status = status
        self.headers = dict(headers or {})
        self.headers.setdefault("Content-Type", content_type)

    async def __plugincore_send__(self, request: Request) -> None:
        """Send the answer; called by the host."""
        sender = _Sender(request._stream(self.status, self.headers))
        try:
            if isinstance(self.content, AsyncIterable):
                pieces = aiter(self.content)
                try:
                    async for piece in pieces:
                        await sender.send(piece)
                finally:
                    # Now and not when it is collected, so that what it holds is free as soon as the client is gone.
                    if isinstance(pieces, AsyncGenerator):
                        await pieces.aclose()
            else:
                for piece in self.content:
                    await sender.send(piece)
                    # A generator that never waits must not keep the loop from everybody else.
                    await asyncio.sleep(0)
        finally:
            sender.close()
