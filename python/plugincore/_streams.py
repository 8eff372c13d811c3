"""Answers that are sent piece by piece, at the pace of the client."""

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

#: What a handed-over piece has at most, so that a huge one does not have to wait for its client as a second copy.
_LARGEST_WRITE = 256 * 1024
#: Seconds after which a source that never waits has to let others have the loop.
_TURN = 0.002
#: Seconds that a source gets to tidy up once it is cancelled, before it is cancelled again.
_CLEANUP = 10.0
#: The lines of an event stream end in any of these, so none may be inside of one.
_LINE_END = re.compile(r"\r\n|\r|\n")

_END: Any = object()


class _Source:
    """The pieces of an iterable, plain or async, taken in the task of the request."""

    def __init__(self, content: AsyncIterable[Any] | Iterable[Any]) -> None:
        self._iterator: AsyncIterator[Any] | Iterator[Any]
        self._iterator = aiter(content) if isinstance(content, AsyncIterable) else iter(content)

    async def next(self) -> Any:
        if isinstance(self._iterator, AsyncIterator):
            return await anext(self._iterator, _END)
        return next(self._iterator, _END)

    async def close(self) -> None:
        # Now and not when it is collected, so that what it holds is free as soon as the client is gone.
        if isinstance(self._iterator, AsyncGenerator):
            await self._iterator.aclose()
        elif isinstance(self._iterator, Generator):
            self._iterator.close()


class _Sender:
    """Writes to the client of a request, in the request's task, which is cancelled when there is no more use in it."""

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
        self._too_late: asyncio.TimerHandle | None = None
        self._channel.watch(self._look)
        self._look()

    def _look(self) -> None:
        self._room.set()
        self.is_ending = self._ends_with_plugin and self._channel.is_closing()
        if self._channel.is_gone() or self.is_ending:
            self._interrupt()

    def _interrupt(self) -> None:
        if not self._is_interrupted and self._task is not None:
            self._is_interrupted = True
            self._task.cancel()
            self._too_late = self._loop.call_later(_CLEANUP, self._task.cancel)

    def begin(self, answer: Answer, length: int | None = None) -> None:
        if not self._has_begun:
            self._request._begin(answer.status, answer._all_headers(), length)
            self._has_begun, self._left = True, length

    def begin_by_itself(self, answer: Answer) -> None:
        """Do as `begin` in a callback of the loop; an error of it interrupts the task as `failure`."""
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
            # The client has no reason to stay for what comes after the last byte.
            self._is_interrupted = True
        if self._loop.time() - self._since > _TURN:
            # A source that never waits must not keep the loop from everybody else.
            await asyncio.sleep(0)
            self._since = self._loop.time()

    def keep_alive(self, seconds: float, piece: bytes) -> None:
        """Send `piece` at this interval, unless the client is slow or another piece is under way."""
        # A method and not a function in here, which would hold itself: what is sent leaves no garbage cycle behind.
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
        # Both lead back here, by the tracebacks of what they raised.
        self.failure = self._task = None
        for timer in (self._ping, self._too_late):
            if timer is not None:
                timer.cancel()


class _Stream(Answer):
    """What both kinds of streams have in common: a source that can be used up once."""

    _content: AsyncIterable[Any] | Iterable[Any] | None

    def _source(self) -> _Source:
        if self._content is None:
            raise RuntimeError(f"this {type(self).__name__} has been sent; make one for each request")
        content, self._content = self._content, None
        return _Source(content)

    def _has_body(self, request: Request) -> bool:
        return request.method != "HEAD" and self.status not in (204, 205, 304)


class StreamingResponse(_Stream):
    r"""An answer that is sent piece by piece, as an iterable gives them.

    >>> async def count():
    ...     for number in range(1000):
    ...         yield f"{number}\n"
    >>> answer = StreamingResponse(count(), content_type="text/plain; charset=utf-8")

    The answer begins with the first piece: what goes wrong before is a 500, what goes wrong later breaks the
    connection. A client that is slow stops the iterable, one that leaves ends it: a generator is closed, an async one
    is cancelled where it waits. Each response is sent once.

    A plain generator runs on the thread of all plugins: one that blocks keeps everybody waiting.

    Args:
        content: Pieces of the body, bytes or ``str`` (sent as UTF-8); an async or a plain iterable.
        status: The status code. With 204, 205 and 304, and for HEAD, nothing is taken from ``content``.
        headers: A mapping, in which a list repeats a header, or pairs.
        content_type: The content type; ``application/octet-stream`` unless it or ``headers`` say otherwise.
        content_length: How many bytes there will be, if that is known; it is an error if there are more or fewer.

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
        """Make an answer of ``content``; nothing is taken from it before the handler has returned."""
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
        """Send the answer; called by the host."""
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
    """Return what is sent for a piece; ``None`` after the last."""
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
        data: Text, of any number of lines, or a value that is sent as JSON; an event without data is not seen by
            scripts.
        event: The kind of event that scripts listen to; ``message`` when there is none.
        id: What a client that connects again sends as ``Last-Event-ID``.
        retry: Milliseconds after which a client shall connect again when the connection breaks.
        comment: Text that is not shown to scripts.

    """

    data: Any = None
    _: KW_ONLY
    event: str | None = None
    id: str | int | None = None
    retry: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would end a line and begin another field."""
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and ("\0" in str(value) or _LINE_END.search(str(value))):
                raise ValueError(f"the {name} of an event holds a line break or NUL: {str(value)!r}")
        if self.retry is not None and (not isinstance(self.retry, int) or self.retry < 0):
            raise ValueError(f"retry is {self.retry!r}; it must be a whole number of milliseconds")

    def encode(self) -> bytes:
        """Return the event as it is sent."""
        lines = [] if self.comment is None else [f": {line}" for line in _LINE_END.split(self.comment)]
        fields = (("id", self.id), ("event", self.event), ("retry", self.retry))
        lines += [f"{name}: {value}" for name, value in fields if value is not None]
        if self.data is not None:
            text = self.data if isinstance(self.data, str) else encode_json(self.data).decode()
            lines += [f"data: {line}" for line in _LINE_END.split(text)]
        return "".join(f"{line}\n" for line in [*lines, ""]).encode()


class EventSource(_Stream):
    """Server-sent events, which browsers read with their class of that name.

    >>> async def ticks():
    ...     yield "a text"
    ...     yield {"a": "value, sent as JSON"}
    ...     yield Event("named", event="tick", id="3")
    >>> answer = EventSource(ticks())

    The answer begins when the generator waits for the first time, or with its first event. It ends with the generator;
    the generator is cancelled where it waits when the client leaves, when the plugin is reloaded and when the server
    stops, since clients connect again by themselves. What a client got last is in
    ``request.headers.get("Last-Event-ID")``. Each source is sent once.

    Args:
        events: An async iterable of texts, :class:`Event` objects and values that are sent as JSON.
        headers: More headers; ``Cache-Control: no-store`` and ``X-Accel-Buffering: no`` are there unless they say
            otherwise.
        ping: Seconds after which a comment is sent, so that proxies keep the connection; ``None`` for never.

    """

    def __init__(
        self, events: AsyncIterable[Any], *, headers: HeaderItems | None = None, ping: float | None = 15.0
    ) -> None:
        """Make an answer of ``events``; nothing is taken from them before the handler has returned."""
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
        """Send the events; called by the host."""
        source = self._source()
        sender = _Sender(request, ends_with_plugin=True)
        # Its turn comes when the generator waits, so what it raises before that is still a 500.
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
