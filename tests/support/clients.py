"""Clients that make requests all the time, and notice each one that is not answered as it should be."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from types import TracebackType

from support.wait import TIMEOUT, wait_until


class Clients:
    """Threads with a connection each, half of which keep it as long as the server does.

    No request is repeated: a connection that ends without an answer, or is refused, is a fault.

    Attributes:
        faults: What went wrong, a line each.
        answers: How many answers were right.

    """

    def __init__(self, port: int, path: str, check: Callable[[int, bytes], bool], number: int = 12) -> None:
        """Prepare clients for ``path``; ``check`` says whether status and body of an answer are right."""
        self.faults: list[str] = []
        self.answers = 0
        self._headers: dict[str, str] = {}
        self._counting = threading.Lock()
        self._ended = threading.Event()
        self._port, self._path, self._check = port, path, check
        self._threads = [
            threading.Thread(target=self._work, args=(index % 2 == 0,), daemon=True) for index in range(number)
        ]

    def __enter__(self) -> Clients:
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

    def _work(self, keeps: bool) -> None:
        connection = self._connection()
        while not self._ended.is_set():
            try:
                headers = self._headers if keeps else {**self._headers, "Connection": "close"}
                connection.request("GET", self._path, headers=headers)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(f"{'kept' if keeps else 'new'} connection: {error!r}")
                return
            if not self.is_right(answer, body):
                self.faults.append(f"{answer.status} {body!r} {answer.getheaders()}")
                return
            with self._counting:
                self.answers += 1
        connection.close()

    def is_right(self, answer: http.client.HTTPResponse, body: bytes) -> bool:
        """Whether an answer is as it should be."""
        return self._check(answer.status, body)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
