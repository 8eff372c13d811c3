"""Bytes to a server, and what comes back."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import cast

#: Longest wait for an answer, in seconds. What takes longer is a hang.
PATIENCE = 8.0


class ClosedError(Exception):
    """The server closed the connection instead of answering."""


class HangError(Exception):
    """The server neither answered nor closed the connection."""


@dataclass(frozen=True)
class Answer:
    """One answer: ``headers`` in order and as spelt, ``framing`` how the end of the body is told."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    framing: str

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]

    def one(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next(iter(self.all(name)), None)


class _Shared(io.BufferedReader):
    """A reader that answers' ends do not close, so that nothing behind one answer is lost for the next."""

    def close(self) -> None:
        """Stay open."""


class Wire:
    """A connection."""

    def __init__(self, port: int) -> None:
        """Connect."""
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except ConnectionRefusedError as error:
            raise ClosedError("refused") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = _Shared(cast("io.RawIOBase", socket.SocketIO(self._socket, "rb")))

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
        self._socket.close()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Go on in TLS."""
        try:
            self._socket = context.wrap_socket(self._socket)
        except ConnectionError as error:
            raise ClosedError(type(error).__name__) from error
        self._reader = _Shared(cast("io.RawIOBase", socket.SocketIO(self._socket, "rb")))

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the reader; `http.client` asks for it by this name."""
        return self._reader

    def send(self, data: bytes) -> None:
        """Send as much as the server takes."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return
        except TimeoutError as error:
            raise HangError("it stopped reading") from error

    def end(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str) -> Answer:
        """Read the next answer, to a request of ``method``."""
        response = http.client.HTTPResponse(cast("socket.socket", self), method=method)
        try:
            response.begin()
            body = response.read()
        except TimeoutError as error:
            raise HangError("no answer") from error
        except (http.client.HTTPException, ConnectionError) as error:
            raise ClosedError(type(error).__name__) from error
        headers = response.getheaders()
        names = {name.lower() for name, _ in headers}
        framing = "length" if "content-length" in names else "chunked" if "transfer-encoding" in names else "none"
        return Answer(response.status, headers, body, framing)

    def ask(self, request: bytes) -> Answer:
        """Send a whole request and read its answer."""
        self.send(request)
        return self.answer(method_of(request))


def method_of(request: bytes) -> str:
    """Return the method of a request."""
    return request.partition(b" ")[0].decode("latin-1")
