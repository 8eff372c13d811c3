"""HTTP/1.1 byte by byte, for what no well-behaved client sends and for what no library shows of an answer."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Protocol

#: The start of a request that is complete but for its own headers.
HOST = b" HTTP/1.1\r\nHost: localhost\r\n"


class ClosedError(Exception):
    """The server closed the connection instead of answering."""


class HangError(Exception):
    """The server neither answered nor closed the connection."""


class Connectable(Protocol):
    """A server that a :class:`Wire` can connect to."""

    def connect(self) -> socket.socket:
        """Return a connection; its timeout is the longest wait for each piece of an answer."""


class Answer:
    """One answer.

    Attributes:
        status: The status code.
        version: The version as written, such as ``HTTP/1.1``.
        pairs: The headers in order and as spelt.
        headers: The headers by their lower-case names; the last of repeated ones.
        body: The body, without its framing.

    """

    def __init__(self, head: bytes, body: bytes = b"") -> None:
        """Take a head, without the empty line at its end, apart."""
        first, *lines = head.decode("latin-1").split("\r\n")
        self.version, status, *_ = first.split(" ")
        self.status = int(status)
        self.pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.headers = {name.lower(): value for name, value in self.pairs}
        self.body = body

    @property
    def framing(self) -> str:
        """How the end of the body is marked: "length", "chunked" or "none", which is the end of the connection."""
        if "content-length" in self.headers:
            return "length"
        return "chunked" if "transfer-encoding" in self.headers else "none"

    @property
    def error(self) -> str:
        """What is wrong, according to an answer that has to be JSON and to contain it."""
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        error = json.loads(self.body)["error"]
        assert isinstance(error, str)
        return error

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.pairs if key.lower() == name]

    def one(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next(iter(self.all(name)), None)


class Wire:
    """A bare connection to a server."""

    def __init__(self, server: Connectable | socket.socket) -> None:
        """Connect to ``server``, or use a connection that there is."""
        try:
            self.socket = server if isinstance(server, socket.socket) else server.connect()
        except (ConnectionRefusedError, ConnectionResetError) as error:
            # A reset is what the kernel answers when the listener closes while the connection is being opened.
            raise ClosedError("refused") from error
        # A test that sends a request in pieces must not wait for the acknowledgement of each.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Wire:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Continue in TLS."""
        try:
            self.socket = context.wrap_socket(self.socket)
        except ConnectionError as error:
            raise ClosedError(type(error).__name__) from error

    def send(self, data: bytes) -> None:
        """Send as much as the server takes: it may refuse and stop reading at any time."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return
        except TimeoutError as error:
            raise HangError("it stopped reading") from error

    def end(self) -> None:
        """Close the sending side."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer:
        """Read the next answer, to a request of ``method``; it may be an interim one (1xx)."""
        head = self._until(b"\r\n\r\n")
        try:
            answer = Answer(head)
        except ValueError as error:
            raise ClosedError(f"not an answer: {head!r}") from error
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return answer
        if answer.framing == "length":
            answer.body = self._take(int(answer.headers["content-length"]))
        elif answer.framing == "chunked":
            answer.body = self._chunks()
        else:
            while self._receive():
                pass
            answer.body, self._received = self._received, b""
        return answer

    def ask(self, data: bytes) -> Answer:
        """Send a request and read the next answer."""
        self.send(data)
        return self.answer(method_of(data))

    def fetch(self, data: bytes) -> Answer:
        """Send a request and read its final answer."""
        self.send(data)
        return self.final_answer(method_of(data))

    def final_answer(self, method: str = "GET") -> Answer:
        """Read the next answer that is more than a permission to go on (100)."""
        while (answer := self.answer(method)).status == 100:
            pass
        return answer

    def is_closed(self) -> bool:
        """Wait for the server to close; false if it sends something instead."""
        return not self._received and not self._receive()

    def still_serves(self) -> bool:
        """Whether the next request on this connection is read as what it is."""
        answer = self.ask(b"GET /-/healthy" + HOST + b"\r\n")
        return (answer.status, answer.body) == (200, b'{"status": "healthy"}')

    def _receive(self) -> bool:
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        except TimeoutError as error:
            raise HangError(f"nothing more comes after {self._received[-200:]!r}") from error
        self._received += piece
        return bool(piece)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            if not self._receive():
                raise ClosedError(f"the connection ends after {self._received[-200:]!r}")
        found, _, self._received = self._received.partition(mark)
        return found

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._receive():
                raise ClosedError(f"{len(self._received)} bytes come instead of {size}")
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            body += self._take(size)
            assert self._take(2) == b"\r\n", "a chunk ends with a line break"
        while self._until(b"\r\n"):
            pass  # trailers
        return body


def method_of(request: bytes) -> str:
    """Return the method of a request."""
    return request.partition(b" ")[0].decode("latin-1")


def ask(server: Connectable, data: bytes) -> Answer:
    """Send a request on a connection of its own and read its answer."""
    with Wire(server) as wire:
        return wire.ask(data)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return a whole POST request."""
    lines = "".join(f"{header}\r\n" for header in (f"Content-Length: {len(body)}", *headers))
    return b"POST " + path.encode() + HOST + lines.encode() + b"\r\n" + body


def receive_all(connection: socket.socket) -> bytes:
    """Return everything that comes until the other side closes."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received
