"""Clients that make requests all the time, and notice each one that is not answered as it should be."""

from __future__ import annotations

import functools
import http.client
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from support.wait import TIMEOUT, wait_until


class Requests:
    """Threads that make requests until the end, and what comes of them: what all kinds of clients have in common.

    Attributes:
        faults: What went wrong, a line each.
        answers: How many answers were right.

    """

    def __init__(self, threads: Iterable[Callable[[], None]]) -> None:
        """Prepare a thread for each of ``threads``; they are to go on until ``ended`` is set."""
        self.faults: list[str] = []
        self.answers = 0
        self.ended = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=work, daemon=True) for work in threads]

    def __enter__(self) -> Self:
        """Begin, and wait for the first answers."""
        for thread in self._threads:
            thread.start()
        self.go_on(len(self._threads))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; every request is answered before."""
        self.ended.set()
        for thread in self._threads:
            thread.join(TIMEOUT)
        if kind is None:
            assert not self.faults, self.faults

    def go_on(self, count: int) -> None:
        """Wait for that many more right answers."""
        wanted = self.answers + count
        wait_until(lambda: self.faults or self.answers >= wanted, lambda: f"{self.answers} answers")
        assert not self.faults, self.faults

    def note_answer(self) -> None:
        """Count an answer that was right."""
        with self._counting:
            self.answers += 1


class Clients(Requests):
    """Clients with a connection each, half of which keep it as long as the server does.

    No request is repeated: a connection that ends without an answer, or is refused, is a fault.
    """

    def __init__(self, port: int, path: str, check: Callable[[int, bytes], bool], number: int = 12) -> None:
        """Prepare clients for ``path``; ``check`` says whether status and body of an answer are right."""
        self._headers: dict[str, str] = {}
        self._port, self._path, self._check = port, path, check
        super().__init__(functools.partial(self._work, index % 2 == 0) for index in range(number))

    def _work(self, keeps: bool) -> None:
        connection = self._connection()
        while not self.ended.is_set():
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
            self.note_answer()
        connection.close()

    def is_right(self, answer: http.client.HTTPResponse, body: bytes) -> bool:
        """Whether an answer is as it should be."""
        return self._check(answer.status, body)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
