"""Adapts requests and answers to aiohttp, so that aiohttp's own code handles aiohttp's objects.

A request has a counterpart, :func:`aiohttp_request`: a real ``aiohttp.web.Request`` whose payload writer, protocol
and transport write to the :class:`~plugincore._core.Channel` of the response. It provides everything that aiohttp
documents for requests and that aiohttp's responses need. Since plugincore does not depend on aiohttp, this module is
imported only when the first object of aiohttp needs it.

Caveat: the transport uses two private names of asyncio. Without them ``loop.sendfile()`` accepts only asyncio's own
transports.
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

# Decorators for aiohttp's handlers check `isinstance(data["request"], web.Request)`.
web.Request.register(Request)

_log = logging.getLogger("plugincore")

#: Maximum number of pieces that an upgraded connection receives in one iteration of the loop.
_PIECES_A_TURN = 16
#: Timeout of the closing handshake when the server closes a WebSocket, in seconds.
_CLOSE_TIMEOUT = 2.0
#: Seconds after the closing handshake until the handler of the WebSocket is cancelled.
_HANDLER_TIMEOUT = 1.0
#: Seconds after a client's disconnect until the handler of its WebSocket is cancelled.
_DISCONNECT_TIMEOUT = 30.0
#: Content codings of request bodies that the server has decoded.
_DECODED = {"gzip", "deflate", "br", "zstd"}
#: Statuses of answers without a body; written data is dropped.
_WITHOUT_BODY = {204, 205, 304}


class _Transport(transports._FlowControlMixin):
    """The transport for aiohttp: it sends the body of the answer or, after a 101, all data of the connection."""

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
        self._close_task: asyncio.Task[None] | None = None

    # Called by the writer and the protocol.

    @property
    def begun(self) -> bool:
        """Whether status and headers of the answer have been sent."""
        return self._begun

    def begin(self, method: str, status_line: str, headers: CIMultiDict[str]) -> None:
        """Send status and headers of the answer."""
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
            if self._switched:
                # Later, when the WebSocket has its reader: an end before that would reach nothing, and be waited for.
                self._loop.call_soon(self.on_change)  # type: ignore[attr-defined]
            else:
                self.on_change()

    async def wait_closed(self) -> None:
        """Wait for the closing handshake, if the server closes the WebSocket; the handler may return earlier."""
        if self._close_task is not None:
            await asyncio.wait([self._close_task])

    def finish(self) -> None:
        """End the answer after the last write."""
        if (channel := self._release()) is not None:
            channel.finish()

    # The transport interface of asyncio.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.get_extra_info(name, default)

    def get_protocol(self) -> Any:
        return self._holder()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._holder = weakref.ref(protocol)

    # asyncio's mixin reads this attribute; the reference is weak, since the protocol refers to the transport.
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
            self._loop.call_soon(self._connection_lost, None, self.get_protocol())  # type: ignore[attr-defined]

    def abort(self) -> None:
        self._closing = True
        if (channel := self._release()) is not None:
            channel.abort()
            self._connection_lost(None, self.get_protocol())

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            if self._switched:
                self._loop.call_soon(self.on_change, context=self._context)  # type: ignore[attr-defined]

    # Events on the channel.

    def on_change(self) -> None:
        """Handle changes of the channel: received data, free buffer space, the end."""
        channel = self._channel
        if channel is None:
            return
        ended = self._switched and self._reading and not self._receive()
        if self._channel is None:
            return  # the received data closed the connection
        if ended or channel.is_gone():
            self._on_disconnect()
            return
        if channel.is_closing():
            self._on_closing()
        # Also while closing: other answers continue to their end, and a WebSocket's close frame may need buffer space.
        self._maybe_resume_protocol()  # type: ignore[attr-defined]

    def _receive(self) -> bool:
        """Pass received data to the protocol; return False at the end of the data."""
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
        self._loop.call_soon(self.on_change)  # type: ignore[attr-defined]
        return True

    def _on_disconnect(self) -> None:
        """Handle the disconnect of the client."""
        self._closing = True
        task = self._handler()
        channel = self._release()
        # Nothing ends an answer that has no receiver any more; after an end the handler's exceptions would be errors.
        if channel is not None and not channel.is_gone():
            channel.finish()
        error = None if self._switched else ConnectionResetError("Connection lost")
        self._connection_lost(error, self.get_protocol())
        if task is None or task.done():
            return
        if self._switched:
            # receive() and send() raise in the handler, as with aiohttp; one that calls neither must not stay.
            timer = self._loop.call_later(_DISCONNECT_TIMEOUT, task.cancel)  # type: ignore[attr-defined]
            task.add_done_callback(lambda _: timer.cancel())
        else:
            task.cancel()

    def _on_closing(self) -> None:
        """End a long-lived response because the server stops or the plugin is reloaded or removed."""
        protocol, task = self.get_protocol(), self._handler()
        if self._leaving or task is None or not (self._switched or self._endless):
            return
        self._leaving = True
        if self._switched:
            self._close_task = self._loop.create_task(_close_websocket(protocol.answer))  # type: ignore[attr-defined]
            self._loop.create_task(_cancel_after(self._close_task, task))  # type: ignore[attr-defined]
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
    def _connection_lost(error: Exception | None, protocol: Any) -> None:
        if protocol is not None:
            protocol.connection_lost(error)


class _Watcher:
    """Calls `on_change` of a transport in the context of its request, as long as the transport is alive."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = weakref.ref(transport)

    def __call__(self) -> None:
        transport = self._transport()
        if transport is not None:
            transport._context.run(transport.on_change)


