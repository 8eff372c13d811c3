"""Clients of HTTP/2 that make requests all the time, and notice each one that is not answered as it should be."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

from support.http2 import Http2, Stream
from support.server import Server
from support.wait import TIMEOUT, wait_until
from support.wire import ClosedError

#: Requests that each connection has at a time.
AT_ONCE = 3


class Http2Clients:
    """Threads with a connection each, which they leave for another when the server sends GOAWAY.

    No request is repeated, unless the GOAWAY says that the server has not begun it.

    Attributes:
        faults: What went wrong, a line each.
        answers: How many answers were right.
        connections: How many connections there were.

    """

    def __init__(
        self,
        server: Server,
        paths: Iterable[str],
        check: Callable[[Stream], bool],
        context: ssl.SSLContext | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Prepare a client for each of the ``paths``; ``check`` says whether an answer is right."""
        self.faults: list[str] = []
        self.answers = self.connections = 0
        self._server, self._check, self._context, self._headers = server, check, context, tuple(headers)
        self._counting = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(path,), daemon=True) for path in paths]

    def __enter__(self) -> Http2Clients:
        """Begin, and wait for the first answers."""
        for thread in self._threads:
            thread.start()
        self.go_on(len(self._threads))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; every request is answered before."""
        self._ended.set()
        for thread in self._threads:
            thread.join(TIMEOUT)
        if kind is None:
            assert not self.faults, self.faults

    def go_on(self, count: int) -> None:
        """Wait for that many more right answers."""
        wanted = self.answers + count
        wait_until(lambda: self.faults or self.answers >= wanted, lambda: f"{self.answers} answers")
        assert not self.faults, self.faults

    def _work(self, path: str) -> None:
        try:
            while not self._ended.is_set() and not self.faults:
                with Http2(self._server, self._context) as client:
                    with self._counting:
                        self.connections += 1
                    while client.goaway is None and not self._ended.is_set():
                        self._ask(client, path)
        except Exception as error:
            self.faults.append(repr(error))

    def _ask(self, client: Http2, path: str) -> None:
        for number in [client.begin(path, *self._headers) for _ in range(AT_ONCE)]:
            try:
                answer = client.answer(number)
            except ClosedError:
                # What the server has not begun may be asked again, by the protocol.
                if client.goaway == 0 and number > client.goaway_last:
                    continue
                raise
            if not self._check(answer):
                self.faults.append(f"{answer.status} {answer.body!r} {answer.headers} reset: {answer.reset}")
                return
            with self._counting:
                self.answers += 1
