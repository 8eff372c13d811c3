"""aiohttp's own objects at work on a request of ours, so that aiohttp's code does aiohttp's work.

A request gets a *twin*: a real ``aiohttp.web.Request`` whose payload writer, protocol and transport end in the
:class:`~plugincore._core.Channel` of its answer. Whatever aiohttp documents for requests, and whatever its responses
want of one, is answered by the twin. The module is imported when the first object of aiohttp's needs it, and only then:
plugincore does not depend on aiohttp.

Caveat: the transport is as private as the two names of asyncio that it uses, without which ``loop.sendfile()`` takes no
transport but its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from asyncio import constants, transports
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, hdrs, web
from aiohttp.http import SERVER_SOFTWARE, HttpVersion, RawRequestMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_urldispatcher import UrlMappingMatchInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from plugincore._core import Request

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from plugincore._core import Channel

# So that `isinstance(data["request"], web.Request)` holds, which decorators for aiohttp's handlers ask.
web.Request.register(Request)

_log = logging.getLogger("plugincore")

#: Pieces of an upgraded connection that are taken before others on the loop have their turn.
_PIECES_A_TURN = 16
#: How long a web socket that is told to go has for its part of the closing handshake, in seconds.
_CLOSING_TIME = 2.0
#: How long its handler has after that, before it is cancelled.
_LEAVING_TIME = 1.0
#: How long the handler of a web socket whose client is gone has to find that out, before it is cancelled.
_MOURNING_TIME = 30.0
#: Content codings of request bodies that the server has decoded.
_DECODED = {"gzip", "deflate"}
#: Answers with these have no body, whatever is written.
_WITHOUT_BODY = {204, 205, 304}


class _Transport(transports._FlowControlMixin):
    """The connection as aiohttp sees it: body bytes of the answer or, after a 101, everything that is sent."""

    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(None, loop)
        self._connection = request.transport
        self._request = weakref.ref(request)
        self._holder: weakref.ref[Any] = weakref.ref(self)
        self._channel: Channel | None = None
        self._task: weakref.ref[asyncio.Task[Any]] | None = None
        self._context = contextvars.copy_context()
        self._begun = self._bodiless = self._switched = self._endless = False
        self._dropped = 0
        self._closing = self._leaving = False
        self._reading = False
        self._farewell: asyncio.Task[None] | None = None

    # What the writer and the protocol call.

    @property
    def begun(self) -> bool:
        """Whether the head of the answer has been sent."""
        return self._begun

    def begin(self, method: str, status_line: str, headers: CIMultiDict[str]) -> None:
        """Send the head of the answer."""
        request = self._request()
        if request is None:
            raise RuntimeError("the request has been answered already")
        if self._closing:
            raise ConnectionResetError("Cannot write to closing transport")
        _, code, *reason = status_line.split(" ", 2)
        status = int(code)
        if headers.get(hdrs.SERVER) == SERVER_SOFTWARE:
            del headers[hdrs.SERVER]
        if status == 101:
            channel = request._switch_protocols(headers)
            self._switched = True
        else:
            length = headers.get(hdrs.CONTENT_LENGTH)
            channel = request._stream(status, headers, None if length is None else int(length), "".join(reason))
            self._bodiless = method == hdrs.METH_HEAD or status in _WITHOUT_BODY
        self._begun = True
        self._channel = channel
        self._endless = headers.get(hdrs.CONTENT_TYPE, "").startswith("text/event-stream")
        task = task_of(request, self._loop)  # type: ignore[attr-defined]
        self._task = None if task is None else weakref.ref(task)
        self._context = contextvars.copy_context()
        if status not in _WITHOUT_BODY:
            channel.watch(_Watcher(self))
            self.look()

    async def farewell(self) -> None:
        """Wait until a web socket that is sent away has been told; its handler may be done before."""
        if self._farewell is not None:
            await asyncio.wait([self._farewell])

    def finish(self) -> None:
        """End the answer: all of it has been written."""
        if (channel := self._release()) is not None:
            channel.finish()

    # The interface of asyncio.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.get_extra_info(name, default)

    def get_protocol(self) -> Any:
        return self._holder()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._holder = weakref.ref(protocol)

    # asyncio's mixin speaks to its protocol by this name; held weakly, since the protocol holds the transport.
    @property
    def _protocol(self) -> Any:
        return self._holder()

    def get_write_buffer_size(self) -> int:
        channel = self._channel
        return 0 if channel is None or channel.has_room() else self.get_write_buffer_limits()[1] + 1

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low_water, self._high_water  # type: ignore[attr-defined]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._begun:
            raise RuntimeError("nothing can be written before a response has been prepared")
        if self._bodiless:
            self._dropped += len(data)
            if self._dropped > self.get_write_buffer_limits()[1]:
                raise ConnectionResetError("the answer has no body, so nobody reads what is written")
            return
        if self._channel is None:
            return
        self._channel.write(data)
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing or (self._begun and self._channel is None)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        channel = self._release()
        if channel is not None:
            if self._switched:
                channel.finish()
            else:
                channel.abort()
            self._loop.call_soon(self._say_goodbye, None, self.get_protocol())  # type: ignore[attr-defined]

    def abort(self) -> None:
        self._closing = True
        if (channel := self._release()) is not None:
            channel.abort()
            self._say_goodbye(None, self.get_protocol())

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            if self._switched:
                self._loop.call_soon(self.look, context=self._context)  # type: ignore[attr-defined]

    # What happens at the other end.

    def look(self) -> None:
        """Take up what is new on the channel: bytes, room, the end."""
        channel = self._channel
        if channel is None:
            return
        ended = self._switched and self._reading and not self._receive()
        if self._channel is None:
            return  # what was received closed the connection
        if ended or channel.is_gone():
            self._lose()
            return
        if channel.is_closing():
            self._leave()
        # On the way out, too: what has an end comes to it, and a web socket's last words may have to wait for room.
        self._maybe_resume_protocol()  # type: ignore[attr-defined]

    def _receive(self) -> bool:
        """Pass received bytes on; return False when there will be no more."""
        for _ in range(_PIECES_A_TURN):
            channel = self._channel
            if channel is None or not self._reading:
                return True
            piece = channel.receive()
            if piece is None:
                return True
            if not piece:
                return False
            self.get_protocol().data_received(piece)
        self._loop.call_soon(self.look)  # type: ignore[attr-defined]
        return True

    def _lose(self) -> None:
        """Take note that the client is gone."""
        self._closing = True
        task = self._handler()
        if (channel := self._release()) is not None:
            channel.finish()
        error = None if self._switched else ConnectionResetError("Connection lost")
        self._say_goodbye(error, self.get_protocol())
        if task is None or task.done():
            return
        if self._switched:
            # Its handler learns of it by receive() or send(), as with aiohttp; one that never asks must not stay.
            last = self._loop.call_later(_MOURNING_TIME, task.cancel)  # type: ignore[attr-defined]
            task.add_done_callback(lambda _: last.cancel())
        else:
            task.cancel()

    def _leave(self) -> None:
        """End what has no end of its own, because the server stops or the plugin goes."""
        protocol, task = self.get_protocol(), self._handler()
        if self._leaving or task is None or not (self._switched or self._endless):
            return
        self._leaving = True
        if self._switched:
            self._farewell = self._loop.create_task(_send_away(protocol.answer))  # type: ignore[attr-defined]
            self._loop.create_task(_part(self._farewell, task))  # type: ignore[attr-defined]
        else:
            self._closing = True
            self.finish()
            task.cancel()

    def _handler(self) -> asyncio.Task[Any] | None:
        return None if self._task is None else self._task()

    def _release(self) -> Channel | None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.watch(None)
        return channel

    @staticmethod
    def _say_goodbye(error: Exception | None, protocol: Any) -> None:
        if protocol is not None:
            protocol.connection_lost(error)


class _Watcher:
    """Has a transport look at its channel, in the context of its request, as long as anybody else holds it."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = weakref.ref(transport)

    def __call__(self) -> None:
        transport = self._transport()
        if transport is not None:
            transport._context.run(transport.look)


