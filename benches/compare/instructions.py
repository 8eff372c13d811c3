"""Instructions that a server takes for a request, counted by callgrind.

Time depends on what else the machine does; this does not: two runs of the same build differ by less than one percent.
What the kernel does is not counted.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rows import Row
from servers import Running, Setup

#: Connections that have a request on its way at a time, so that the server handles them in batches as under load.
_CONNECTIONS = 16
#: Requests for which instructions are counted, and as many before that, after which every cache is warm.
_REQUESTS = 1600
#: The same for rows with answers that take a hundred times as long.
_FEW = 160


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")


class Counted:
    """A server that runs under callgrind."""

    def __init__(self, setup: Setup, *, tls: bool) -> None:
        """Start it, which takes some ten seconds."""
        if shutil.which("valgrind") is None:
            sys.exit("valgrind is missing; install it (Debian: apt-get install valgrind)")
        self._folder = setup.folder / "callgrind"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self._folder / 'out'}"]

        def command(folder: Path, port: int, tls: bool) -> Sequence[str]:
            program, *arguments = setup.command(folder, port, tls)
            # A script cannot be run by valgrind, but its interpreter can.
            return ["valgrind", *options, str(Path(program).parent / "python"), program, *arguments]

        self._running = Running(dataclasses.replace(setup, command=command), tls=tls)
        self._dumps = 0

    def count(self, row: Row) -> float:
        """Return the instructions that a request of ``row`` takes, in all threads of the server together."""
        requests = _FEW if len(str(row.answer)) > 10_000 else _REQUESTS
        self._ask(row, requests)
        pid = str(self._running.process.pid)
        _run("callgrind_control", "--instr=on", pid)
        self._ask(row, requests)
        _run("callgrind_control", "--instr=off", pid)
        _run("callgrind_control", "--dump", pid)
        self._dumps += 1
        text = (self._folder / f"out.{self._dumps}").read_text()
        total = next(line for line in text.splitlines() if line.startswith("totals:"))
        return int(total.split()[1]) / requests

    def _ask(self, row: Row, requests: int) -> None:
        connections = [self._running.connect() for _ in range(min(_CONNECTIONS, row.connections))]
        try:
            for _ in range(requests // len(connections)):
                for connection in connections:
                    connection.request(row.method, row.path, row.body or None, dict(row.headers))
                for connection in connections:
                    answer = connection.getresponse()
                    body = answer.read()
                    if not row.right(self._running.server, answer.status, body):
                        sys.exit(f"{row.name}: answered {answer.status} {body[:200]!r}")
        finally:
            for connection in connections:
                connection.close()

    def __enter__(self) -> Counted:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._running.stop()
