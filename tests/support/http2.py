"""HTTP/2 over a bare connection, for what a client library does by itself and for what none does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from hyperframe.frame import Frame

from support.server import Server
from support.wire import Answer, ClosedError


class Stream:
    """What has come on one stream.

    Attributes:
        interim: The statuses of 1xx answers.
        status: The status code; 0 before the head has come.
        headers: The headers; the last of repeated ones.
        body: What has come of the body.
        ended: Whether that is all of it.
        reset: The code of the RST_STREAM, if there was one.

    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.interim: list[int] = []
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reset: int | None = None

    @property
    def error(self) -> str:
        """What is wrong, according to an answer that has to be JSON and to contain it."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return Answer(f"HTTP/2 {self.status} \r\n{lines}".strip().encode(), self.body).error


class Http2:
    """A connection of HTTP/2.

    Attributes:
        h2: The state of the connection, for unusual frames.
        goaway: The code of the GOAWAY that has come, if one has.
        goaway_last: The last stream that it names.

    """

    def __init__(self, server: Server | socket.socket, context: ssl.SSLContext | None = None) -> None:
        """Connect to ``server``: by TLS if there is a ``context``, else with prior knowledge."""
        self.socket = server.connect() if isinstance(server, Server) else server
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
            assert isinstance(self.socket, ssl.SSLSocket)
            assert self.socket.selected_alpn_protocol() == "h2"
        self.scheme = "http" if context is None else "https"
        config = h2.config.H2Configuration(
            header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        self.goaway_last = 0
        self.takes = True
        self._received = b""
        self.flush()

    def __enter__(self) -> Http2:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.socket.close()

    def begin(
        self,
        path: str,
        *more: tuple[str, str],
        method: str = "GET",
        body: bytes | None = b"",
        authority: str | None = "localhost",
    ) -> int:
        """Begin a request; with ``None`` as its body that is sent later. Return the number of the stream."""
        number: int = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", self.scheme), (":path", path)]
        if authority is not None:
            pseudo.append((":authority", authority))
        self.streams[number] = Stream()
        self.h2.send_headers(number, [*pseudo, *more], end_stream=body == b"")
        self.flush()
        if body:
            self.send(number, body)
        return number

    def send(self, number: int, body: bytes, *, end: bool = True) -> None:
        """Send (the rest of) a body as fast as the server takes it, unless it answers first."""
        while body and not self.streams[number].ended and self.streams[number].reset is None:
            window = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if window == 0:
                self.receive()
                continue
            piece, body = body[:window], body[window:]
            self.h2.send_data(number, piece)
            self.flush()
        with suppress(h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
            if end:
                self.h2.end_stream(number)
            self.flush()

    def reset(self, number: int) -> None:
        """Cancel a stream."""
        self.h2.reset_stream(number, 8)
        self.flush()

    def answer(self, number: int) -> Stream:
        """Wait for the end of a stream."""
        stream = self.streams[number]
        while not stream.ended and stream.reset is None:
            self.receive()
        return stream

    def ask(self, path: str, *more: tuple[str, str], **options: object) -> Stream:
        """Make a request and wait for its answer."""
        return self.answer(self.begin(path, *more, **options))  # type: ignore[arg-type]

    def still_serves(self) -> bool:
        """Whether another request on this connection is answered."""
        answer = self.ask("/-/healthy")
        return (answer.status, answer.body) == (200, b'{"status": "healthy"}')

    def frames(self, frames: Sequence[Frame] | bytes) -> None:
        """Send frames as they are."""
        self.flush()
        data = frames if isinstance(frames, bytes) else b"".join(frame.serialize() for frame in frames)
        self.socket.sendall(data)

    def receive(self) -> None:
        """Read once, and take into account what has come.

        Raises:
            ClosedError: The server has closed the connection.

        """
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise ClosedError("the connection ends")
        self._received += data
        while len(self._received) >= 9 and len(self._received) >= (
            end := 9 + int.from_bytes(self._received[:3], "big")
        ):
            frame, self._received = self._received[:end], self._received[end:]
            for event in self.h2.receive_data(frame):
                self._take(event)
            if self.goaway == 0:
                # h2 takes this for the end, but what has begun before goes on.
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        self.flush()

    def is_closed(self) -> bool:
        """Wait for the server to close."""
        while True:
            try:
                self.receive()
            except (ClosedError, h2.exceptions.ProtocolError):
                return True

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway, self.goaway_last = int(event.error_code or 0), event.last_stream_id or 0
            return
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(int(dict(event.headers)[":status"]))
        elif isinstance(event, h2.events.ResponseReceived):
            stream.headers = {str(name): str(value) for name, value in event.headers}
            stream.status = int(stream.headers.pop(":status"))
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            if self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)

    def flush(self) -> None:
        """Send what the library has for the server."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(self.h2.data_to_send())
