"""HTTP byte by byte, for what no well-behaved client sends."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from conftest import INI, PATIENCE, Server, command, prepare

#: The start of a request that is complete but for its own headers.
HOST = b" HTTP/1.1\r\nHost: localhost\r\n"


class Answer:
    """One answer: ``status``, ``headers`` (lower-case names, the last of repeated ones) and ``body``."""

    def __init__(self, head: bytes, body: bytes) -> None:
        """Take a head, without the empty line at its end, apart."""
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.version = first.split(" ")[0]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.body = body

    @property
    def error(self) -> str:
        """What is wrong, in an answer that has to be JSON and say so."""
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        error = json.loads(self.body)["error"]
        assert isinstance(error, str)
        return error


class Wire:
    """A bare connection to a server."""

    def __init__(self, server: Server | socket.socket) -> None:
        """Connect to ``server``, or take a connection over."""
        self.socket = server.connect() if isinstance(server, Server) else server
        self._read = b""

    def __enter__(self) -> Wire:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send as much as the server takes: it may refuse and stop reading at any time."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def _more(self) -> bool:
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            piece = b""
        self._read += piece
        return bool(piece)

    def answer(self, method: str = "GET") -> Answer:
        """Read the next answer, which must be framed by its content length."""
        while b"\r\n\r\n" not in self._read:
            assert self._more(), f"no answer, only {self._read!r}"
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        answer = Answer(head, b"")
        if answer.status < 200:
            return answer
        size = 0 if method == "HEAD" or answer.status in (204, 304) else int(answer.headers["content-length"])
        while len(self._read) < size:
            assert self._more(), f"an answer of {size} bytes ends after {self._read!r}"
        answer.body, self._read = self._read[:size], self._read[size:]
        return answer

    def ask(self, data: bytes) -> Answer:
        """Send a request and read its answer."""
        self.send(data)
        return self.answer()

    def is_closed(self) -> bool:
        """Wait for the server to close, within the usual patience; false if it says something else instead."""
        return not self._read and not self._more()

    def still_serves(self) -> bool:
        """Whether the next request on this connection is read as what it is."""
        answer = self.ask(b"GET /-/healthy" + HOST + b"\r\n")
        return (answer.status, answer.body) == (200, b'{"status": "healthy"}')


def ask(server: Server, data: bytes) -> Answer:
    """Send a request on a connection of its own and read its answer."""
    with Wire(server) as wire:
        return wire.ask(data)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return a whole POST request."""
    lines = "".join(f"{header}\r\n" for header in (f"Content-Length: {len(body)}", *headers))
    return b"POST " + path.encode() + HOST + lines.encode() + b"\r\n" + body


def eventually(condition: Callable[[], bool]) -> bool:
    """Ask again until ``condition`` holds, within the usual patience."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def serving(folder: Path, plugins: Mapping[str, str], ini_more: str = "") -> Iterator[Server]:
    """Run a server that several tests share; at the end it must have shown no panic."""
    prepare(folder, plugins, INI + ini_more)
    with Server([*command(), "-i", "server.ini"], folder, {}) as server:
        yield server.ready()
    assert "panicked at" not in server.log, server.log


__all__ = ["HOST", "PATIENCE", "Answer", "Wire", "ask", "eventually", "post", "serving"]
