"""Answers that are sent piece by piece, at the speed of the client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from plugincore._answers import Answer, HeaderItems
from plugincore._core import encode_json

if TYPE_CHECKING:
    from plugincore._core import Request

#: Maximum size of one write, so that a huge piece is not copied as a whole while its client reads slowly.
_LARGEST_WRITE = 256 * 1024
#: Seconds after which a source that never waits yields to other tasks of the loop.
_YIELD_AFTER = 0.002
#: Seconds for the cleanup of a cancelled source; then it is cancelled again.
_CLEANUP_TIMEOUT = 10.0
#: Line ends of an event stream; a line must not contain any of them.
_LINE_END = re.compile(r"\r\n|\r|\n")

_END: Any = object()


class _Source:
    """The pieces of a plain or async iterable, read in the task of the request."""

    def __init__(self, content: AsyncIterable[Any] | Iterable[Any]) -> None:
        self._iterator: AsyncIterator[Any] | Iterator[Any]
        self._iterator = aiter(content) if isinstance(content, AsyncIterable) else iter(content)

    async def next(self) -> Any:
        if isinstance(self._iterator, AsyncIterator):
            return await anext(self._iterator, _END)
        return next(self._iterator, _END)

    async def close(self) -> None:
        # Closed here, not by the garbage collector, so that its resources are free as soon as the client disconnects.
        if isinstance(self._iterator, AsyncGenerator):
            await self._iterator.aclose()
        elif isinstance(self._iterator, Generator):
            self._iterator.close()


class _Sender:
    """Writes to the client in the task of the request; cancels it if the client disconnects or the stream must end."""

    def __init__(self, request: Request, *, ends_with_plugin: bool = False) -> None:
        self.is_ending = False
        self.failure: Exception | None = None
        self._request = request
        self._ends_with_plugin = ends_with_plugin
        self._channel = request._open()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._room = asyncio.Event()
        self._since = self._loop.time()
        self._left: int | None = None
        self._has_begun = self._is_writing = self._is_interrupted = False
        self._ping: asyncio.TimerHandle | None = None
        self._second_cancel: asyncio.TimerHandle | None = None
        self._channel.watch(self._on_change)
        self._on_change()

    def _on_change(self) -> None:
        self._room.set()
        self.is_ending = self._ends_with_plugin and self._channel.is_closing()
        if self._channel.is_gone() or self.is_ending:
            self._interrupt()

    def _interrupt(self) -> None:
        if not self._is_interrupted and self._task is not None:
            self._is_interrupted = True
            self._task.cancel()
            self._second_cancel = self._loop.call_later(_CLEANUP_TIMEOUT, self._task.cancel)

    def begin(self, answer: Answer, length: int | None = None) -> None:
        if not self._has_begun:
            self._request._begin(answer.status, answer._all_headers(), length)
            self._has_begun, self._left = True, length

    def begin_by_itself(self, answer: Answer) -> None:
        """Call `begin` in a callback of the loop; an error is stored as `failure` and cancels the task."""
        try:
            self.begin(answer)
        except Exception as error:
            self.failure = error
            self._interrupt()

    async def send(self, piece: bytes) -> None:
        if self._left is not None:
            if len(piece) > self._left:
                raise ValueError(f"the stream has {len(piece) - self._left} bytes or more above its content_length")
            self._left -= len(piece)
        self._is_writing = True
        for start in range(0, len(piece), _LARGEST_WRITE):
            while not self._channel.has_room():
                self._room.clear()
                await self._room.wait()
            small = len(piece) <= _LARGEST_WRITE
            self._channel.write(piece if small else memoryview(piece)[start : start + _LARGEST_WRITE])
        self._is_writing = False
        if self._left == 0:
            # The client may disconnect after the last byte; the source is not cancelled then.
            self._is_interrupted = True
        if self._loop.time() - self._since > _YIELD_AFTER:
            # A source that never waits must not block the loop.
            await asyncio.sleep(0)
            self._since = self._loop.time()

    def keep_alive(self, seconds: float, piece: bytes) -> None:
        """Send `piece` at this interval, unless the client is slow or another piece is being written."""
        # A method, not a nested function, which would refer to itself and create a garbage cycle.
        self._ping = self._loop.call_later(seconds, self._send_ping, seconds, piece)

    def _send_ping(self, seconds: float, piece: bytes) -> None:
        if self._has_begun and not self._is_writing and self._channel.has_room() and not self._channel.is_gone():
            self._channel.write(piece)
        self.keep_alive(seconds, piece)

    def finish(self) -> None:
        if self._left:
            raise ValueError(f"the stream ended {self._left} bytes below its content_length")

    def close(self) -> None:
        self._channel.watch(None)
        self._is_interrupted = True
        # Both refer to this object, through the tracebacks of their exceptions.
        self.failure = self._task = None
        for timer in (self._ping, self._second_cancel):
            if timer is not None:
                timer.cancel()


class _Stream(Answer):
    """The base class of both kinds of streams: their source can be read once."""

    _content: AsyncIterable[Any] | Iterable[Any] | None

    def _source(self) -> _Source:
        if self._content is None:
            raise RuntimeError(f"this {type(self).__name__} has been sent; make one for each request")
        content, self._content = self._content, None
        return _Source(content)

    def _has_body(self, request: Request) -> bool:
        return request.method != "HEAD" and self.status not in (204, 205, 304)


class StreamingResponse(_Stream):
    r"""An answer whose pieces are sent as an iterable yields them.

    >>> async def count():
    ...     for number in range(1000):
    ...         yield f"{number}\n"
    >>> answer = StreamingResponse(count(), content_type="text/plain; charset=utf-8")

    The answer begins with the first piece: an exception before that is a 500, a later one breaks the connection. A slow
    client pauses the iterable. If the client disconnects, a generator is closed; an async generator is first cancelled
    where it waits. Each response is sent once.

    A plain generator runs on the thread of all plugins: if it blocks, all requests wait.

    Args:
        content: Pieces of the body, bytes or ``str`` (sent as UTF-8); an async or a plain iterable.
        status: The status code. With 204, 205 and 304, and for HEAD, ``content`` is not read.
        headers: A mapping, in which a list as a value repeats the header, or pairs.
        content_type: The content type; the default is the one in ``headers``, or ``application/octet-stream``.
        content_length: The number of bytes, if it is known; more or fewer bytes are an error.

    """

    def __init__(
        self,
        content: AsyncIterable[bytes | str] | Iterable[bytes | str],
        *,
        status: int = 200,
        headers: HeaderItems | None = None,
        content_type: str | None = None,
        content_length: int | None = None,
    ) -> None:
        """Create an answer with ``content``, which is read after the handler has returned."""
        if isinstance(content, (str, bytes, bytearray, memoryview)) or not isinstance(
            content, (AsyncIterable, Iterable)
        ):
            raise TypeError(f"content is a generator or another iterable of pieces, not {type(content).__name__}")
        if content_length is not None and content_length < 0:
            raise ValueError(f"content_length is {content_length}, below 0")
        super().__init__(status=status, headers=headers, content_type=content_type)
        if "Content-Type" not in self.headers:
            self.content_type = "application/octet-stream"
        self.content_length = content_length
        self._content = content

    async def __plugincore_send__(self, request: Request) -> None:
        """Send the answer; called by the server."""
        source = self._source()
        sender = _Sender(request)
        try:
            try:
                piece = _bytes(await source.next()) if self._has_body(request) else None
                sender.begin(self, self.content_length)
                while piece is not None:
                    await sender.send(piece)
                    piece = _bytes(await source.next())
                    if piece is None:
                        sender.finish()
            finally:
                await source.close()
        finally:
            sender.close()


def _bytes(piece: Any) -> bytes | None:
    """Return the bytes of a piece; ``None`` after the last piece."""
    if piece is _END:
        return None
    if isinstance(piece, str):
        return piece.encode()
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(f"a piece of a stream is bytes or str, not {type(piece).__name__}")


@dataclass(frozen=True)
class Event:
    r"""One event of an :class:`EventSource`.

    >>> Event("first\nsecond", event="note", id="7").encode()
    b'id: 7\nevent: note\ndata: first\ndata: second\n\n'
    >>> Event({"a": 1}).encode()
    b'data: {"a": 1}\n\n'

    Args:
        data: Text, of any number of lines, or a value that is sent as JSON; scripts do not receive events without data.
        event: The type of the event for scripts; without it the type is ``message``.
        id: The id that a client sends as ``Last-Event-ID`` when it reconnects.
        retry: Milliseconds after which a client reconnects when the connection breaks.
        comment: Text that scripts do not receive.

    """

    data: Any = None
    _: KW_ONLY
    event: str | None = None
    id: str | int | None = None
    retry: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        """Reject values with characters that would end a line and begin another field."""
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and ("\0" in str(value) or _LINE_END.search(str(value))):
                raise ValueError(f"the {name} of an event holds a line break or NUL: {str(value)!r}")
        if self.retry is not None and (not isinstance(self.retry, int) or self.retry < 0):
            raise ValueError(f"retry is {self.retry!r}; it must be a whole number of milliseconds")

    def encode(self) -> bytes:
        """Return the event in the form in which it is sent."""
        lines = [] if self.comment is None else [f": {line}" for line in _LINE_END.split(self.comment)]
        fields = (("id", self.id), ("event", self.event), ("retry", self.retry))
        lines += [f"{name}: {value}" for name, value in fields if value is not None]
        if self.data is not None:
            text = self.data if isinstance(self.data, str) else encode_json(self.data).decode()
            lines += [f"data: {line}" for line in _LINE_END.split(text)]
        return "".join(f"{line}\n" for line in [*lines, ""]).encode()


class EventSource(_Stream):
    """Server-sent events, for the class ``EventSource`` of browsers.

    >>> async def ticks():
    ...     yield "a text"
    ...     yield {"a": "value, sent as JSON"}
    ...     yield Event("named", event="tick", id="3")
    >>> answer = EventSource(ticks())

    The answer begins when the generator waits for the first time, or with its first event. It ends with the generator.
    The generator is cancelled where it waits when the client disconnects, when the plugin is reloaded, and when the
    server stops, since clients reconnect by themselves. ``request.headers.get("Last-Event-ID")`` is the id of the last
    event that a client received. Each source is sent once.

    Args:
        events: An async iterable of texts, :class:`Event` objects and values that are sent as JSON.
        headers: More headers; they may replace the defaults ``Cache-Control: no-store`` and ``X-Accel-Buffering: no``.
        ping: Seconds after which a comment is sent, so that proxies keep the connection; ``None`` disables it.

    """

    def __init__(
        self, events: AsyncIterable[Any], *, headers: HeaderItems | None = None, ping: float | None = 15.0
    ) -> None:
        """Create an answer with ``events``, which are read after the handler has returned."""
        if not isinstance(events, AsyncIterable):
            raise TypeError(f"events is an async generator or another async iterable, not {type(events).__name__}")
        if ping is not None and not ping > 0:
            raise ValueError(f"ping is {ping}; it must be a number of seconds above 0, or None")
        super().__init__(headers=headers)
        self.headers["Content-Type"] = "text/event-stream"
        self.headers.setdefault("Cache-Control", "no-store")
        self.headers.setdefault("X-Accel-Buffering", "no")
        self.ping = ping
        self._content = events

    async def __plugincore_send__(self, request: Request) -> None:
        """Send the events; called by the server."""
        source = self._source()
        sender = _Sender(request, ends_with_plugin=True)
        # The callback runs when the generator waits, so an exception before that is still a 500.
        beginning = asyncio.get_running_loop().call_soon(sender.begin_by_itself, self)
        try:
            try:
                if self._has_body(request):
                    await self._send_events(source, sender)
                sender.begin(self)
            except asyncio.CancelledError:
                if sender.failure is not None:
                    raise sender.failure from None
                if not sender.is_ending:
                    raise
                sender.begin(self)
            finally:
                beginning.cancel()
                await source.close()
        finally:
            sender.close()

    async def _send_events(self, source: _Source, sender: _Sender) -> None:
        if self.ping is not None:
            sender.keep_alive(self.ping, b": ping\n\n")
        while not sender.is_ending and (event := await source.next()) is not _END:
            if event is None or isinstance(event, (bytes, bytearray, memoryview)):
                raise TypeError(f"an event is a text, an Event or a value for JSON, not {type(event).__name__}")
            piece = (event if isinstance(event, Event) else Event(event)).encode()
            sender.begin(self)
            await sender.send(piece)