async def _send_away(socket: Any) -> None:
    """Close a web socket because the server, or its plugin, goes."""
    try:
        await asyncio.wait_for(socket.close(code=WSCloseCode.GOING_AWAY), _CLOSING_TIME)
    except Exception:
        _log.warning("a web socket cannot be closed", exc_info=True)


async def _part(farewell: asyncio.Task[None], task: asyncio.Task[Any]) -> None:
    """Give the handler of a web socket a moment after the farewell."""
    await asyncio.wait([farewell])
    await asyncio.wait([task], timeout=_LEAVING_TIME)
    task.cancel()


class _Protocol(RequestHandler):
    """aiohttp's protocol, which is given bytes only after an upgrade, when they are a web socket's."""

    def __init__(self, manager: web.Server, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]
        # The parser holds the protocol, and there is no HTTP to parse.
        self._parser = None
        self._upgraded = True
        self._upgrade = True  # the same until aiohttp 3.12
        self.answer: web.StreamResponse | None = None
        self.connection = _Transport(request, loop)
        self.transport = self.connection
        self.connection.set_protocol(self)

    def set_parser(self, *parser: Any, **options: Any) -> None:
        """Take what understands the bytes from now on, and have them come."""
        super().set_parser(*parser, **options)
        self.connection.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what waits for the client."""
        super().connection_lost(exc)
        self.answer = None


class _Writer(StreamWriter):
    """aiohttp's writer of a body; the head goes out by ours, which also frames the body."""

    def __init__(self, method: str, protocol: _Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(protocol, loop)
        self._method = method
        self._connection = protocol.connection

    def enable_chunking(self) -> None:
        """Do nothing: the server chunks where it is called for."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Send the head of the answer."""
        self._connection.begin(self._method, status_line, headers)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Send the last of the body."""
        await super().write_eof(chunk)
        self._connection.finish()


class _Twin(web.Request):
    """aiohttp's request."""

    @property
    def task(self) -> asyncio.Task[Any]:
        """The task that runs the handler."""
        request = self._protocol.connection._request()  # type: ignore[attr-defined]
        return task_of(request, self._loop)  # type: ignore[return-value]

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        for receiver in self.app.on_response_prepare:
            await receiver(self, response)
        if not self._protocol.connection.begun:  # type: ignore[attr-defined]
            self._protocol.answer = response  # type: ignore[attr-defined]


class _Host:
    """What all twins share: the application, its one route and the manager of protocols."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.route = self.app.router.add_route("*", "/{tail:.*}", self._refuse)
        self._manager: web.Server | None = None

    def manager(self, loop: asyncio.AbstractEventLoop) -> web.Server:
        """Return the manager of protocols, which is made for the first loop that asks."""
        if self._manager is None:
            self._manager = web.Server(self._refuse, loop=loop)
        return self._manager

    @staticmethod
    async def _refuse(_: web.BaseRequest) -> web.StreamResponse:
        raise web.HTTPNotFound


_host: _Host | None = None


def _shared() -> _Host:
    global _host
    if _host is None:
        _host = _Host()
    return _host


def match_info(variables: dict[str, str]) -> UrlMappingMatchInfo:
    """Return the variables of the path as aiohttp has them, with route and application."""
    host = _shared()
    found = UrlMappingMatchInfo(variables, host.route)
    found.add_app(host.app)
    found.freeze()
    return found


def task_of(request: Request, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    """Return the task that runs the handler for `request`, whichever task or thread asks."""

    def runs_it(task: asyncio.Task[Any]) -> bool:
        return getattr(task.get_coro(), "_plugincore_request", None) is request

    current = asyncio.current_task(loop)
    if current is not None and runs_it(current):
        return current
    return next((task for task in asyncio.all_tasks(loop) if runs_it(task)), None)


def twin(request: Request) -> web.Request:
    """Make the ``aiohttp.web.Request`` for `request`, on any thread; called once for each request that needs one."""
    host, loop = _shared(), request._loop or asyncio.get_running_loop()
    host.app._loop = loop  # a test's loop is another one each time
    headers = CIMultiDictProxy(CIMultiDict(request.headers.items()))
    connection = {
        option.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for option in value.split(",")
    }
    path, _, query = request.raw_path.partition("?")
    body = request._body
    chunked = "chunked" in headers.get(hdrs.TRANSFER_ENCODING, "").lower()
    message = RawRequestMessage(
        request.method,
        request.raw_path,
        HttpVersion(*request.version),
        headers,
        tuple((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()),
        not request.keep_alive,
        coding if (coding := headers.get(hdrs.CONTENT_ENCODING, "").lower()) in _DECODED else None,
        "upgrade" in connection and hdrs.UPGRADE in headers,
        chunked,
        URL.build(path=path, query_string=query, encoded=True),
    )
    protocol = _Protocol(host.manager(loop), request, loop)
    payload = EMPTY_PAYLOAD
    if body or chunked:
        payload = StreamReader(protocol, 2**16, loop=loop)
        payload.feed_data(body)
        payload.feed_eof()
    made = _Twin(
        message,
        payload,
        protocol,
        _Writer(request.method, protocol, loop),
        None,  # type: ignore[arg-type]
        loop,
        # The server has its own limit, and has kept to it.
        client_max_size=max(len(body), 1024**2),
        state=request._state,
        remote=request.remote,
    )
    variables = request.match_info
    made._match_info = variables if isinstance(variables, UrlMappingMatchInfo) else match_info(variables)
    return made


async def send(response: web.StreamResponse, request: Request) -> None:
    """Have aiohttp send a response that a handler has returned or raised."""
    own = request._twin
    protocol = own._protocol
    if response.prepared and protocol.answer is not response:
        raise RuntimeError(f"this {type(response).__name__} was sent for another request; make a new one for each")
    try:
        try:
            await response.prepare(own)
        except web.HTTPException as refusal:
            if refusal is response or protocol.connection.begun:
                raise
            response = refusal
            await response.prepare(own)
        await response.write_eof()
        await protocol.connection.farewell()
        if not protocol.connection.begun:
            raise RuntimeError(f"this {type(response).__name__} sends nothing; make a new one for each request")
    finally:
        protocol.answer = None


def conclude(result: Any, request: Request) -> Coroutine[Any, Any, None] | None:
    """Return what ends an answer that the handler itself has begun; `None` if aiohttp has no part in it."""
    answer = request._twin._protocol.answer
    if answer is None:
        return None
    if result is not None and result is not answer:
        kind = type(result).__name__
        raise RuntimeError(f"the handler returned a {kind} after it had begun to answer with a {type(answer).__name__}")
    return send(answer, request)
