"""Clients of HTTP/2 that make requests all the time, and notice each one that is not answered as it should be."""

from __future__ import annotations

import functools
import ssl
import threading
from collections.abc import Callable, Iterable

from support.clients import Requests
from support.http2 import Http2, Stream
from support.server import Server
from support.wire import ClosedError

#: Requests that each connection has at a time.
AT_ONCE = 3


class Http2Clients(Requests):
    """Clients with a connection each, which they leave for another when the server sends GOAWAY.

    No request is repeated, unless the GOAWAY says that the server has not begun it.

    Attributes:
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
        self.connections = 0
        self._server, self._check, self._context, self._headers = server, check, context, tuple(headers)
        self._connecting = threading.Lock()
        super().__init__(functools.partial(self._work, path) for path in paths)

    def _work(self, path: str) -> None:
        try:
            while not self.ended.is_set() and not self.faults:
                with Http2(self._server, self._context) as client:
                    with self._connecting:
                        self.connections += 1
                    while client.goaway is None and not self.ended.is_set():
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
            self.note_answer()