async def _close_websocket(socket: Any) -> None:
    """Close a WebSocket because the server stops or the plugin is reloaded or removed."""
    try:
        await asyncio.wait_for(socket.close(code=WSCloseCode.GOING_AWAY), _CLOSE_TIMEOUT)
    except Exception:
        _log.warning("a WebSocket cannot be closed", exc_info=True)


async def _cancel_after(closing: asyncio.Task[None], task: asyncio.Task[Any]) -> None:
    """Cancel the handler of a WebSocket some time after the closing handshake."""
    await asyncio.wait([closing])
    await asyncio.wait([task], timeout=_HANDLER_TIMEOUT)
    task.cancel()


class _Protocol(RequestHandler):
    """aiohttp's protocol; it receives data only after an upgrade to a WebSocket."""

    def __init__(self, manager: web.Server, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]
        # The parser refers to the protocol, and there is no HTTP to parse.
        self._parser = None
        self._upgraded = True
        self._upgrade = True  # the same until aiohttp 3.12
        self.answer: web.StreamResponse | None = None
        self.connection = _Transport(request, loop)
        self.transport = self.connection
        self.connection.set_protocol(self)

    def set_parser(self, *parser: Any, **options: Any) -> None:
        """Set the parser of the received data and begin to receive."""
        super().set_parser(*parser, **options)
        self.connection.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake the tasks that wait for the client."""
        super().connection_lost(exc)
        self.answer = None


class _Writer(StreamWriter):
    """aiohttp's writer of a body; the server sends the headers and frames the body."""

    def __init__(self, method: str, protocol: _Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(protocol, loop)
        self._method = method
        self._connection = protocol.connection

    def enable_chunking(self) -> None:
        """Do nothing: the server adds the chunked framing if it is needed."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Send status and headers of the answer."""
        self._connection.begin(self._method, status_line, headers)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Send the last part of the body."""
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
    """The objects that all twins share: the application, its only route and the manager of protocols."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.route = self.app.router.add_route("*", "/{tail:.*}", self._refuse)
        self._manager: web.Server | None = None

    def manager(self, loop: asyncio.AbstractEventLoop) -> web.Server:
        """Return the manager of protocols, which is created at the first call, for that loop."""
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
    """Return the variables of the path as an object of aiohttp, with route and application."""
    host = _shared()
    found = UrlMappingMatchInfo(variables, host.route)
    found.add_app(host.app)
    found.freeze()
    return found


def task_of(request: Request, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    """Return the task that runs the handler for `request`; may be called from any task and thread."""

    def runs_it(task: asyncio.Task[Any]) -> bool:
        return getattr(task.get_coro(), "_plugincore_request", None) is request

    current = asyncio.current_task(loop)
    if current is not None and runs_it(current):
        return current
    return next((task for task in asyncio.all_tasks(loop) if runs_it(task)), None)


def aiohttp_request(request: Request) -> web.Request:
    """Make the ``aiohttp.web.Request`` for `request`, on any thread; called once for each request that needs one."""
    host, loop = _shared(), request._loop or asyncio.get_running_loop()
    host.app._loop = loop  # each test has another loop
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
        # The server has applied its own limit already.
        client_max_size=max(len(body), 1024**2),
        state=request._state,
        remote=request.remote,
    )
    variables = request.match_info
    made._match_info = variables if isinstance(variables, UrlMappingMatchInfo) else match_info(variables)
    return made


async def send(response: web.StreamResponse, request: Request) -> None:
    """Send a response that a handler has returned or raised, with aiohttp's code."""
    own = request._aiohttp_request
    protocol = own._protocol
    if response.prepared and protocol.answer is not response:
        raise RuntimeError(f"this {type(response).__name__} was sent for another request; make a new one for each")
    try:
        try:
            await response.prepare(own)
        except web.HTTPException as error:
            if error is response or protocol.connection.begun:
                raise
            response = error
            await response.prepare(own)
        await response.write_eof()
        await protocol.connection.wait_closed()
        if not protocol.connection.begun:
            raise RuntimeError(f"this {type(response).__name__} sends nothing; make a new one for each request")
    finally:
        protocol.answer = None


def conclude(result: Any, request: Request) -> Coroutine[Any, Any, None] | None:
    """Return a coroutine that ends an answer begun by the handler itself; `None` if there is no such answer."""
    answer = request._aiohttp_request._protocol.answer
    if answer is None:
        return None
    if result is not None and result is not answer:
        kind = type(result).__name__
        raise RuntimeError(f"the handler returned a {kind} after it had begun to answer with a {type(answer).__name__}")
    return send(answer, request)
